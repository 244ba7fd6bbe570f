"""A listener's end of a rendezvous for one request (protocol guide, "HTTP requests")."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.closes import NORMAL
from app.edge.websocket import CommandSocket
from app.errors import BadAnswer, ListenerGone
from app.wire.azure.commands import Response, parse_command
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.asker import Asker
    from app.edge.context import Context


class RequestSocket(CommandSocket):
    """A listener's socket for one request: it fetches a large one, or answers with a large response."""

    __slots__ = ("_has_answered", "_request")

    def __init__(self, context: Context, transport: asyncio.Transport, head: Head, request: Asker) -> None:
        super().__init__(context, transport, head)
        self._request: Asker = request
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
