"""The audit log: one line for each change that somebody made through a management door.

Logger `fanway.audit`: who, what, with which status, in which namespace's name, from where, under which tracking id.
Never a token, a key or a body.
"""

from __future__ import annotations

import logging

from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.telemetry import new_tracking_id, printable

_log = logging.getLogger("fanway.audit")
_READING = ("GET", "HEAD", "OPTIONS")
_HOLDER, _NOTE = "fanway.holder", "fanway.note"


def identify(connection: HTTPConnection, holder: str) -> None:
    """Say who makes the call; never a secret."""
    connection.scope[_HOLDER] = holder


def note(request: Request, what: str) -> None:
    """Say what the call does, where its path does not."""
    request.scope[_NOTE] = what


class Audit:
    """Around an application: writes the line once a change was answered, and gives the answer its tracking id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _READING:
            return await self._app(scope, receive, send)

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                _record(scope, message)
            await send(message)

        await self._app(scope, receive, tell)


def _record(scope: Scope, message: Message) -> None:
    headers = message.setdefault("headers", [])
    told = next((value.decode() for name, value in headers if name.lower() == b"trackingid"), None)
    tracking_id = told or new_tracking_id()
    if told is None:
        headers.append((b"trackingid", tracking_id.encode()))
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    peer = scope["client"][0] if scope.get("client") else "unknown"
    what = f"{scope['method']} {scope['path']}" + (f" ({scope[_NOTE]})" if _NOTE in scope else "")
    _log.info(
        "%s: %s: %d at %s from %s (%s)",
        printable(scope.get(_HOLDER, "operator"), 256),
        printable(what, 1024),
        message["status"],
        printable(host, 256),
        peer,
        tracking_id,
    )
