"""Requests to one sink: bounded in time and size, over connections that are kept, following nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpcore

from app.push.connect import PinnedBackend, Resolve
from app.push.target import Reach, SinkRefused, Target

ANSWER_BYTES = 16 * 1024  # of an answer, head and body; the rest is cut off with its connection
BODY_SECONDS = 1.0  # that an answer's body is waited for, so that its connection can be used again
IDLE_SECONDS = 15.0


class SinkUnreachable(Exception):
    """A sink gave no answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sink said. Header names are in lower case; of several of one name the last counts."""

    status: int
    headers: Mapping[str, str]


class SinkClient:
    """The connections to one sink; `close` it at the end.

    Times are seconds: until a connection stands, TLS included, and for a request in all.
    """

    def __init__(
        self,
        target: Target,
        reach: Reach,
        resolve: Resolve,
        tls: ssl.SSLContext,
        *,
        connect_seconds: float,
        total_seconds: float,
    ) -> None:
        self.target = target
        self._connect_seconds = connect_seconds
        self._total_seconds = total_seconds
        # Whoever calls bounds how many requests run at once; here none waits for another's connection.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=None,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=PinnedBackend(reach, resolve, ANSWER_BYTES),
        )

    async def request(self, method: str, headers: Sequence[tuple[str, str]], body: bytes = b"") -> Answer:
        """Send one request. Raises `SinkUnreachable`, `SinkRefused`."""
        target = self.target
        url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        request = httpcore.Request(
            method,
            url,
            headers=[("Host", target.authority), *headers, ("Content-Length", str(len(body)))],
            content=body,
            extensions={"timeout": {"connect": self._connect_seconds}},
        )
        try:
            async with asyncio.timeout(self._total_seconds):
                response = await self._pool.handle_async_request(request)
                try:
                    await _drain(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise SinkUnreachable(f"no answer within {self._total_seconds:g} s") from None
        except SinkRefused:
            raise
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            raise SinkUnreachable(str(error) or type(error).__name__) from None
        lines = [(name.lower().decode("latin-1"), value.decode("latin-1")) for name, value in response.headers]
        return Answer(response.status, dict(lines))

    async def close(self) -> None:
        await self._pool.aclose()


async def _drain(response: httpcore.Response) -> None:
    """Read the body to its end, if that is near; else the connection is cut. The status stands either way."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for _ in response.aiter_stream():
                pass
    except (TimeoutError, httpcore.NetworkError, httpcore.ProtocolError):
        pass
