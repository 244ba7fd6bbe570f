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

A listener that is gone, or takes nothing, is replaced by another as long as none can have seen anything of the
request: while GATHERING, while FETCHING, and in the turn of the loop in which it was to be delivered. Each listener
is asked once. A request of which anything may have arrived is never sent twice.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

from app.closes import NORMAL, SENDER_LEFT
from app.edge.admission import admit, check_admitted, find_listener
from app.edge.allowances import accept_seconds, idle_seconds, response_seconds
from app.edge.asked import Asked
from app.edge.asker import Asker
from app.edge.control import ControlChannel
from app.edge.credentials import credential_of
from app.edge.exchange import Exchange
from app.edge.origin import remote_endpoint, told_scheme
from app.edge.passage import check_passage
from app.edge.refusal import Door
from app.edge.streamed import StreamedAnswer
from app.errors import AcceptTimeout, BadAnswer, ListenerGone, NoListener, Overloaded, RelayError, ResponseTimeout
from app.namespace import Profile, Relay, Right
from app.telemetry import new_secret, new_tracking_id
from app.wire.azure.choices import SENTENCES
from app.wire.azure.commands import (
    Response,
    encode_request,
    encode_request_address,
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
from app.wire.frames import BINARY, CONTINUATION, TEXT, encode_fragments
from app.wire.http import Headers

if TYPE_CHECKING:
    from app.edge.realm import Admitted
    from app.edge.request_socket import RequestSocket

CHUNKED_PATIENCE_SECONDS = 0.1  # how long the end of a chunked body may take to be "instantly available"
BODY_PATIENCE_SECONDS = 3.0
HIGH_BYTES = 64 * 1024
GATEWAY_ERRORS = (502, 504)  # which by the guide are the relay's to say
MAX_OWED_BYTES = 8 << 20  # of an answer on the control channel, which cannot be throttled for one of its requests


class Stage(Enum):
    GATHERING = 0
    FETCHING = 1
    UPLOADING = 2
    ANSWERING = 3
    STREAMING = 4
    DONE = 5


class RelayedRequest(Exchange, Asker):
    """An exchange that a listener answers."""

    door = Door.AZURE
    has_timed_body = False

    listener: ControlChannel
    relay: Relay
    _admitted: Admitted | None = None
    _streamed: StreamedAnswer | None = None
    _asked: tuple[ControlChannel, ...] = ()  # before `listener`, and in vain
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
            asked = head.memo = Asked(head, context.settings.azure)
        self._gathered: list[bytes] = []
        self._choose(asked)
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

    def _choose(self, asked: Asked) -> None:
        """A listener, and what it is to be told: under a fresh secret each time. Raises RelayError."""
        head, context = self.head, self.context
        self._realm = realm = context.realm(head.host)
        if context.faults is not None:
            context.faults.refuse(realm.namespace, "request", matching_path(asked.raw_path))
        admitted = self._admitted
        if admitted is None or not admitted[2].by_ticket:  # a ticket may be good once only
            credential = credential_of(context, self.seam.transport, head, asked.token)
            admitted = self._admitted = admit(context, realm, Right.ASK, asked.raw_path, credential)
        else:
            check_admitted(context, realm, admitted)
        relay, address, grant = admitted
        if relay.requires_transport_security or context.has_wcf_relays:
            check_passage(context, self.seam.transport, head, relay)
        self.listener = listener = find_listener(realm, relay, address, head, self._asked)
        self.relay = relay
        self.id = new_tracking_id(asked.id, context.node, is_unique=True)
        self._is_one_way = asked.prefers_async and relay.profile is Profile.NATIVE
        self.secret = context.nowhere.secret(self.id) if self._is_one_way else new_secret()
        self.via = asked.host or realm.namespace.name
        scheme = told_scheme(context, self.seam.transport, head, relay)
        self._address = request_address(listener.base, asked.entity(relay), self.id, self.secret)
        self._command = encode_request(
            self._address,
            self.id,
            asked.target_as_sent if relay.keeps_path else asked.target,
            head.method,
            asked.headers(asked.is_authorization and not grant.is_anonymous, self.via, scheme),
            head.has_body,
            remote_endpoint(context, self.seam.transport, head),
        )

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

    def _deliver_here(self, body: bytes | None, fault: RelayError | None = None) -> None:
        """The whole request over the control channel; after `fault`, another listener's."""
        self._stop_gathering()
        while fault is None or self._look_further(fault):
            try:
                self.listener.deliver(self._command, body, self)
            except RelayError as error:
                fault = error
                continue
            self._expect_answer()
            self._gathered = []
            self._delivered()
            return

    def _ask_to_fetch(self, fault: RelayError | None = None) -> None:
        """Send the address only: the listener comes for the request. After `fault`, another listener."""
        self._stop_gathering()
        if fault is None and self._stage is not Stage.GATHERING:
            return
        self._stage = Stage.FETCHING
        while fault is None or self._look_further(fault):
            self._expect_answer()
            try:
                self.listener.deliver(encode_request_address(self._address, self.id))
            except RelayError as error:
                fault = error
                continue
            self.listener.expect_visit(self)
            if not self.seam.patience.is_set:  # one deadline, however many are asked
                self._watch(accept_seconds(self.context, self.relay))
            return

    def _look_further(self, fault: RelayError) -> bool:
        """Choose a listener that was not asked yet; where there is none, `fault` is the answer."""
        self._expect_nothing()
        self._asked = (*self._asked, self.listener)
        try:
            assert isinstance(self.head.memo, Asked)
            self._choose(self.head.memo)
        except RelayError as error:
            if not self.is_over:
                self.refuse(fault if isinstance(error, NoListener) else error, tracking_id=self.id)
            return False
        self.context.counters["offered_again"] += 1
        return True

    def _expect_answer(self) -> None:
        self._is_expected = True
        self.context.rendezvous[self.secret] = self
        self.listener.expect(self.id, self)

    def _expect_nothing(self) -> None:
        if self._is_expected:
            self._is_expected = False
            self.listener.forget_visit(self)
            self.listener.forget(self.id)
            self.context.rendezvous.pop(self.secret, None)

    def on_undelivered(self, body: bytes | None) -> None:
        """The listener's channel ended before anything of the request was written to it."""
        if self._is_one_way or not self.is_over:
            self._deliver_here(body, ListenerGone("The listener left before the request could be delivered."))

    def on_listener_gone(self) -> None:
        """The listener is lost, or hung up and did not come."""
        fault = ListenerGone("The listener left before it answered.")
        if self._stage is Stage.FETCHING:
            self._ask_to_fetch(fault)
        else:
            self.on_answer_fault(fault)

    def on_rendezvous(self, socket: RequestSocket) -> None:
        """The listener opened the request's address: to fetch it, or to answer there."""
        self.context.rendezvous.pop(self.secret, None)
        self.listener.forget_visit(self)
        self.listener.forget(self.id)  # from here on the answer depends on this socket alone
        self._socket = socket
        if self._stage is not Stage.FETCHING:
            return
        self._stage = Stage.UPLOADING
        self._is_uploading = True
        socket.send(TEXT, self._command)
        gathered, self._gathered = b"".join(self._gathered), []
        self._watch(response_seconds(self.context, self.relay))
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
            socket.outflow.write(encode_fragments(opcode, data, is_end))
            self._watch(self._seconds)
        if is_end and self._stage is Stage.UPLOADING:
            self._delivered()

    def _delivered(self) -> None:
        self._stage = Stage.ANSWERING
        seconds = response_seconds(self.context, self.relay)
        if not self._is_one_way:
            self._watch(seconds)
            return
        if self.is_over:  # it was answered when the listener that is gone was to get it
            self._expect_nothing()
            return
        self.respond(202, [("Preference-Applied", "respond-async")])
        self._release()
        if (socket := self._socket) is not None:  # the listener may still answer there, but not for ever
            self.context.wheel.after(seconds, lambda: socket.end(NORMAL))

    # --- the answer ---

    def on_answer(self, answer: Response) -> None:
        """The answer's head came; its body follows if it says so."""
        if self._stage in (Stage.STREAMING, Stage.DONE):
            return
        if answer.status in GATEWAY_ERRORS and not self.context.settings.azure.relays_gateway_errors:
            self.on_answer_fault(BadAnswer(f"The listener may not answer {answer.status}."))
            return
        self._answer = answer
        self._headers: Headers = response_headers(answer.headers, self.via, self.seam.date())
        self._stage = Stage.STREAMING
        if not answer.has_body or has_no_body(self.head.method, answer.status):
            self._respond(b"")
        elif self._socket is not None:
            self._start_answer()
        else:
            self._watch(idle_seconds(self.context, self.relay))

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
        assert self._admitted is not None
        self._streamed = StreamedAnswer(self, self._realm, self._admitted)
        self.start_answer(answer.status, self._headers, None, reason_phrase(answer.status, answer.description))
        self._watch(idle_seconds(self.context, self.relay))

    # --- deadlines and the end ---

    def _watch(self, seconds: float) -> None:
        """End the request when nothing has happened for so long."""
        self._seconds = seconds
        self.seam.patience.set(seconds, self._on_timeout)

    def _on_timeout(self) -> None:
        self.context.counters["response_timeouts"] += 1
        if self._stage is Stage.FETCHING:
            self.on_answer_fault(AcceptTimeout(SENTENCES[AcceptTimeout]))
        else:
            self.on_answer_fault(ResponseTimeout("The listener did not answer within the allowed time."))

    def _stop_gathering(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    def _release(self) -> None:
        """Nobody waits for anything of this request any more."""
        self._stage = Stage.DONE
        if self._streamed is not None:
            self._streamed.release()
        self._stop_gathering()
        self.seam.patience.stop()
        self._expect_nothing()
