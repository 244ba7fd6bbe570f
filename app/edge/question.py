"""One listener of the many that are asked at once: its request, and its answer until it is whole.

Its request goes over the control channel; it answers there or at the address, as every listener may. It is asked once
and nobody takes its place, since all others are asked too. An answer is held until it is whole, for answers of several
listeners must not mix; how much is held is bounded for each and for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.closes import SENDER_LEFT
from app.edge.asker import Asker
from app.errors import ListenerGone, Overloaded, PayloadTooLarge, RelayError
from app.telemetry import new_secret, new_tracking_id
from app.wire.azure.commands import Response
from app.wire.azure.exchange import has_no_body
from app.wire.native.gather import Who

if TYPE_CHECKING:
    from app.edge.control import ControlChannel
    from app.edge.gather import Gather
    from app.edge.request_socket import RequestSocket

MAX_ANSWER_BYTES = 1 << 20
MAX_HELD_BYTES = 8 << 20  # of all answers of one gather that are not whole yet


class Question(Asker):
    """What one listener was asked. It tells the gather once, by `on_answered` or `on_failed`, unless it is dropped."""

    __slots__ = ("_answer", "_gather", "_parts", "_size", "_socket", "id", "is_over", "listener", "secret", "who")

    def __init__(self, gather: Gather, listener: ControlChannel) -> None:
        self._gather = gather
        self.listener = listener
        self.who = Who(listener.address, listener.id, listener.instance)
        self.id = new_tracking_id(gather.client_id, gather.context.node, is_unique=True)
        self.secret = new_secret()
        self.is_over = False
        self._answer: Response | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._socket: RequestSocket | None = None

    def ask(self, command: bytes, body: bytes | None) -> None:
        """Send the request on its way. Raises ListenerGone, Overloaded."""
        self.listener.deliver(command, body, self)
        self.listener.expect(self.id, self)
        self._gather.context.rendezvous[self.secret] = self

    def drop(self) -> None:
        """Nobody waits for the answer any more; a listener that is sending it is told."""
        self._settle()
        if self._socket is not None:
            self._socket.end(SENDER_LEFT)

    def pause(self) -> None:
        """Read no more of an answer at the address; one on the control channel cannot be throttled."""
        if self._socket is not None and not self._socket.is_lost:
            self._socket.transport.pause_reading()

    def resume(self) -> None:
        if self._socket is not None and not self._socket.is_lost:
            self._socket.transport.resume_reading()

    # --- the listener's calls ---

    def on_undelivered(self, body: bytes | None) -> None:
        self.on_listener_gone()

    def on_listener_gone(self) -> None:
        self.on_answer_fault(ListenerGone("The listener left before it answered."))

    def on_rendezvous(self, socket: RequestSocket) -> None:
        self._gather.context.rendezvous.pop(self.secret, None)
        self.listener.forget(self.id)  # from here on the answer depends on this socket alone
        self._socket = socket
        if self._gather.is_slow:
            self._gather.context.loop.call_soon(self.pause)  # once it reads

    def on_answer(self, answer: Response) -> None:
        if self.is_over:
            return
        self._answer = answer
        if not answer.has_body or has_no_body(self._gather.head.method, answer.status):
            self._finish(answer)

    def on_answer_body(self, data: bytes, is_end: bool) -> None:
        if self.is_over or self._answer is None:
            return
        self._parts.append(data)
        self._size += len(data)
        self._gather.held_bytes += len(data)
        if self._size > MAX_ANSWER_BYTES:
            self.on_answer_fault(PayloadTooLarge(f"The answer holds more than {MAX_ANSWER_BYTES} bytes."))
        elif self._gather.held_bytes > MAX_HELD_BYTES:
            self.on_answer_fault(Overloaded(f"More than {MAX_HELD_BYTES} bytes of unfinished answers."))
        elif is_end:
            self._finish(self._answer)

    def on_answer_fault(self, error: RelayError) -> None:
        if not self.is_over:
            self.drop()
            self._gather.on_failed(self, error)

    def pause_body(self) -> None:
        pass  # the request went over the control channel

    def resume_body(self) -> None:
        pass

    # --- inside ---

    def _finish(self, answer: Response) -> None:
        body = b"".join(self._parts)
        self._settle()
        self._gather.on_answered(self, answer, body)

    def _settle(self) -> None:
        self.is_over = True
        self._gather.held_bytes -= self._size
        self._parts, self._size = [], 0
        self.listener.forget(self.id)
        self._gather.context.rendezvous.pop(self.secret, None)
