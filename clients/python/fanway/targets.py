"""What `fanway listen --to` can join an address to: a local HTTP server or a TCP or Unix socket.

The target is connected before the sender's socket is accepted, so a target that refuses is a
rejection the sender sees, not an accepted and closed socket.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import httpx

from fanway.errors import ConfigurationError, RelayError
from fanway.exchange import Headers, Request, Response
from fanway.listener import Handlers, Offer
from fanway.nettcp_wire import ViaRewriter
from fanway.public import PublicSide, cut_address, may_leave
from fanway.socket import READ_BYTES, open_socket, reset
from fanway.tcp import join_sockets, join_stream

CONNECT_TIMEOUT_SECONDS = 10.0
NET_TCP_PORT = 808  # the scheme's own
# Hop-by-hop (RFC 9110, 7.6.1) and what each hop writes itself.
_HOP = {
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
_LEAVING = "The path may not lead upwards."
_HANDSHAKE = {"sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol"}


class Target(Protocol):
    """Something local that requests and sockets are handed to."""

    def handlers(self) -> Handlers:
        """What the listener shall call."""
        ...

    async def close(self) -> None:
        """Let go of what is held open."""
        ...


@dataclass(frozen=True, slots=True)
class WebManners:
    """How a local web application is treated. `rewrites`: its redirects and the paths of its cookies are made to fit
    what senders see; `keeps_host`: it gets the Host that the sender asked, not its own."""

    rewrites: bool = True
    keeps_host: bool = False


USUAL = WebManners()


class HttpTarget:
    """A local HTTP server, which gets requests and WebSockets with the listener's address cut off the path."""

    def __init__(self, url: str, address: str, manners: WebManners = USUAL) -> None:
        self._url = url.rstrip("/")
        self._address = address
        self._has_path = urlsplit(self._url).path != ""
        self._manners = manners
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_SECONDS),
            trust_env=False,
            limits=httpx.Limits(max_connections=None),
        )

    def handlers(self) -> Handlers:
        return Handlers(self._request, self._offer)

    async def close(self) -> None:
        await self._client.aclose()

    async def _request(self, request: Request) -> Response:
        if self._leaves(request.target):
            return Response(_LEAVING, 400)
        side = PublicSide.of(request.headers, self._address)
        content = request.stream() if request.is_streamed else await request.read()
        try:
            answer = await self._client.send(
                httpx.Request(
                    request.method,
                    self._url + cut_address(request.target, self._address),
                    headers=list(self._fields(request.headers, side, request.remote).items()),
                    content=content or None,
                ),
                stream=True,
            )
        except httpx.TransportError as error:
            return Response(f"The local target {self._url} did not answer: {error}", 502)
        headers = _joined([(n, self._seen(n, v, side)) for n, v in _decoded(answer.headers.raw)])
        reason = answer.extensions.get("reason_phrase", b"").decode("latin-1")
        if answer.headers.get("content-length") == "0":  # said to the sender too, who may wait for a body otherwise
            await answer.aread()
            return Response(b"", answer.status_code, headers, reason)
        return Response(_raw(answer), answer.status_code, headers, reason)

    async def _offer(self, offer: Offer) -> None:
        if self._leaves(offer.target):
            await offer.reject(400, _LEAVING)
            return
        url = "ws" + self._url.removeprefix("http") + cut_address(offer.target, self._address)
        side = PublicSide.of(offer.headers, self._address)
        fields = self._fields(offer.headers, side, offer.remote)
        headers = [(n, v) for n, v in fields.items() if n.lower() not in _HANDSHAKE]
        try:
            local = await open_socket(
                url, headers=headers, subprotocols=offer.subprotocols, timeout_seconds=CONNECT_TIMEOUT_SECONDS
            )
        except RelayError as error:
            words = error.message if error.status else f"The local target {self._url} took no socket."
            await offer.reject(error.status or 502, words)
            return
        try:
            remote = await offer.accept(local.subprotocol)
        except RelayError:
            local.abort()
            raise
        await join_sockets(remote, local)

    def _leaves(self, target: str) -> bool:
        """Whether senders could get out of the path that the target's own URL has."""
        return self._has_path and may_leave(target)

    def _fields(self, headers: Headers, side: PublicSide, remote: str) -> dict[str, str]:
        named = {name.strip().lower() for name in headers.get("connection", "").split(",")}
        fields = {n: v for n, v in headers.items() if n.lower() not in _HOP | named}
        if self._manners.keeps_host and side.host:
            fields = {"Host": side.host, **fields}
        return side.forwarded(fields, remote)

    def _seen(self, name: str, value: str, side: PublicSide) -> str:
        """A header of the application's answer as the sender shall see it."""
        if not self._manners.rewrites:
            return value
        if name.lower() in ("location", "content-location"):
            return side.location(value, self._url)
        return side.cookie(value, self._url) if name.lower() == "set-cookie" else value


class StreamTarget:
    """A TCP (`host`, `port`) or Unix (`path`) server behind relayed sockets; requests are answered 501."""

    def __init__(self, host: str = "", port: int = 0, path: str = "") -> None:
        self._host, self._port, self._path = host, port, path

    def handlers(self) -> Handlers:
        return Handlers(self._request, self._offer)

    async def close(self) -> None:
        pass

    async def _request(self, request: Request) -> Response:
        return Response("This address takes sockets, not requests.", 501)

    async def _offer(self, offer: Offer) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                if self._path:
                    reader, writer = await asyncio.open_unix_connection(self._path, limit=READ_BYTES)
                else:
                    reader, writer = await asyncio.open_connection(self._host, self._port, limit=READ_BYTES)
        except OSError as error:  # TimeoutError is one
            await offer.reject(502, f"The target refused the connection: {error.strerror or type(error).__name__}.")
            return
        try:
            remote = await offer.accept(offer.subprotocols[0] if offer.subprotocols else None)
        except RelayError:
            reset(writer)
            raise
        await join_stream(remote, reader, writer, self.alteration(offer.target))

    def alteration(self, target: str) -> Callable[[bytes], bytes] | None:
        """What is to be done to a socket's bytes on their way to the server; `target` is what it was offered as."""
        return None


class NetTcpTarget(StreamTarget):
    """A `net.tcp` service. If its URL has a path, sessions get it as their via, and behind it what the sender put
    behind the listener's address; else they keep the via that the sender wrote."""

    def __init__(self, url: str, address: str) -> None:
        parts = urlsplit(url)
        super().__init__(parts.hostname or "", _port(url) or NET_TCP_PORT)
        self._via = url.rstrip("/") if parts.path else None
        self._address = address

    async def _offer(self, offer: Offer) -> None:
        if self._via is not None and may_leave(offer.target):
            await offer.reject(400, _LEAVING)
        else:
            await super()._offer(offer)

    def alteration(self, target: str) -> Callable[[bytes], bytes] | None:
        if self._via is None:
            return None
        rest = cut_address(target, self._address)
        via = self._via + (rest[1:] if rest == "/" or rest.startswith("/?") else rest)
        return ViaRewriter(via).feed


def parse_target(text: str, address: str, manners: WebManners = USUAL) -> Target:
    """`:3000`, `host:port`, `http://…`, `tcp://host:port`, `net.tcp://host:port/path` or `unix:/path`.

    Raises ConfigurationError.
    """
    if text.startswith("unix:"):
        if path := text.removeprefix("unix:").removeprefix("//"):
            return StreamTarget(path=path)
    elif text.startswith("tcp://"):
        parts = urlsplit(text)
        if parts.hostname and _port(text):
            return StreamTarget(parts.hostname, _port(text))
    elif text.startswith("net.tcp://"):
        parts = urlsplit(text)
        if parts.hostname and (_port(text) or parts.netloc == parts.hostname) and not parts.query:
            return NetTcpTarget(text, address)
    elif text.startswith(("http://", "https://")) and urlsplit(text).hostname:
        return HttpTarget(text, address, manners)
    elif re.fullmatch(r":\d+|\d+", text) and _port(url := f"http://localhost:{text.lstrip(':')}"):
        return HttpTarget(url, address, manners)
    elif re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/]+):\d+(/.*)?", text) and _port(url := f"http://{text}"):
        return HttpTarget(url, address, manners)
    raise ConfigurationError(
        f"{text!r} is no target: give :3000, localhost:3000, http://…, tcp://host:port, net.tcp://…, unix:/path,"
        " module:app or -."
    )


def _decoded(raw: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[str, str]]:
    return ((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw)


async def _raw(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it stands on the wire, not decompressed."""
    try:
        async for piece in answer.aiter_raw():
            yield piece
    finally:
        await answer.aclose()


def _joined(fields: list[tuple[str, str]]) -> Mapping[str, str]:
    """One value per name, repeats joined by a comma, hop-by-hop fields left out."""
    joined = Headers()
    for name, value in fields:
        if name.lower() in _HOP:
            continue
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _port(url: str) -> int:
    try:
        return urlsplit(url).port or 0
    except ValueError:
        return 0
