"""One relayed HTTP request: from its sender to one listener and back (protocol guide, "HTTP requests").

Theory. A request goes through these stages, in this order, some of them skipped:

    GATHERING   its body is small or its end not yet known: it is kept until the channel is decided
    FETCHING    the listener was sent an address and is to come for the request (rendezvous)
    UPLOADING   the listener came; the request and its body stream to it
    ANSWERING   all was delivered; the answer is awaited, on the control channel or at the rendezvous
    STREAMING   the answer's head went to the sender; its body follows as it comes
    DONE

A sender that leaves, a listener that leaves and every deadline may end it at any stage. Nothing is buffered
beyond what the channel decision needs; the slower side throttles the other. Only the control channel, which
other requests share, cannot be throttled: a sender that does not read its answer from there is cut.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

from app.edge.admission import admit, find_listener
from app.edge.asked import Asked
from app.edge.control import ControlChannel
from app.edge.exchange import Exchange
from app.edge.origin import remote_endpoint, told_scheme
from app.edge.passage import check_passage
from app.edge.refusal import Door
from app.edge.websocket import CommandSocket
from app.errors import (
    NORMAL,
    SENDER_LEFT,
    BadAnswer,
    ListenerGone,
    Overloaded,
    RelayError,
    ResponseTimeout,
)
from app.namespace import Profile, Right
from app.telemetry import new_secret, new_tracking_id
from app.wire.azure.commands import (
    Response,
    encode_request,
    encode_request_address,
    parse_command,
)
from app.wire.azure.exchange import (
    SMALL_REQUEST_BYTES,
    Channel,
    choose_channel,
    has_no_body,
    reason_phrase,
    response_headers,
)
from app.wire.azure.handshake import matching_path, request_address
from app.wire.frames import BINARY, CONTINUATION, TEXT, encode_frame
from app.wire.http import Head, Headers

if TYPE_CHECKING:
    from app.edge.context import Context

CHUNKED_PATIENCE_SECONDS = 0.1  # how long the end of a chunked body may take to be "instantly available"
BODY_PATIENCE_SECONDS = 3.0
HIGH_BYTES = 64 * 1024
MAX_OWED_BYTES = 8 << 20  # of an answer on the control channel, which cannot be throttled for one of its requests


class Stage(Enum):
    GATHERING = 0
    FETCHING = 1
    UPLOADING = 2
    ANSWERING = 3
    STREAMING = 4
    DONE = 5


class RelayedRequest(Exchange):
    """An exchange that a listener answers."""

    door = Door.AZURE
    has_timed_body = False

    listener: ControlChannel
    _stage = Stage.GATHERING
    _size = 0
    _socket: RequestSocket | None = None
    _is_expected = False  # the listener's answer, or the listener at the rendezvous
    _gathering: asyncio.TimerHandle | None = None
    _is_uploading = False  # which may go on while the answer streams already
    _is_upload_begun = False

    def start(self) -> None:
        head, context = self.head, self.context
        asked = head.memo
        if not isinstance(asked, Asked):
            asked = head.memo = Asked(head)
        realm = context.realm(head.host)
        if context.faults is not None:
            context.faults.refuse(realm.namespace, "request", matching_path(asked.raw_path))
        relay, address, grant = admit(context, realm, Right.SEND, asked.raw_path, asked.token)
        if relay.requires_transport_security or context.has_wcf_relays:
            check_passage(context, self.seam.transport, head, relay)
        self.listener = listener = find_listener(realm, relay, address, head)
        self.id = new_tracking_id(None, context.node)
        self.secret = new_secret()
        self.via = asked.host or realm.namespace.name
        scheme = told_scheme(context, self.seam.transport, head, relay)
        self._is_one_way = asked.prefers_async and relay.profile is Profile.NATIVE
        self._address = request_address(listener.base, asked.entity(relay), self.id, self.secret)
        self._gathered: list[bytes] = []
        self._command = encode_request(
            self._address,
            self.id,
            asked.target,
            head.method,
            asked.headers(asked.is_authorization and not grant.is_anonymous, self.via, scheme),
            head.has_body,
            remote_endpoint(context, self.seam.transport, head),
        )
        context.counters["requests"] += 1
        if not head.has_body:
            self._deliver_here(None)
            return
        self.welcome_body()
        if choose_channel(len(self._command), head.content_length) is Channel.RENDEZVOUS and not head.is_chunked:
            self._ask_to_fetch()
        elif not self.is_body_complete:
            seconds = CHUNKED_PATIENCE_SECONDS if head.is_chunked else BODY_PATIENCE_SECONDS
            self._gathering = context.loop.call_later(seconds, self._ask_to_fetch)

    # --- the sender's side ---

    def on_body(self, data: bytes) -> None:
        if self._is_uploading:
            self._upload(data, False)
            return
        if self._stage not in (Stage.GATHERING, Stage.FETCHING):
            return  # answered before its body was asked for
        self._gathered.append(data)
        self._size += len(data)
        if self._stage is Stage.GATHERING and len(self._command) + self._size > SMALL_REQUEST_BYTES:
            self._ask_to_fetch()
        elif self._stage is Stage.FETCHING and self._size > HIGH_BYTES:
            self.pause_body()

    def on_end(self) -> None:
        if self._stage is Stage.GATHERING:
            self._deliver_here(b"".join(self._gathered))
        elif self._is_uploading:
            self._upload(b"", True)

    def on_lost(self) -> None:
        self._release()
        if self._socket is not None:
            self._socket.end(SENDER_LEFT)

    def on_writable(self, is_writable: bool) -> None:
        if self._socket is not None and not self._socket.is_lost:
            if is_writable:
                self._socket.transport.resume_reading()
            else:
                self._socket.transport.pause_reading()

    # --- delivery ---

    def _deliver_here(self, body: bytes | None) -> None:
        """The whole request over the control channel."""
        self._stop_gathering()
        self.listener.deliver(self._command, body)
        self._expect_answer()
        self._gathered = []
        self._delivered()

    def _ask_to_fetch(self) -> None:
        """Send the address only: the listener comes for the request."""
        self._stop_gathering()
        if self._stage is not Stage.GATHERING:
            return
        self._stage = Stage.FETCHING
        self._expect_answer()
        try:
            self.listener.deliver(encode_request_address(self._address, self.id))
        except RelayError as error:
            self.on_answer_fault(error)
            return
        self._watch(self.context.settings.deadlines.accept_seconds)

    def _expect_answer(self) -> None:
        self._is_expected = True
        self.context.rendezvous[self.secret] = self
        self.listener.expect(self.id, self)

    def on_rendezvous(self, socket: RequestSocket) -> None:
        """The listener opened the request's address: to fetch it, or to answer there."""
        self.context.rendezvous.pop(self.secret, None)
        self.listener.forget(self.id)  # from here on the answer depends on this socket alone
        self._socket = socket
        if self._stage is not Stage.FETCHING:
            return
        self._stage = Stage.UPLOADING
        self._is_uploading = True
        socket.send(TEXT, self._command)
        gathered, self._gathered = b"".join(self._gathered), []
        self._watch(self.context.settings.deadlines.response_seconds)
        self._upload(gathered, self.is_body_complete)
        self.resume_body()

    def _upload(self, data: bytes, is_end: bool) -> None:
        """The body is one message: a first BINARY fragment, continuations, and FIN on the last."""
        socket = self._socket
        if socket is None or socket.is_lost or socket.is_ending:
            return
        if data or is_end:
            opcode = CONTINUATION if self._is_upload_begun else BINARY
            self._is_upload_begun = True
            socket.outflow.write(encode_frame(opcode, data, is_end))
            self._watch(self._seconds)
        if is_end and self._stage is Stage.UPLOADING:
            self._delivered()

    def _delivered(self) -> None:
        self._stage = Stage.ANSWERING
        if self._is_one_way:
            self.respond(202, [("Preference-Applied", "respond-async")])
            self._release()
            if (socket := self._socket) is not None:  # the listener may still answer there, but not for ever
                self.context.wheel.after(self.context.settings.deadlines.response_seconds, lambda: socket.end(NORMAL))
            return
        self._watch(self.context.settings.deadlines.response_seconds)

    # --- the answer ---

    def on_answer(self, answer: Response) -> None:
        """The answer's head came; its body follows if it says so."""
        if self._stage in (Stage.STREAMING, Stage.DONE):
            return
        self._answer = answer
        self._headers: Headers = response_headers(answer.headers, self.via, self.seam.date())
        self._stage = Stage.STREAMING
        if not answer.has_body or has_no_body(self.head.method, answer.status):
            self._respond(b"")
        elif self._socket is not None:
            self._start_answer()
        else:
            self._watch(self.context.settings.deadlines.idle_seconds)

    def on_answer_body(self, data: bytes, is_end: bool) -> None:
        """Some of the answer's body; an answer that came whole is sent with its length."""
        if self._stage is not Stage.STREAMING or self.is_over:
            return
        if not self.is_answering:
            if is_end:
                self._respond(data)
                return
            self._start_answer()
        self._watch(self._seconds)
        self.send(data)
        if is_end:
            self._release()
            self.finish()
        elif self._socket is None and self.seam.outflow.backlog() > MAX_OWED_BYTES:
            self.refuse(Overloaded("The sender does not read its answer."))

    def on_answer_fault(self, error: RelayError) -> None:
        """The answer will not come, or not wholly: refuse, or cut what was begun."""
        self.refuse(error, tracking_id=self.id)

    def refuse(self, error: RelayError, *, tracking_id: str | None = None) -> None:
        self._release()
        if self._socket is not None:
            self._socket.end(SENDER_LEFT)
        super().refuse(error, tracking_id=tracking_id)

    def _respond(self, body: bytes) -> None:
        self._release()
        answer = self._answer
        self.respond(answer.status, self._headers, body, reason_phrase(answer.status, answer.description))

    def _start_answer(self) -> None:
        answer = self._answer
        self.start_answer(answer.status, self._headers, None, reason_phrase(answer.status, answer.description))
        self._watch(self.context.settings.deadlines.idle_seconds)

    # --- deadlines and the end ---

    def _watch(self, seconds: float) -> None:
        """End the request when nothing has happened for so long."""
        self._seconds = seconds
        self.seam.patience.set(seconds, self._on_timeout)

    def _on_timeout(self) -> None:
        self.context.counters["response_timeouts"] += 1
        self.on_answer_fault(ResponseTimeout("The listener did not answer within the allowed time."))

    def _stop_gathering(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    def _release(self) -> None:
        """Nobody waits for anything of this request any more."""
        self._stage = Stage.DONE
        self._stop_gathering()
        self.seam.patience.stop()
        if self._is_expected:
            self._is_expected = False
            self.listener.forget(self.id)
            self.context.rendezvous.pop(self.secret, None)


class RequestSocket(CommandSocket):
    """A listener's socket for one request: it fetches a large one, or answers with a large response."""

    __slots__ = ("_has_answered", "_request")

    def __init__(self, context: Context, transport: asyncio.Transport, head: Head, request: RelayedRequest) -> None:
        super().__init__(context, transport, head)
        self._request: RelayedRequest = request
        self._has_answered = False

    def begin(self, rest: bytes) -> None:
        self.hold(rest)
        self.answer()
        self._request.on_rendezvous(self)
        self.start_reading()

    def on_body(self, data: bytes, is_end: bool) -> None:
        if self._has_answered:
            self._request.on_answer_body(data, is_end)
            if is_end:
                self.end(NORMAL)

    def on_writable(self, is_writable: bool) -> None:
        if self._request.is_over:
            return
        if is_writable:
            self._request.resume_body()
        else:
            self._request.pause_body()

    def on_close(self, code: int, reason: str) -> None:
        """A normal Close ends a body that had no FIN, as one SDK sends it; any other cuts it."""
        if code in (1000, 1005) and self._has_answered:
            self._request.on_answer_body(b"", True)
        else:
            self._fail_request()

    def on_lost(self) -> None:
        self._fail_request()

    def on_command(self, text: bytes) -> None:
        try:
            command = parse_command(text)
        except BadAnswer as error:
            self._request.on_answer_fault(error)
            return
        if not isinstance(command, Response):
            return
        if command.request_id != self._request.id:
            self._request.on_answer_fault(BadAnswer("The listener answered another request than it was asked."))
            return
        self._has_answered = True
        self._request.on_answer(command)
        if not command.has_body or self._request.is_over:
            self.end(NORMAL)

    def _fail_request(self) -> None:
        if not self._request.is_over:
            self._request.on_answer_fault(ListenerGone("The listener left before its answer was complete."))
