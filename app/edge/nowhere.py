"""Where answers go that nobody waits for.

A listener may answer any request at the address in its command, and SDKs do so with large or streamed answers; some
fail badly when that address is refused. So a one-way request has one that takes the answer and reads past it. Nothing
is kept for it: the secret in the address proves that it was made here, and for which request.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from typing import TYPE_CHECKING

from app.closes import NORMAL
from app.edge.websocket import CommandSocket
from app.errors import BadAnswer
from app.wire.azure.commands import Response, parse_command
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.context import Context


class Nowhere:
    """Makes secrets for such addresses, and knows them again as long as this process lives."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def secret(self, request_id: str) -> str:
        return hmac.new(self._key, request_id.encode(), hashlib.sha256).hexdigest()

    def knows(self, request_id: str, secret: str) -> bool:
        return hmac.compare_digest(self.secret(request_id).encode(), secret.encode())


class NowhereSocket(CommandSocket):
    """A listener that answers a one-way request. It gets its Close when it has answered, or as long as answers take."""

    __slots__ = ("_patience",)

    def __init__(self, context: Context, transport: asyncio.Transport, head: Head) -> None:
        super().__init__(context, transport, head)
        seconds = context.settings.deadlines.response_seconds
        self._patience = context.wheel.after(seconds, lambda: self.end(NORMAL))

    def on_lost(self) -> None:
        self._patience.cancel()

    def on_command(self, text: bytes) -> None:
        try:
            command = parse_command(text)
        except BadAnswer:
            self.end(NORMAL)
            return
        if isinstance(command, Response) and not command.has_body:
            self.end(NORMAL)

    def on_body(self, data: bytes, is_end: bool) -> None:
        if is_end:
            self.end(NORMAL)
