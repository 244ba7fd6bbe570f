"""Connections and frames of the load generator, and the load that is cheap enough for Python: large messages.

There, what comes back is counted, not parsed: the measurement first checks one message byte by byte, then takes
sizes on trust, and at the end all that was sent must have arrived. Counted bytes are dropped inside the kernel
(MSG_TRUNC on TCP), never copied. All other loads are in generator/. Linux only.
"""

from __future__ import annotations

import base64
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence

TEXT, BINARY = 1, 2
PATIENCE_SECONDS = 30.0  # for anything that must come; far more than any server here needs
MASK = b"\x5a\xa5\x3c\xc3"
NO_MASK = bytes(4)

_scratch = bytearray(1 << 20)

wraps: dict[int, Callable[[socket.socket], socket.socket]] = {}  # by port: how a connection there becomes one over TLS


class LoadError(Exception):
    """A server did not do what is measured: it refused, stayed silent, lost or changed something."""


class Span:
    """The part of a load that is measured: `seconds` after `warm_seconds`, and what is counted in it."""

    def __init__(
        self, warm_seconds: float, seconds: float, on_begin: Callable[[], None], on_end: Callable[[], None]
    ) -> None:
        self.counted = 0
        self._on_begin = on_begin
        self._on_end = on_end
        self._begins_at = time.perf_counter() + warm_seconds
        self._ends_at = self._begins_at + seconds
        self._has_begun = self._has_ended = False

    def is_over(self, count: int) -> bool:
        """To be asked all the time, with the count so far; it calls back where the measured part begins and ends."""
        if self._has_ended:
            return True
        now = time.perf_counter()
        if now < self._begins_at:
            return False
        if not self._has_begun:
            self._has_begun, self.counted = True, -count
            self._on_begin()
        if now < self._ends_at:
            return False
        self._has_ended = True
        self.counted += count
        self._on_end()
        return True

    def is_overdue(self) -> bool:
        """Whether what is still to come after the end should long have come."""
        return time.perf_counter() > self._ends_at + PATIENCE_SECONDS


def client_frame(opcode: int, payload: bytes, mask: bytes = MASK) -> bytes:
    """A whole masked frame (RFC 6455, 5.2), as a client sends it. NO_MASK spares the work for texts built in haste."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, 0xFE, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0xFF, size)
    return head + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes) -> bytes:
    """Masked, or unmasked, which is the same."""
    if mask == NO_MASK:
        return payload
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")


def server_frame(opcode: int, payload: bytes) -> bytes:
    """The frame in which a server passes such a message on."""
    size = len(payload)
    return (bytes((0x80 | opcode, size)) if size < 126 else struct.pack("!BBH", 0x80 | opcode, 126, size)) + payload


def open_tcp(port: int) -> socket.socket:
    """A blocking connection to a server of this machine, over TLS where that is spoken on the port."""
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return wraps[port](sock) if port in wraps else sock


def open_websocket(port: int, path: str, headers: Mapping[str, str] | None = None) -> socket.socket:
    """A blocking socket on which frames flow. Raises LoadError unless the server answers 101."""
    sock = open_tcp(port)
    sock.sendall(upgrade_request(port, path, headers))
    expect_upgrade(sock)
    return sock


def open_stream(port: int, path: str, headers: Mapping[str, str] | None = None) -> socket.socket:
    """A blocking socket on which server-sent events flow. Raises LoadError unless the server answers 200."""
    sock = open_tcp(port)
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Accept: text/event-stream"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    head = read_head(sock)
    if not head.startswith(b"HTTP/1.1 200 "):
        sock.close()
        raise LoadError(f"a subscription was answered: {head.decode('latin-1').splitlines()[0]}")
    return sock


def upgrade_request(port: int, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The head with which a client opens a WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode()


def expect_upgrade(sock: socket.socket) -> None:
    """Read the head of the answer and nothing after it. Raises LoadError unless it is a 101."""
    head = read_head(sock)
    if not head.startswith(b"HTTP/1.1 101 "):
        sock.close()
        raise LoadError(f"an upgrade was answered: {head.decode('latin-1').splitlines()[0]}")


def read_head(sock: socket.socket) -> bytes:
    """The next response head, with its empty line; what follows stays unread. Raises LoadError."""
    while True:
        peeked = sock.recv(16384, socket.MSG_PEEK)
        if not peeked:
            raise LoadError("a server closed a connection instead of answering")
        end = peeked.find(b"\r\n\r\n")
        if end >= 0:
            return read_exactly(sock, end + 4)


def read_exactly(sock: socket.socket, size: int) -> bytes:
    """So many bytes. Raises LoadError when the connection ends before."""
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise LoadError("a server closed a connection in the midst of an answer")
        data += piece
    return bytes(data)


def read_message(sock: socket.socket) -> tuple[int, bytes]:
    """The next whole message, its fragments joined: (opcode, payload). Control frames are passed over."""
    opcode, payload = 0, b""
    while True:
        first, second = read_exactly(sock, 2)
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(read_exactly(sock, 2 if size == 126 else 8), "big")
        mask = read_exactly(sock, 4) if second & 0x80 else NO_MASK  # a server behind a proxy reads clients' frames
        piece = masked(read_exactly(sock, size), mask)
        if first & 0x0F >= 8:
            continue
        opcode = first & 0x0F or opcode
        payload += piece
        if first & 0x80:
            return opcode, payload


def stream_load(
    sender: socket.socket,
    receiver: socket.socket,
    frame: bytes,
    payload_bytes: int,
    span: Span,
) -> None:
    """Send `frame` as fast as the way takes it; `span` counts the bytes that come out.

    Frames may be cut anew on the way, so their heads are counted as payload (less than a thousandth).
    Raises LoadError when, at the end, less has come than was sent.
    """
    size = len(frame)
    supply = memoryview(frame * 5)
    sent = received = 0
    sender.setblocking(False)
    with Inflow([receiver]) as inflow:
        inflow.poll.register(sender, select.EPOLLOUT)
        inflow.readers[sender.fileno()] = lambda *_: 0
        while not span.is_over(received):
            sent += _send_some(sender, supply[sent % size : sent % size + 4 * size])
            received += inflow.count(0.01)
        inflow.poll.unregister(sender)
        rest = memoryview(frame)[sent % size :] if sent % size else b""
        while rest:
            if span.is_overdue():
                raise LoadError("a server took no more bytes")
            rest = rest[_send_some(sender, rest) :]
            received += inflow.count(0.01)
        inflow.drain(received, -(-sent // size) * payload_bytes, is_exact=False)


class Inflow:
    """Sockets whose incoming bytes are counted and dropped, each when at least `low_bytes` have come.

    Waiting for a few deliveries at a time (SO_RCVLOWAT) spares the generator a call for each of them, and spares
    the server the wake-up that a send on loopback otherwise pays for.
    """

    def __init__(self, sockets: Sequence[socket.socket], low_bytes: int = 1) -> None:
        self._sockets = sockets
        self.poll = select.epoll()
        self.readers: dict[int, Callable[[bytearray, int, int], int]] = {}
        for sock in sockets:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_bytes)
            self.poll.register(sock, select.EPOLLIN)
            self.readers[sock.fileno()] = sock.recv_into

    def __enter__(self) -> Inflow:
        return self

    def __exit__(self, *_: object) -> None:
        self.poll.close()

    def count(self, seconds: float) -> int:
        """Wait at most so long for anything to come; how many bytes came."""
        readers, scratch, size = self.readers, _scratch, len(_scratch)
        count = 0
        for fd, events in self.poll.poll(seconds):
            got = readers[fd](scratch, size, socket.MSG_TRUNC)
            if not got and events & (select.EPOLLHUP | select.EPOLLRDHUP | select.EPOLLIN):
                raise LoadError("a server closed a connection under load")
            count += got
        return count

    def drain(self, received: int, expected: int, *, is_exact: bool = True) -> None:
        """Read until all that was sent has come. Raises LoadError if it does not, or if more comes."""
        for sock in self._sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        end_at = time.perf_counter() + PATIENCE_SECONDS
        while received < expected:
            if time.perf_counter() > end_at:
                raise LoadError(f"{expected - received} of {expected} bytes never came")
            received += self.count(0.05)
        if is_exact and received != expected:
            raise LoadError(f"{received - expected} bytes more came than were due")


def _send_some(sock: socket.socket, data: memoryview | bytes) -> int:
    try:
        return sock.send(data)
    except BlockingIOError:
        return 0
