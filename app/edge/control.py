"""A listener's control channel: commands out, answers and renewals in (protocol guide, "Listener").

Theory. The channel is on the roster from its 101 until its Close, its loss, or the end of its grant. Whatever
becomes due for it in one turn of the loop leaves in one write. Requests delivered here wait in `_waiting` by
id; an answer's text names its request, and the one binary message after it is that request's body. Whoever waits
that the listener comes to a rendezvous is in `_awaited_by`; he, and what was never delivered when the channel ends,
looks for another listener then.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from app.access.grant import Grant
from app.closes import RECYCLED, Close
from app.edge.allowances import channel_seconds
from app.edge.origin import base_url
from app.edge.presence import Kind, Particulars
from app.edge.realm import Realm
from app.edge.refusal import told
from app.edge.websocket import CommandSocket
from app.edge.wheel import Deadline
from app.errors import BadAnswer, KeysPending, ListenerGone, Overloaded, RelayError
from app.faults import Delayable
from app.namespace import Relay, Right
from app.telemetry import new_tracking_id, printable
from app.wire.azure.commands import RenewToken, Response, Unknown, parse_command
from app.wire.frames import BINARY, TEXT, encode_frame
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.asker import Asker
    from app.edge.context import Context
    from app.edge.sockets import WaitingSender

_log = logging.getLogger("fanway.control")

MAX_OWED_BYTES = 8 << 20
GOODBYES = (1000, 1001, 1005)  # close codes of a listener that ends in good order
UNANSWERED_PINGS = 2  # after which a listener is gone
FAREWELL_SECONDS = 2.0  # in which a listener that hung up in good order may still come to senders it was told of


class ControlChannel(CommandSocket):
    """One registered listener. `base` is the scheme and authority under which it reached us."""

    __slots__ = (
        "_awaited_by",
        "_body_of",
        "_due",
        "_due_bytes",
        "_due_requests",
        "_ends_at",
        "_expiry",
        "_farewell",
        "_heartbeat",
        "_waiting",
        "address",
        "base",
        "grant",
        "id",
        "instance",
        "number",
        "realm",
        "relay",
        "since",
        "tracking_id",
    )

    kind: Kind = "listener"

    def __init__(
        self,
        context: Context,
        transport: asyncio.Transport,
        head: Head,
        realm: Realm,
        relay: Relay,
        address: str,
        grant: Grant,
        listener_id: str | None,
        instance: str | None,
    ) -> None:
        super().__init__(context, transport, head)
        self.number = 0
        self.id, self.instance = listener_id, instance  # what a sender's filter names it by
        self.tracking_id = new_tracking_id(listener_id, context.node)
        self.since = context.loop.time()
        self.base = base_url(context, transport, head, realm.namespace)
        self.realm, self.relay, self.address, self.grant = realm, relay, address, grant
        self._waiting: dict[str, Asker] = {}
        self._body_of: Asker | None = None
        self._due: list[bytes] = []
        self._due_bytes = 0
        self._due_requests: list[tuple[Asker, bytes | None]] = []  # with their bodies
        self._awaited_by: set[WaitingSender | Asker] = set()
        self._ends_at = context.clock() + channel_seconds(context, relay)  # unix seconds
        self._farewell: Deadline | None = None
        self._heartbeat: Deadline | None = None
        self._expiry: Deadline | None = None

    def begin(self, rest: bytes) -> None:
        self.hold(rest)
        self.answer()
        self.realm.roster.add(self.relay.key, self.address, self)
        self.realm.touch(self.relay)
        self.context.lives.add(self)
        self.context.counters["listeners"] += 1
        self.realm.status.tell_listener("online", self)
        self.realm.presence.come(self)
        self._await_expiry()
        self._heartbeat = self.context.wheel.after(self.context.settings.deadlines.ping_seconds, self._beat)
        self.start_reading()

    # --- who it is, for those who ask who is there ---

    @property
    def place(self) -> str:
        return self.address

    @property
    def prefix(self) -> str:
        return self.address

    @property
    def count(self) -> int:
        return self.realm.roster.count_at(self.relay.key, self.address)

    def particulars(self) -> Particulars:
        since = self.context.clock() - (self.context.loop.time() - self.since)
        names = {"listener": self.id, "instance": self.instance}
        return Particulars("websocket", self.grant.holder, self.peer_address(), since, names)

    # --- commands out ---

    def deliver(self, command: bytes, body: bytes | None = None, request: Asker | None = None) -> None:
        """Send a command and, adjacent to it, the one binary message of its body. Raises ListenerGone, Overloaded.

        Should the channel end before anything of it was written, `request` hears `on_undelivered`.
        """
        if self.is_ending or self.is_lost:  # while the sender's body was gathered
            raise ListenerGone("The listener left before the request could be delivered.")
        if self.outflow.backlog() + self._due_bytes > MAX_OWED_BYTES:
            raise Overloaded("The listener does not read its control channel.", retry_after=1)
        frames = encode_frame(TEXT, command)
        if body is not None:
            frames += encode_frame(BINARY, body)
        if self.context.faults is not None and self._is_held_up(command, frames):
            return
        self._post(frames)
        if request is not None:
            self._due_requests.append((request, body))

    def expect(self, request_id: str, request: Asker) -> None:
        """Route the answer to `request_id` to `request`."""
        self._waiting[request_id] = request

    def forget(self, request_id: str) -> None:
        """Nobody waits for that answer any more; should it come, it is read past."""
        self._waiting.pop(request_id, None)
        if self._body_of is not None and self._body_of.id == request_id:
            self._body_of = None

    def is_same(self, id: str, address: str) -> bool:
        """Whether this is the listener that names itself so, at that address; what follows `_` does not count."""
        name = id.partition("_")[0].lower()
        return bool(name) and self.address == address and (self.id or "").partition("_")[0].lower() == name

    def expect_visit(self, host: WaitingSender | Asker) -> None:
        """Tell `host` when this listener is lost before it came to him."""
        self._awaited_by.add(host)

    def forget_visit(self, host: WaitingSender | Asker) -> None:
        self._awaited_by.discard(host)

    # --- answers in ---

    def on_command(self, text: bytes) -> None:
        try:
            command = parse_command(text)
        except BadAnswer as error:
            self._body_of = None
            request = self._waiting.pop(error.request_id or "", None)
            if request is not None:
                request.on_answer_fault(error)
            return
        if isinstance(command, Response):
            request = self._waiting.pop(command.request_id, None)
            self._body_of = request if command.has_body else None
            if request is None:
                self.context.counters["late_answers"] += 1
            else:
                request.on_answer(command)
        elif isinstance(command, RenewToken):
            self._renew(command.token)
        elif isinstance(command, Unknown):
            _log.info("ignored from a listener at %s: %s", self.address, printable(command.why, 1024))

    def on_body(self, data: bytes, is_end: bool) -> None:
        request = self._body_of  # None: the body of an answer that nobody waits for, or a stray one
        if request is not None:
            if is_end:
                self._body_of = None
            request.on_answer_body(data, is_end)

    # --- life and end ---

    def on_writable(self, is_writable: bool) -> None:
        if is_writable:
            self.context.owed.discard(self.outflow)
        else:
            self.context.owed.add(self.outflow)

    def review(self) -> None:
        """End if the relay or the key behind this listener is gone, or its time is over."""
        close = self.realm.ending(self.relay, self.address)
        if close is None and not self.context.is_live(self.grant):
            close = self.context.authorizer.close_of(self.grant)
        if close is None and self.context.clock() >= self._ends_at:
            close = RECYCLED
        if close is not None:
            self.end(close)

    def end(self, close: Close) -> None:
        self._leave(close.reconnect, close.reason)
        super().end(close if self.cuts(close) else told(self.context, close, self.tracking_id))

    def on_close(self, code: int, reason: str) -> None:
        self._leave(code not in GOODBYES, reason)

    def on_lost(self) -> None:
        self._leave(True, "The connection was lost.")
        if not self.is_ending:
            self._abandon()
        self.context.owed.discard(self.outflow)
        self.context.counters["listeners"] -= 1
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        if self._expiry is not None:
            self._expiry.cancel()
        waiting, self._waiting = self._waiting, {}
        body_of, self._body_of = self._body_of, None
        for request in (*waiting.values(), *([body_of] if body_of is not None else [])):
            if request not in self._awaited_by:
                request.on_listener_gone()

    def _leave(self, returns: bool, reason: str) -> None:
        """Off the roster; `returns` says whether listeners come back after an end like this one."""
        if self not in self.context.lives:
            return
        self.context.lives.discard(self)
        self.realm.roster.remove(self)
        self.realm.status.tell_listener("connecting" if returns else "offline", self, reason)
        self.realm.presence.go(self)
        if self._awaited_by and self._farewell is None:
            self._farewell = self.context.wheel.after(FAREWELL_SECONDS, self._abandon)
        undelivered, self._due_requests = self._due_requests, []
        self._due = []
        for request, body in undelivered:
            self._waiting.pop(request.id, None)
            request.on_undelivered(body)
        self.context.loop.call_soon(self.realm.vacate, self.relay)  # another may be about to take its place

    def _abandon(self) -> None:
        """This listener will not come any more."""
        hosts, self._awaited_by = self._awaited_by, set()
        for host in hosts:
            host.on_listener_gone()

    def _post(self, frames: bytes) -> None:
        if not self._due:
            self.context.loop.call_soon(self._flush)
        self._due.append(frames)
        self._due_bytes += len(frames)

    def _is_held_up(self, command: bytes, frames: bytes) -> bool:
        assert self.context.faults is not None
        action: Delayable = "accept" if command.startswith(b'{"accept"') else "request"
        seconds = self.context.faults.delay(self.realm.namespace, action, self.address)
        if seconds:
            self.context.wheel.after(seconds, lambda: self._post(frames))
        return bool(seconds)

    def _flush(self) -> None:
        due, self._due, self._due_bytes, self._due_requests = self._due, [], 0, []
        if due and not self.is_lost and not self.is_ending:
            self.outflow.write(b"".join(due))

    def _renew(self, token: str) -> None:
        if self.is_ending or self.is_lost:
            return
        try:
            grant = self.context.authorizer.authorize(token, self.realm.namespace, self.relay)
            grant.require(Right.ACCEPT, self.relay, self.address)
        except KeysPending as pending:
            pending.then(lambda: self._renew(token))
            return
        except RelayError as error:
            self.fail(error)
            return
        self.grant = grant
        self._await_expiry()

    def _await_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        left = min(self.context.authorizer.deadline(self.grant), self._ends_at) - self.context.clock()
        self._expiry = self.context.wheel.after(max(left, 0), self._on_expiry)

    def _on_expiry(self) -> None:
        if not self.context.is_live(self.grant):
            self.end(self.context.authorizer.close_of(self.grant))
        elif self.context.clock() >= self._ends_at:
            self.end(RECYCLED)
        else:
            self._await_expiry()  # the wall clock moved

    def _beat(self) -> None:
        seconds = self.context.settings.deadlines.ping_seconds
        self.check_life(seconds, UNANSWERED_PINGS)
        if not self.is_ending:
            self._heartbeat = self.context.wheel.after(seconds, self._beat)
