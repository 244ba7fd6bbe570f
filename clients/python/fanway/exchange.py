"""One HTTP request at a listener: Request, Response, and what a handler may return."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fanway.event import as_payload

Handler = Callable[["Request"], Awaitable[Any]]


class Headers(dict[str, str]):
    """Header fields with their spelling kept; `get` and `in` ignore case, as names do (RFC 9110, 5.1)."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._spelled(name) is not None

    def __getitem__(self, name: str) -> str:
        spelled = self._spelled(name)
        if spelled is None:
            raise KeyError(name)
        return super().__getitem__(spelled)

    def get(self, name: str, default: Any = None) -> Any:
        spelled = self._spelled(name)
        return default if spelled is None else super().__getitem__(spelled)

    def _spelled(self, name: str) -> str | None:
        folded = name.lower()
        return next((key for key in self if key.lower() == folded), None)


class Request:
    """A sender's request. The body is read once: `read()`, `text()`, `json()` or, in pieces, `stream()`."""

    def __init__(
        self,
        address: str,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: AsyncIterator[bytes] | bytes = b"",
        remote: str = "",
    ) -> None:
        self.address = address
        self.method = method
        self.target = target
        self.headers = Headers(headers)
        self.remote = remote
        self._body = body

    @property
    def path(self) -> str:
        """The target's path, without the query, as the sender wrote it."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The raw query, without the question mark."""
        return self.target.partition("?")[2]

    @property
    def has_body(self) -> bool:
        return self._body != b""

    @property
    def is_streamed(self) -> bool:
        """Whether the body is still coming, its length unknown."""
        return not isinstance(self._body, bytes)

    async def read(self) -> bytes:
        """The whole body."""
        if not isinstance(self._body, bytes):
            self._body = b"".join([piece async for piece in self._body])
        return self._body

    async def text(self) -> str:
        """The whole body as UTF-8."""
        return (await self.read()).decode()

    async def json(self) -> Any:
        """The whole body read as JSON; raises ValueError if it is not."""
        return json.loads(await self.read())

    async def stream(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        if isinstance(self._body, bytes):
            if self._body:
                yield self._body
        else:
            async for piece in self._body:
                yield piece


@dataclass(slots=True)
class Response:
    """An answer. `content` is bytes, str, a value sent as JSON, or an asynchronous iterable that is streamed."""

    content: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def is_streamed(self) -> bool:
        return isinstance(self.content, AsyncIterable)

    def whole(self) -> bytes:
        """The body of an answer that is not streamed."""
        return as_payload(self.content)[0]

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body of a streamed answer."""
        async for piece in self.content:
            yield as_payload(piece)[0]

    def fields(self) -> dict[str, str]:
        """The header fields, with a content type where the handler left it open."""
        fields = Headers(self.headers)
        if "content-type" not in fields and (kind := _kind(self.content)):
            fields["Content-Type"] = kind
        return dict(fields)

    @property
    def phrase(self) -> str:
        """The reason phrase; the standard one where the handler gave none."""
        if self.reason:
            return self.reason
        try:
            return HTTPStatus(self.status).phrase
        except ValueError:
            return ""


def as_response(result: Any) -> Response:
    """What a handler returned, as a Response; None is 204."""
    if isinstance(result, Response):
        return result
    if result is None:
        return Response(status=204)
    return Response(result)


def _kind(content: Any) -> str:
    if isinstance(content, AsyncIterable) or content == b"":
        return ""
    if isinstance(content, (bytes, bytearray, memoryview)):
        return "application/octet-stream"
    return "text/plain; charset=utf-8" if isinstance(content, str) else "application/json"
