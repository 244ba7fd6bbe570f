"""Asking all: one request to every listener that a pattern matches, their answers as they come, and a summary.

Theory. The roster says who listens at an address that the pattern matches; the grant is asked for each such address,
and whoever listens at another is neither asked nor counted nor shown. All that are left are asked at once (many of
them in slices, so that the loop breathes), each by a `Question`. What they answer is written whole, one line or event
each, until everybody has answered or failed or one of the stop rules holds; then the summary says how it went.

A caller that reads too slowly throttles those answers that come over sockets of their own. The others, which come over
control channels that other requests share, fail when too much is owed to him. A caller that leaves ends it all.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from app.access.grant import WRONG_AUDIENCE, Grant
from app.closes import DRAINING, Close
from app.edge.allowances import response_seconds
from app.edge.control import ControlChannel
from app.edge.credentials import credential_of
from app.edge.exchange import Exchange
from app.edge.feeds.callers import cors_headers, grant_for, token_of
from app.edge.feeds.exchange import EventsExchange, Misdirected, Preflight
from app.edge.origin import remote_endpoint, told_scheme
from app.edge.passage import check_passage
from app.edge.question import Question
from app.edge.realm import NO_ENDPOINT, Realm
from app.errors import (
    BadRequest,
    EndpointNotFound,
    MethodNotAllowed,
    NoListener,
    NoListenerAdmitted,
    Overloaded,
    PayloadTooLarge,
    RelayError,
    ResponseTimeout,
    Unauthorized,
    Unsupported,
)
from app.hosts import host_name
from app.namespace import Relay, Right
from app.wire.azure.commands import Response, encode_request
from app.wire.azure.exchange import request_headers, request_target
from app.wire.azure.handshake import client_id, request_address
from app.wire.azure.headers import origin_headers
from app.wire.azure.listeners import listener_filter
from app.wire.http import Head
from app.wire.native.gather import (
    END_ID,
    GatheredEvents,
    Why,
    answer_members,
    choose_stream,
    failure_members,
    parse_stop_rules,
    passed_headers,
    summary_members,
)
from fanout.address import Pattern, check_pattern, encode_address, parse_pattern

if TYPE_CHECKING:
    from app.edge.seam import Seam

DOOR = "/-/ask"
MAX_BODY_BYTES = 64 * 1024
MOST_ASKED = 10_000
ASKED_AT_ONCE = 256  # in one turn of the loop
MAX_OWED_BYTES = 8 << 20  # to the caller; answers beyond it fail
NOBODY = "Nobody listens at an address that the pattern matches and the token reaches."


def exchange_for(seam: Seam, head: Head) -> Exchange:
    """The exchange that answers a request at this door."""
    if head.method == "OPTIONS":
        return Preflight(seam, head)
    if head.method not in ("GET", "POST"):
        return Misdirected(seam, head, MethodNotAllowed("All are asked by POST, or by GET without a body."))
    return Gather(seam, head)


class Admitted(NamedTuple):
    """What a call was admitted to: these listeners of the relay, by which grant."""

    relay: Relay
    grant: Grant
    listeners: list[ControlChannel]


class Gather(EventsExchange):
    """One request to all, and the stream of their answers."""

    realm: Realm
    relay: Relay
    held_bytes = 0  # of answers that are not whole yet
    _grant: Grant | None = None
    _asked = _answered = _failed = 0
    _deadline: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def start(self) -> None:
        head = self.head
        self._parts: list[bytes] = []
        self._size = 0
        self._open: dict[Question, None] = {}  # asked, and still to answer
        self._rules = parse_stop_rules(head.query)
        self._pattern = parse_pattern(head.path[len(DOOR) + 1 :])
        self._stream = choose_stream(head.get_all("accept"))
        self._credential = credential_of(self.context, self.seam.transport, head, token_of(head))
        admitted = self._admit()
        if head.method == "GET" and head.has_body:
            raise BadRequest("What is asked with a body is asked by POST.")
        if isinstance(self._stream, GatheredEvents) and head.get("last-event-id") == END_ID:
            self.respond(204, cors_headers(self.context, head))  # after which a browser's EventSource stays away
            return
        if (head.content_length or 0) > MAX_BODY_BYTES:
            raise PayloadTooLarge(f"What all are asked holds at most {MAX_BODY_BYTES} bytes.")
        self.welcome_body()
        if not head.has_body:
            self._begin(admitted, None)

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_BODY_BYTES:
            self._parts = []
            raise PayloadTooLarge(f"What all are asked holds at most {MAX_BODY_BYTES} bytes.")
        self._parts.append(data)

    def on_end(self) -> None:
        body, self._parts = b"".join(self._parts), []
        self._begin(self._admit(), body)  # again: the body may have taken its time

    # --- who is asked ---

    def _admit(self) -> Admitted:
        """Who is to be asked, and by which grant.

        Raises Unauthorized, ClaimMissing, EndpointNotFound, NoListener, NoListenerAdmitted, Unsupported,
        TransportSecurityRequired. A token that does not cover the pattern learns nothing of what it does not reach.
        """
        context, pattern, grant = self.context, self._pattern, self._grant
        realm = self.realm = context.realm(self.head.host)
        if context.faults is not None:
            context.faults.refuse(realm.namespace, "request", pattern.prefix)
        relay = realm.find(pattern.prefix)
        is_open = relay is not None and not relay.requires_client_authorization
        if grant is None or not grant.by_ticket:  # a ticket may be good once only
            grant = self._grant = grant_for(context, realm, None if is_open else self._credential, pattern.prefix)
        else:
            context.authorizer.check(grant)
        if not is_open:
            _check_reach(grant, relay, pattern)
        if relay is None:
            covers = grant.covers(Right.ASK, Relay(pattern.prefix), pattern)
            raise EndpointNotFound(NO_ENDPOINT) if covers else NoListener(NOBODY)
        canonical = realm.namespace.canonical(relay, pattern.text)
        if canonical != pattern.text:
            pattern = check_pattern(canonical)
        listeners: list[ControlChannel] = []
        for address, here in realm.roster.matching(relay.key, pattern):
            if is_open or grant.permits(Right.ASK, relay, address):
                listeners += here
        if not listeners:
            raise NoListener(NOBODY)
        if relay.profile.is_one_way:
            raise Unsupported(f"Messages to a relay of the profile '{relay.profile}' are not answered.")
        check_passage(context, self.seam.transport, self.head, relay)
        if (wanted := listener_filter(self.head)) is not None:
            listeners = [each for each in listeners if wanted.admits(each.id, each.instance)]
            if not listeners:
                raise NoListenerAdmitted("None of the listeners there is one of those that are wanted.")
        if len(listeners) > MOST_ASKED:
            raise Unsupported(f"At most {MOST_ASKED} listeners are asked at once; these are {len(listeners)}.")
        return Admitted(relay, grant, listeners)

    # --- asking ---

    def _begin(self, admitted: Admitted, body: bytes | None) -> None:
        head, context = self.head, self.context
        relay, grant, self._left = admitted
        self.relay = relay
        self.client_id = client_id(head.query)
        self._body = body
        self._peer = remote_endpoint(context, self.seam.transport, head)
        scheme = told_scheme(context, self.seam.transport, head, relay)
        origin = origin_headers("", scheme) if scheme else None
        choices = context.settings.azure
        via = host_name(head.host) or self.realm.namespace.name
        self._headers = request_headers(
            passed_headers(head.headers), not grant.is_anonymous, via, origin, choices.passes_host
        )
        self._decodes_path = choices.decodes_path and not relay.keeps_path
        self._command(Question(self, self._left[0]))  # where it is too large for one it is for all: HeadTooLarge
        context.counters["gathers"] += 1
        context.lives.add(self)
        headers = [("Content-Type", self._stream.content_type), ("Cache-Control", "no-store")]
        headers += [("X-Accel-Buffering", "no"), *cors_headers(context, head)]
        self.start_answer(200, headers, None)
        self._patience = response_seconds(context, relay)
        seconds = min(self._rules.wait_seconds, self._patience)
        self._deadline = context.loop.call_later(seconds, self._on_deadline)
        self._ask_some()

    def _ask_some(self) -> None:
        """Ask the next of those who are left; the others have their turn."""
        for listener in self._left[:ASKED_AT_ONCE]:
            if self.is_over:
                return
            question = Question(self, listener)
            self._open[question] = None
            self._asked += 1
            try:
                question.ask(self._command(question), self._body)
            except RelayError as error:
                question.on_answer_fault(error)
        del self._left[:ASKED_AT_ONCE]
        if self._left and not self.is_over:
            self.context.loop.call_soon(self._ask_some)
        else:
            self._look_for_end()

    def _command(self, question: Question) -> bytes:
        """The `request` command for one listener. Raises HeadTooLarge."""
        listener = question.listener
        return encode_request(
            request_address(listener.base, self.relay.name, question.id, question.secret),
            question.id,
            request_target(f"/{encode_address(listener.address)}", "", self._decodes_path),
            self.head.method,
            self._headers,
            self._body is not None,
            self._peer,
        )

    # --- what comes back ---

    @property
    def is_slow(self) -> bool:
        """Whether the caller does not take what is written to him."""
        return self.seam.outflow.is_paused

    def on_answered(self, question: Question, answer: Response, body: bytes) -> None:
        """A listener's answer is whole."""
        content_type = next((value for name, value in answer.headers if name.lower() == "content-type"), None)
        line = self._stream.encode("answer", answer_members(question.who, answer.status, content_type, body))
        if self.seam.outflow.backlog() + len(line) > MAX_OWED_BYTES:
            self.on_failed(question, Overloaded("The caller reads too slowly for this answer."))
            return
        del self._open[question]
        self._answered += 1
        self.send(line)
        if self._rules.first and answer.status < 400:
            self._finish("first")
        elif self._answered == self._rules.max:
            self._finish("max")
        else:
            self._watch_stall()
            self._look_for_end()

    def on_failed(self, question: Question, error: RelayError) -> None:
        """A listener will give no answer."""
        del self._open[question]
        self._failed += 1
        self.send(self._stream.encode("failure", failure_members(question.who, error)))
        self._look_for_end()

    def _look_for_end(self) -> None:
        if not self._open and not self._left:
            self._finish("all")

    def _on_deadline(self) -> None:
        if self._rules.wait_seconds <= self._patience:
            self._finish("wait")
            return
        for question in list(self._open):
            question.on_answer_fault(ResponseTimeout("The listener did not answer within the allowed time."))

    def _watch_stall(self) -> None:
        """Another answer is to come within the time that the caller set, unless it is he who does not read."""
        self._stop_stall()
        if self._rules.stall_seconds is not None and self._answered and not self.is_slow:
            self._stall = self.context.loop.call_later(self._rules.stall_seconds, self._finish, "stall")

    def _finish(self, why: Why) -> None:
        if self.is_over:
            return
        missing = [question.who for question in self._open]
        self._release()
        summary = summary_members(self._asked, self._answered, self._failed, missing, why)
        self.send(self._stream.encode("summary", summary))
        self.finish()

    # --- life and end ---

    def on_writable(self, is_writable: bool) -> None:
        if not self.is_answering:
            return
        for question in self._open:
            if is_writable:
                question.resume()
            else:
                question.pause()
        self._watch_stall()

    def on_lost(self) -> None:
        self._release()

    def review(self) -> None:
        """End if the right is gone. A token's expiry ends nothing that is under way; listeners end with their relay."""
        assert self._grant is not None
        if not self.context.authorizer.is_live(self._grant, 0.0):
            self.abort()

    def end(self, close: Close) -> None:
        """Cut it, unless the gateway drains: then it has time to end by itself."""
        if close is not DRAINING:
            self.abort()

    def abort(self) -> None:
        self._release()
        super().abort()

    def peer_address(self) -> str:
        """Where the caller comes from; behind a trusted proxy what that says."""
        return remote_endpoint(self.context, self.seam.transport, self.head)[0]

    def _release(self) -> None:
        """Nobody waits for anything of this any more."""
        self.context.lives.discard(self)
        self._left = []
        if self._deadline is not None:
            self._deadline.cancel()
        self._stop_stall()
        questions, self._open = self._open, {}
        for question in questions:
            question.drop()

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None


def _check_reach(grant: Grant, relay: Relay | None, pattern: Pattern) -> None:
    """Return when the grant may ask at addresses that the pattern may match. Raises Unauthorized, ClaimMissing."""
    owner = relay or Relay(pattern.prefix)
    if pattern.is_concrete:
        grant.require(Right.ASK, owner, pattern.text)
    else:
        grant.require_right(Right.ASK)
        if not grant.meets(owner, pattern.prefix):
            raise Unauthorized(WRONG_AUDIENCE)
