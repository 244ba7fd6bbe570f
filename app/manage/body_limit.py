"""Refuses bodies that no call needs: they are read before anyone is asked for a token."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import PayloadTooLarge, RelayError

MAX_BODY_BYTES = 256 * 1024


class BodyLimit:
    """ASGI middleware; `refuse` renders a refusal for a path in the manner of its door."""

    def __init__(self, app: ASGIApp, refuse: Callable[[str, RelayError], Response]) -> None:
        self._app = app
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        body = bytearray()  # one piece, since a message for each would cost far more than what came
        message = await receive()
        while message["type"] == "http.request":
            body += message.get("body", b"")
            if len(body) > MAX_BODY_BYTES:
                refusal = PayloadTooLarge(f"A body is at most {MAX_BODY_BYTES} bytes here.")
                return await self._refuse(scope["path"], refusal)(scope, receive, send)
            if not message.get("more_body", False):
                message = {"type": "http.request", "body": bytes(body), "more_body": False}
                break
            message = await receive()
        held = [message]  # the whole, or that the client has left

        async def replay() -> Message:
            return held.pop() if held else await receive()

        await self._app(scope, replay, send)
