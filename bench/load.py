"""The load generator: raw sockets and epoll in one thread, counting bytes against known frame sizes.

It must cost less than any server it measures. So what comes back is counted, not parsed: every measurement
first checks one delivery byte by byte, then takes sizes on trust, and at the end all that was sent must have
arrived. Counted bytes are dropped inside the kernel (MSG_TRUNC on TCP), never copied. Linux only.
"""

from __future__ import annotations

import base64
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice

TEXT, BINARY = 1, 2
PATIENCE_SECONDS = 20.0  # for anything that must come; far more than any server here needs
MASK = b"\x5a\xa5\x3c\xc3"
NO_MASK = bytes(4)

_scratch = bytearray(1 << 20)


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
    if mask != NO_MASK:
        payload = bytes(byte ^ key for byte, key in zip(payload, islice(cycle(mask), size), strict=True))
    return head + mask + payload


def server_frame(opcode: int, payload: bytes) -> bytes:
    """The frame in which a server passes such a message on."""
    size = len(payload)
    return (bytes((0x80 | opcode, size)) if size < 126 else struct.pack("!BBH", 0x80 | opcode, 126, size)) + payload


def open_tcp(port: int) -> socket.socket:
    """A blocking connection to a server of this machine."""
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def open_websocket(port: int, path: str, headers: Mapping[str, str] | None = None) -> socket.socket:
    """A blocking socket on which frames flow. Raises LoadError unless the server answers 101."""
    sock = open_tcp(port)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    expect_upgrade(sock)
    return sock


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
        first, size = read_exactly(sock, 2)
        if size > 125:
            size = int.from_bytes(read_exactly(sock, 2 if size == 126 else 8), "big")
        piece = read_exactly(sock, size)
        if first & 0x0F >= 8:
            continue
        opcode = first & 0x0F or opcode
        payload += piece
        if first & 0x80:
            return opcode, payload


def broadcast_load(
    publisher: socket.socket,
    subscribers: Sequence[socket.socket],
    frame: bytes,
    delivery_bytes: int,
    window: int,
    span: Span,
) -> None:
    """Publish `frame` again and again, on average at most `window` events in flight to each subscriber.

    What `span` counts are bytes of deliveries. Raises LoadError when, at the end, not every event has come to
    every subscriber.
    """
    size, event_bytes = len(frame), delivery_bytes * len(subscribers)
    supply = memoryview(frame * (window + 1))  # wherever a send was cut, the rest is found at `sent % size`
    refill = max(1, window // 4) * size
    sent = received = 0
    publisher.setblocking(False)
    with Inflow(subscribers, max(1, window // 8) * delivery_bytes) as inflow:
        while not span.is_over(received):
            room = (window + received // event_bytes) * size - sent
            if room >= refill:
                sent += _send_some(publisher, supply[sent % size : sent % size + room])
            received += inflow.count(0.01)
        publisher.setblocking(True)
        if sent % size:
            publisher.sendall(frame[sent % size :])
            sent += size - sent % size
        inflow.drain(received, sent // size * event_bytes)


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


def request_load(
    clients: Sequence[socket.socket],
    listener: socket.socket,
    request: bytes,
    answer_bytes: int,
    id_mark: bytes,
    answer: Callable[[bytes], bytes],
    span: Span,
) -> None:
    """Keep one request open on every client, and be the listener that answers them.

    `answer` makes the frames of an answer from a request's id, which stands in a command after `id_mark` and
    before a quote. `span` counts answers. Raises LoadError.
    """
    poll = select.epoll()
    missing = {}
    senders: dict[int, socket.socket] = {}
    for sock in (listener, *clients):
        poll.register(sock, select.EPOLLIN)
    for client in clients:
        fd = client.fileno()
        senders[fd], missing[fd] = client, answer_bytes
        client.sendall(request)
    control, held = listener.fileno(), b""
    done, open_requests = 0, len(clients)
    while open_requests:
        is_over = span.is_over(done)
        if span.is_overdue():
            raise LoadError(f"{open_requests} requests were never answered")
        for fd, _ in poll.poll(0.05):
            if fd == control:
                commands, held = _split_texts(held + listener.recv(1 << 18))
                if commands:
                    listener.sendall(b"".join([answer(_id_in(command, id_mark)) for command in commands]))
                continue
            data = senders[fd].recv(65536)
            left = missing[fd] - len(data)
            if not data or left < 0 or (missing[fd] == answer_bytes and not data.startswith(b"HTTP/1.1 200 ")):
                raise LoadError(f"a request was answered wrongly: {data[:200]!r}")
            missing[fd] = left
            if not left:
                done += 1
                missing[fd] = answer_bytes
                if is_over:
                    open_requests -= 1
                else:
                    senders[fd].sendall(request)
    poll.close()


def _send_some(sock: socket.socket, data: memoryview | bytes) -> int:
    try:
        return sock.send(data)
    except BlockingIOError:
        return 0


def _split_texts(data: bytes) -> tuple[list[bytes], bytes]:
    """The payloads of the whole frames in `data`, control frames left out, and the rest."""
    texts = []
    at = 0
    while len(data) - at >= 2:
        first, size, start = data[at], data[at + 1], at + 2
        if size > 125:
            width = 2 if size == 126 else 8
            size = int.from_bytes(data[start : start + width], "big")
            start += width
        if len(data) < start + size:
            break
        if first & 0x0F < 8:
            texts.append(data[start : start + size])
        at = start + size
    return texts, data[at:]


def _id_in(command: bytes, mark: bytes) -> bytes:
    start = command.find(mark) + len(mark)
    return command[start : command.index(b'"', start)]
