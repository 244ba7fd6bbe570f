"""Holds a call whose token cannot be judged yet, because the keys of its issuer are being fetched."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote_plus

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from app.access.webtoken import is_web_token
from app.errors import KeysPending, RelayError
from app.manage.callers import Context

_HEADERS = ("servicebusauthorization", "authorization")


class Held:
    """Around an application: lets a call in once its JSON Web Token can be judged, whatever the judgement will be."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            connection = HTTPConnection(scope)
            for token in _tokens(connection):
                await self._await_keys(token, connection.headers.get("host"))
        await self._app(scope, receive, send)

    async def _await_keys(self, token: str, host: str | None) -> None:
        try:
            namespace = self._context.hosts.find(host)
            self._context.authorizer.authorize(token, namespace, None)
        except KeysPending as pending:
            ready = asyncio.Event()
            pending.then(ready.set)
            await ready.wait()
        except RelayError:
            pass  # said when the call is made


def _tokens(connection: HTTPConnection) -> list[str]:
    places = [connection.headers.get(name, "") for name in _HEADERS]
    if "sb-hc-token" in connection.url.query.lower():
        pieces = (piece.partition("=") for piece in connection.url.query.split("&"))
        places += [unquote_plus(value) for name, _, value in pieces if unquote_plus(name).lower() == "sb-hc-token"]
    return [bare for place in places if is_web_token(bare := place.strip().rpartition(" ")[2])]
