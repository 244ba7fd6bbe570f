"""A relayed socket: messages both ways, each direction closed on its own.

A Close frame ends one direction (protocol guide: the peer's Close is passed on and the other
direction keeps flowing until it closes too). Reading happens only when asked for, so a slow reader
slows its peer; memory stays bounded whatever the size of a message when read in fragments.
"""

from __future__ import annotations

import asyncio
import socket as sockets
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable
from typing import Any, Self
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.http11 import Response as HandshakeResponse
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from fanway.channel import unreachable
from fanway.connect import Gateway, dialled
from fanway.errors import ConnectionClosedError, ConnectionLostError, RelayTimeoutError, from_answer
from fanway.socket_wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Fragment,
    FrameError,
    encode_close,
    encode_frame,
    parse_close,
    parse_head,
    parse_length,
)

READ_BYTES = 64 * 1024
OPEN_TIMEOUT_SECONDS = 70.0  # what the Azure SDKs give a listener to come
CLOSE_TIMEOUT_SECONDS = 5.0


class Socket:
    """One end of a relayed socket. `str` travels as a text message, `bytes` as a binary one."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, subprotocol: str | None = None
    ) -> None:
        self.subprotocol = subprotocol
        self.close_code: int | None = None
        self.close_reason = ""
        self.has_sent_close = False
        self._reader = reader
        self._writer = writer
        self._opcode = 0  # of the message being received in fragments
        self._sending = asyncio.Lock()

    async def send(self, data: str | bytes) -> None:
        """Send one message; waits while the peer is behind. Raises ConnectionClosedError."""
        if isinstance(data, str):
            await self.send_fragment(Fragment(TEXT, data.encode(), True))
        else:
            await self.send_fragment(Fragment(BINARY, bytes(data), True))

    async def recv(self) -> str | bytes:
        """The next message. Raises ConnectionClosedError when the peer has closed its direction."""
        parts: list[bytes] = []
        async for fragment in self.fragments():
            parts.append(fragment.data)
            if fragment.is_final:
                data = b"".join(parts)
                return data.decode() if fragment.opcode == TEXT else data
        raise self._closed()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close both directions: says so, waits up to 5 s for the peer to do the same, discards what still comes."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self.close_send(code, reason)
                async for _ in self.fragments():
                    pass
        except (ConnectionClosedError, FrameError, TimeoutError):
            self.abort()
        self._writer.close()

    async def close_send(self, code: int = 1000, reason: str = "") -> None:
        """Close our direction only; `recv` goes on until the peer closes too."""
        if not self.has_sent_close:
            self.has_sent_close = True
            await self._write(encode_close(code, reason))

    def abort(self) -> None:
        """Drop the connection without a Close frame: the peer sees an abnormal loss."""
        self._writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        await self.close(1000 if kind is None else 1011)

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Messages until the peer closes its direction; an abnormal loss raises ConnectionClosedError."""
        while True:
            try:
                message = await self.recv()
            except ConnectionClosedError:
                if self.close_code == 1006:
                    raise
                return
            yield message

    # Fragments: what targets and the command line use to pass messages of any size on.

    async def fragments(self) -> AsyncIterator[Fragment]:
        """Pieces of messages, at most 64 KiB each, until the peer's Close. Raises ConnectionClosedError on loss."""
        try:
            while self.close_code is None:
                head = parse_head(await self._reader.readexactly(2))
                length = head.length
                if head.extra_bytes:
                    length = parse_length(await self._reader.readexactly(head.extra_bytes))
                if head.opcode >= CLOSE:
                    await self._control(head.opcode, await self._reader.readexactly(length))
                    continue
                if (head.opcode == CONTINUATION) != bool(self._opcode):
                    raise FrameError("The peer broke the order of fragments.")
                opcode = self._opcode = self._opcode or head.opcode
                if head.is_final:
                    self._opcode = 0
                while True:
                    data = await self._reader.readexactly(min(length, READ_BYTES))
                    length -= len(data)
                    yield Fragment(opcode, data, head.is_final and not length)
                    if not length:
                        break
        except (asyncio.IncompleteReadError, OSError):
            self.close_code = 1006
            self.abort()
            raise self._closed() from None

    async def send_fragment(self, fragment: Fragment, is_first: bool = True) -> None:
        """Send a piece of a message; the pieces of one message must follow each other."""
        if self.has_sent_close:
            raise ConnectionClosedError(1000, "this direction is closed")
        opcode = fragment.opcode if is_first else CONTINUATION
        await self._write(encode_frame(opcode, fragment.data, fragment.is_final))

    async def _control(self, opcode: int, data: bytes) -> None:
        if opcode == CLOSE:
            self.close_code, self.close_reason = parse_close(data)
        elif opcode == PING and not self.has_sent_close:
            await self._write(encode_frame(PONG, data))

    async def _write(self, data: bytes) -> None:
        async with self._sending:
            try:
                self._writer.write(data)
                await self._writer.drain()
            except (OSError, RuntimeError):
                self.close_code = self.close_code or 1006
                self.abort()
                raise self._closed() from None

    def _closed(self) -> ConnectionClosedError:
        return ConnectionClosedError(self.close_code or 1006, self.close_reason)


class Opening:
    """A socket being opened: `async with relay.open(…) as socket`, or `await relay.open(…)`."""

    def __init__(self, opener: Callable[[], Awaitable[Socket]]) -> None:
        self._opener = opener
        self._socket: Socket | None = None

    def __await__(self) -> Generator[Any, None, Socket]:
        return self._opener().__await__()

    async def __aenter__(self) -> Socket:
        self._socket = await self._opener()
        return self._socket

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        assert self._socket is not None
        await self._socket.__aexit__(kind, *rest)


async def open_socket(
    url: str,
    gateway: Gateway | None = None,
    *,
    headers: Iterable[tuple[str, str]] = (),
    subprotocols: Iterable[str] = (),
    timeout_seconds: float = OPEN_TIMEOUT_SECONDS,
) -> Socket:
    """A connected Socket to a `ws` or `wss` URL. Raises RelayError: refused, rejected, unreachable, too slow."""
    parts = urlsplit(url)
    where = f"{parts.scheme}://{parts.netloc}"
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_seconds):
            target = parse_uri(url)
            tls = gateway.tls() if gateway and target.secure else (True if target.secure else None)
            reader, writer = await asyncio.open_connection(
                dialled(target.host),
                target.port,
                ssl=tls,
                server_hostname=target.host if tls else None,
                limit=READ_BYTES,
            )
            wanted = [Subprotocol(name) for name in subprotocols]
            handshake = ClientProtocol(target, subprotocols=wanted or None, max_size=None)
            answer = await _shake_hands(handshake, headers, reader, writer)
    except InvalidStatus as refusal:
        answer = refusal.response
        _give_up(writer)
        raise from_answer(answer.status_code, answer.reason_phrase, bytes(answer.body or b"")) from None
    except (InvalidHandshake, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        _give_up(writer)
        raise ConnectionLostError(f"{where} broke off the handshake: {error}") from None
    except TimeoutError:
        _give_up(writer)
        raise RelayTimeoutError(f"{where} did not complete the socket within {timeout_seconds:g} s.") from None
    except OSError as error:
        _give_up(writer)
        raise unreachable(where, error) from None
    except asyncio.CancelledError:
        _give_up(writer)
        raise
    return Socket(reader, writer, handshake.subprotocol)


async def _shake_hands(
    handshake: ClientProtocol,
    headers: Iterable[tuple[str, str]],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> HandshakeResponse:
    """Send the upgrade and read exactly its answer: whatever follows stays in the reader."""
    request = handshake.connect()
    for name, value in headers:
        if name.lower() == "host":
            del request.headers["Host"]
        request.headers[name] = value
    handshake.send_request(request)
    writer.writelines(handshake.data_to_send())
    head = await reader.readuntil(b"\r\n\r\n")
    handshake.receive_data(head)
    while not (answers := handshake.events_received()) and handshake.handshake_exc is None:  # a refusal with a body
        if body := await reader.read(READ_BYTES):
            handshake.receive_data(body)
        else:
            handshake.receive_eof()
    if handshake.handshake_exc is not None:
        raise handshake.handshake_exc
    answer = answers[0]
    assert isinstance(answer, HandshakeResponse)
    return answer


def _give_up(writer: asyncio.StreamWriter | None) -> None:
    if writer is not None:
        writer.transport.abort()


def reset(writer: asyncio.StreamWriter) -> None:
    """Drop a TCP connection so that its peer sees a reset, not an orderly end."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.family in (sockets.AF_INET, sockets.AF_INET6):
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
