"""The checker: every subscriber gets every event of its address, once, unchanged, in the order of publication."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
from collections.abc import Callable, Sequence

from bench.load import PATIENCE_SECONDS, LoadError
from bench.peers import Server

SETTLE_SECONDS = 0.05  # for what must not come
NUMBERED = re.compile(rb"fan-out \d{10} \.{45}")  # what `numbered` makes


def numbered(number: int) -> bytes:
    """A payload of 64 bytes that says which one it is."""
    return (b"fan-out %010d " % number).ljust(64, b".")


def check_order(
    server: Server,
    publisher: socket.socket,
    subscribers: Sequence[tuple[socket.socket, str]],
    frames: Sequence[bytes],
    addresses: Sequence[str],
    read: Callable[[bytes], bytes] | None = None,
) -> None:
    """Publish `frames`, of which the n-th carries `numbered(n)` to the n-th address, and read all that comes.

    `read` gives the deliveries in the bytes of a transport; without it they come as the server's peer says.
    Raises LoadError on the first difference. Everything is sent as fast as the server takes it.
    """
    due: dict[str, bytearray] = {}
    for number, address in enumerate(addresses):
        due.setdefault(address, bytearray()).extend(server.peer.delivery(address, numbered(number)))
    awaited = {sock.fileno(): (sock, address, bytearray()) for sock, address in subscribers if address in due}
    rest = memoryview(b"".join(frames))
    end_at = time.monotonic() + PATIENCE_SECONDS
    publisher.setblocking(False)
    poll = select.epoll()
    with contextlib.closing(poll):
        poll.register(publisher, select.EPOLLIN | select.EPOLLOUT)
        for sock, _, _ in awaited.values():
            sock.setblocking(False)
            poll.register(sock, select.EPOLLIN)
        while awaited or rest:
            if time.monotonic() > end_at:
                raise LoadError(f"{server.peer.name}: {len(awaited)} subscribers did not get every event")
            for fd, events in poll.poll(0.05):
                if fd == publisher.fileno():
                    with contextlib.suppress(BlockingIOError):  # over TLS less than a record may have come or gone
                        rest = _publish(publisher, poll, rest, events)
                    continue
                sock, address, raw = awaited[fd]
                with contextlib.suppress(BlockingIOError):
                    raw += sock.recv(1 << 20)
                if len(raw) < len(due[address]):
                    continue
                got = read(bytes(raw)) if read else unframed(raw) if server.peer.is_framed else bytes(raw)
                got = got.replace(b"PING\r\n", b"")  # of NATS
                if len(got) >= len(due[address]):
                    if got != due[address]:
                        raise LoadError(f"{server.peer.name}: a subscriber of {address} got something else")
                    poll.unregister(fd)
                    del awaited[fd]


def check_spread(
    name: str,
    publisher: socket.socket,
    frames: Sequence[bytes],
    due: Sequence[tuple[socket.socket, Sequence[bytes]]],
    payload: re.Pattern[bytes],
) -> None:
    """Publish `frames`, few of them, and compare the payloads that come to each socket, found by their form.

    Raises LoadError unless each gets exactly those it is due, in order. `name` is the server's.
    """
    publisher.sendall(b"".join(frames))
    for sock, expected in due:
        sock.settimeout(PATIENCE_SECONDS)
        raw = b""
        while len(payload.findall(raw)) < len(expected):
            try:
                piece = sock.recv(1 << 20)
            except TimeoutError:
                raise LoadError(f"{name}: a subscriber did not get every event") from None
            if not piece:
                raise LoadError(f"{name}: closed a connection under load")
            raw += piece
        if payload.findall(raw) != list(expected):
            raise LoadError(f"{name}: a subscriber got something else")
    time.sleep(SETTLE_SECONDS)
    for sock, _ in due:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            if payload.search(sock.recv(1 << 20)):
                raise LoadError(f"{name}: a subscriber got more than it was due")


def _publish(publisher: socket.socket, poll: select.epoll, rest: memoryview, events: int) -> memoryview:
    """Send more, and drop replies; what is left to send."""
    if events & select.EPOLLIN and not publisher.recv(1 << 20):
        raise LoadError("a server closed the publisher's connection")
    if events & select.EPOLLOUT and rest:
        rest = rest[publisher.send(rest) :]
    if not rest:
        poll.modify(publisher, select.EPOLLIN)
    return rest


def unframed(raw: bytes | bytearray) -> bytes:
    """The payloads of the whole data frames at the beginning, joined. Raises LoadError at a Close."""
    payloads = []
    at = 0
    while len(raw) - at >= 2:
        first, size, start = raw[at], raw[at + 1], at + 2
        if size > 125:
            width = 2 if size == 126 else 8
            size = int.from_bytes(raw[start : start + width], "big")
            start += width
        if len(raw) < start + size:
            break
        if first & 0x0F == 8:
            raise LoadError("a server closed a subscriber's connection")
        if first & 0x0F < 8:
            payloads.append(raw[start : start + size])
        at = start + size
    return b"".join(payloads)


def server_sent(raw: bytes) -> bytes:
    """The payloads of the whole server-sent events at the beginning, joined: those without an `event:` line."""
    body = _unchunked(raw) if re.match(rb"[0-9A-Fa-f]+\r\n", raw) else raw
    *blocks, _ = body.split(b"\n\n")
    texts = [block for block in blocks if not re.search(rb"^event:", block, re.MULTILINE)]
    return b"".join(b"\n".join(re.findall(rb"^data: (.*)", text, re.MULTILINE)) for text in texts)


def _unchunked(raw: bytes) -> bytes:
    """The whole chunks at the beginning, joined (RFC 9112, 7.1)."""
    pieces, at = [], 0
    while (end := raw.find(b"\r\n", at)) >= 0:
        size = int(raw[at:end], 16)
        if len(raw) < end + 2 + size:
            break
        pieces.append(raw[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
    return b"".join(pieces)
