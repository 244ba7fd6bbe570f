"""Connections to sinks: to the very address that was checked, and never more bytes back than an answer may have.

httpcore asks its network backend for a connection to a host; this one looks the host up, lets `Reach` judge all its
addresses, and connects to one of those. Nothing looks the name up a second time in between, so a name that changes its
mind gains nothing. TLS verifies the certificate against the host as before.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore

from app.push.target import IpAddress, Reach, SinkRefused, literal

LOOKUP_THREADS = 16  # of our own: a name server that hangs must not keep others' look-ups waiting

Resolve = Callable[[str, int], Awaitable[list[IpAddress]]]
"""All addresses of a name. Raises OSError when there is none to be had."""


class Resolver:
    """Looks names up as the system does; `close` it at the end."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, "sink-lookup")

    async def __call__(self, host: str, port: int) -> list[IpAddress]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _look_up, host, port)
        return [address for text in found if (address := literal(text.partition("%")[0])) is not None]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


async def find_addresses(host: str, port: int, reach: Reach, resolve: Resolve) -> list[IpAddress]:
    """The addresses of a host, all of which may be connected to. Raises `SinkRefused`, OSError."""
    address = literal(host)
    addresses = [address] if address is not None else await resolve(host, port)
    reach.check(host, addresses)
    return addresses


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """The network as sinks are reached through it. `answer_bytes` bounds what is read after each write."""

    def __init__(self, reach: Reach, resolve: Resolve, answer_bytes: int) -> None:
        self._reach = reach
        self._resolve = resolve
        self._answer_bytes = answer_bytes
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises `SinkRefused`, httpcore.ConnectError, httpcore.ConnectTimeout."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await find_addresses(host, port, self._reach, self._resolve)
                return await self._connect(addresses, port, socket_options)
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"no connection to {host} in time") from None
        except OSError as error:
            raise httpcore.ConnectError(f"{host} cannot be found: {error.strerror or error}") from None

    async def _connect(
        self, addresses: list[IpAddress], port: int, options: Iterable[Any] | None
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = SinkRefused("The sink has no address.")
        for address in addresses:
            try:
                stream = await self._network.connect_tcp(str(address), port, socket_options=options)
                return BoundedStream(stream, self._answer_bytes)
            except (httpcore.ConnectError, OSError) as error:
                failure = error
        raise failure


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection on which at most so many bytes are read after a write: heads, interim answers and bodies alike."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, most: int) -> None:
        self._stream = stream
        self._most = self._left = most

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        if self._left <= 0:
            raise httpcore.ReadError(f"the answer is larger than {self._most} bytes")
        data = await self._stream.read(min(max_bytes, self._left), timeout)
        self._left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._left = self._most
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._most)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
