"""WebSocket and HTTP connections as the .NET runtime makes them: the exact heads, and a reader that forgives nothing.

The heads are those of the WebSocket that Microsoft.Azure.Relay brings along for .NET Standard 2.0, its strictest:
a status line of `HTTP/1.1`, one `Connection: Upgrade`, one `Upgrade: websocket`, the right accept value. One `receive`
is one read of a part of a message; a Close is never answered unasked; a Ping is answered only within a `receive`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import ssl
import struct
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlsplit

from transcripts import Tape, Track

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KINDS = {CONTINUATION: "continuation", TEXT: "text", BINARY: "binary", CLOSE: "close", PING: "ping", PONG: "pong"}
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class WebSocketException(Exception):
    """What `System.Net.WebSockets` throws. `status` and `reason` are set when the answer was not a 101."""

    def __init__(self, message: str, status: int | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Received(NamedTuple):
    """What one `receive` tells."""

    opcode: int
    data: bytes
    end_of_message: bool


class ClientWebSocket:
    """An open WebSocket. `close_status` and `close_description` are the peer's, once it has closed."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sub_protocol: str | None, track: Track
    ) -> None:
        self.sub_protocol = sub_protocol
        self.close_status: int | None = None
        self.close_description = ""
        self.is_close_sent = False
        self.is_close_received = False
        self._reader, self._writer, self._track = reader, writer, track
        self._opcode = TEXT  # of the message that is being received
        self._fin = True
        self._left = 0
        self._is_continuing = False  # a message of ours has begun

    @classmethod
    async def connect(
        cls,
        uri: str,
        tls: ssl.SSLContext,
        *,
        headers: dict[str, str] | None = None,
        sub_protocols: tuple[str, ...] = (),
        tape: Tape,
        name: str = "websocket",
    ) -> ClientWebSocket:
        """Connect with TLS and upgrade. Raises `WebSocketException`."""
        parts = urlsplit(uri)
        assert parts.scheme == "wss", "the SDK knows nothing but TLS"
        assert parts.hostname is not None
        port = parts.port or 443
        try:
            reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
        except OSError as error:
            raise WebSocketException("Unable to connect to the remote server") from error
        key = base64.b64encode(uuid.uuid4().bytes).decode()
        lines = [
            f"GET {parts.path}{'?' + parts.query if parts.query else ''} HTTP/1.1",
            f"Host: {parts.hostname}:{port}",  # with its port even where it is the usual one
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            *(f"{header}: {value}" for header, value in (headers or {}).items()),
            *([f"Sec-WebSocket-Protocol: {', '.join(sub_protocols)}"] if sub_protocols else []),
        ]
        track = tape.track(name, writer)
        track.head("client", "\r\n".join(lines))
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        try:
            sub_protocol = await cls._read_answer(reader, key, sub_protocols, track)
        except BaseException:
            writer.transport.abort()
            raise
        return cls(reader, writer, sub_protocol, track)

    @staticmethod
    async def _read_answer(
        reader: asyncio.StreamReader, key: str, offered: tuple[str, ...], track: Track
    ) -> str | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").removesuffix("\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError) as error:
            raise WebSocketException("The response status line value '' is invalid.") from error
        track.head("relay", head)
        status_line, *lines = head.split("\r\n")
        version, _, rest = status_line.partition(" ")
        code, _, reason = rest.partition(" ")
        if version != "HTTP/1.1" or not code.isdigit():
            raise WebSocketException(f"The response status line value '{status_line}' is invalid.")
        if code != "101":
            raise WebSocketException(
                f"The server returned status code '{code} {reason}' when status code '101' was expected.",
                int(code),
                reason,
            )
        accept = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        wanted = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-accept": accept.lower()}
        sub_protocol: str | None = None
        for line in lines:
            name, colon, value = (part.strip() for part in line.partition(":"))
            if not colon:
                raise WebSocketException(f"The '{line}' header value '(Missing separator)' is invalid.")
            if name.lower() in ("connection", "upgrade", "sec-websocket-accept"):
                if wanted.pop(name.lower(), None) != value.lower():  # another value, or the header twice
                    raise WebSocketException(f"The '{name}' header value '{value}' is invalid.")
            elif name.lower() == "sec-websocket-protocol" and value:
                if sub_protocol is not None or value.lower() not in [each.lower() for each in offered]:
                    raise WebSocketException(f"The server answered with the sub-protocol '{value}' not asked for.")
                sub_protocol = value
            elif name.lower() == "sec-websocket-extensions":
                raise WebSocketException("The server answered with an extension not asked for.")
        if wanted:
            raise WebSocketException(f"The response header '{next(iter(wanted))}' was not found.")
        return sub_protocol

    async def send(self, data: bytes, opcode: int = BINARY, *, end_of_message: bool = True) -> None:
        """Send one frame; `end_of_message` false lets the message go on with the next."""
        opcode = CONTINUATION if self._is_continuing else opcode
        self._is_continuing = not end_of_message
        self._track.sent(KINDS[opcode], end_of_message, data)
        await self._write(opcode, data, end_of_message)

    async def pong(self) -> None:
        """The Pong that nobody asked for, by which the runtime keeps a quiet connection alive."""
        self._track.sent("pong", True, b"")
        await self._write(PONG, b"", True)

    async def receive(self, limit: int) -> Received:
        """The next part of a message, at most so long; opcode CLOSE with no data when the peer has closed.

        Raises `WebSocketException` when the connection is lost without a Close.
        """
        try:
            while not self._left:
                opcode, fin, length = await self._read_head()
                if opcode in (PING, PONG, CLOSE):
                    payload = await self._reader.readexactly(length)
                    if opcode == CLOSE:
                        return self._take_close(payload)
                    if opcode == PING and not self.is_close_sent:
                        await self._write(PONG, payload, True)
                    continue
                if opcode != CONTINUATION:
                    self._opcode = opcode
                self._fin, self._left = fin, length
                if not length:
                    self._track.received(KINDS[opcode], fin, b"")
                    return Received(self._opcode, b"", fin)
                self._kind = KINDS[opcode]
            data = await self._reader.read(min(limit, self._left))
            if not data:
                raise ConnectionError("the connection ended within a message")
        except (asyncio.IncompleteReadError, OSError) as error:
            self._track.ended("lost")
            raise WebSocketException(
                "The remote party closed the WebSocket connection without completing the close handshake."
            ) from error
        self._left -= len(data)
        end = self._fin and not self._left
        self._track.received(self._kind, end, data)
        self._kind = "continuation"
        return Received(self._opcode, data, end)

    async def receive_message(self) -> tuple[int, bytes]:
        """All parts of the next message; opcode CLOSE when there is none."""
        data = b""
        while True:
            part = await self.receive(65536)
            data += part.data
            if part.end_of_message or part.opcode == CLOSE:
                return part.opcode, data

    async def close_output(self, status: int | None, description: str) -> None:
        """Send a Close and read on: the half-close."""
        if self.is_close_sent:
            return
        self.is_close_sent = True
        self._track.closed("client", status, description)
        payload = b"" if status is None else struct.pack("!H", status) + description.encode()
        await self._write(CLOSE, payload, True)

    async def close(self, status: int | None, description: str) -> None:
        """Send a Close, unless it was sent, and read until the peer's; what comes before it is dropped."""
        await self.close_output(status, description)
        while not self.is_close_received:
            await self.receive(65536)
        self._writer.close()

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._writer.transport.abort()

    async def _read_head(self) -> tuple[int, bool, int]:
        first, second = await self._reader.readexactly(2)
        if first & 0x70 or second & 0x80:
            raise WebSocketException("The server sent a frame with reserved bits or a mask.")
        length = second
        if length == 126:
            (length,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self._reader.readexactly(8))
        return first & 15, bool(first & 0x80), length

    def _take_close(self, payload: bytes) -> Received:
        self.is_close_received = True
        if len(payload) >= 2:
            (self.close_status,) = struct.unpack("!H", payload[:2])
            self.close_description = payload[2:].decode()
        self._track.closed("relay", self.close_status, self.close_description)
        return Received(CLOSE, b"", True)

    async def _write(self, opcode: int, data: bytes, fin: bool) -> None:
        size = len(data)
        head = bytes([opcode | (0x80 if fin else 0)])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 65536:
            head += bytes([0x80 | 126]) + struct.pack("!H", size)
        else:
            head += bytes([0x80 | 127]) + struct.pack("!Q", size)
        mask = os.urandom(4)
        key = int.from_bytes(mask * (size // 4 + 1), "big") >> 8 * (4 - size % 4)
        self._writer.write(head + mask + (int.from_bytes(data, "big") ^ key).to_bytes(size, "big"))
        try:
            await self._writer.drain()
        except OSError as error:
            raise WebSocketException("The WebSocket is in an invalid state ('Aborted').") from error


@dataclass
class HttpResponse:
    """An answer as `HttpClient` shows it; `headers` in order, names as spelled."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    content: bytes = b""

    def values(self, name: str) -> list[str]:
        """All values of a header, whatever its case."""
        return [value for each, value in self.headers if each.lower() == name.lower()]


@dataclass
class HttpClient:
    """Requests over kept connections, at most `connections` at a time. No redirects, no credentials of its own."""

    host: str
    port: int
    tls: ssl.SSLContext
    tape: Tape
    connections: int = 10
    opened: int = 0
    _idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, Track]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._room = asyncio.Semaphore(self.connections)

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, writer, _ in self._idle:
            writer.close()

    async def send(
        self,
        method: str,
        target: str,
        headers: list[tuple[str, str]] | None = None,
        content: bytes | None = None,
        content_type: str = "text/plain; charset=utf-8",
    ) -> HttpResponse:
        """One request and its answer, body included."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in headers or []]
        if content is not None:
            lines += [f"Content-Type: {content_type}", f"Content-Length: {len(content)}"]
        elif method in ("POST", "PUT"):
            lines.append("Content-Length: 0")
        async with self._room:
            reader, writer, track = self._idle.pop() if self._idle else await self._connect()
            track.head("client", "\r\n".join(lines))
            track.body("client", content or b"")
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (content or b""))
            response = await self._read(reader, method, track)
            if "close" in response.values("Connection"):
                writer.close()
            else:
                self._idle.append((reader, writer, track))
        return response

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Track]:
        self.opened += 1
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self.tls)
        return reader, writer, self.tape.track("http", writer)

    async def _read(self, reader: asyncio.StreamReader, method: str, track: Track) -> HttpResponse:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").removesuffix("\r\n\r\n")
        track.head("relay", head)
        status_line, *lines = head.split("\r\n")
        version, code, reason = status_line.split(" ", 2)
        assert version == "HTTP/1.1"
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        response = HttpResponse(int(code), reason, headers)
        has_no_body = response.status < 200 or response.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
        if method == "HEAD" or has_no_body:
            return response
        if response.values("Transfer-Encoding") == ["chunked"]:
            while size := int((await reader.readline()).split(b";")[0], 16):
                response.content += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        else:
            response.content = await reader.readexactly(int(response.values("Content-Length")[0]))
        track.body("relay", response.content)
        return response
