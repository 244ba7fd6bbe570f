"""The checker: every subscriber gets every event of its address, once, unchanged, in the order of publication."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Sequence

from bench.load import PATIENCE_SECONDS, LoadError
from bench.peers import Server


def numbered(number: int) -> bytes:
    """A payload of 64 bytes that says which one it is."""
    return (b"fan-out %010d " % number).ljust(64, b".")


def check_order(
    server: Server,
    publisher: socket.socket,
    subscribers: Sequence[tuple[socket.socket, str]],
    frames: Sequence[bytes],
    addresses: Sequence[str],
) -> None:
    """Publish `frames`, of which the n-th carries `numbered(n)` to the n-th address, and read all that comes.

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
                    rest = _publish(publisher, poll, rest, events)
                    continue
                sock, address, raw = awaited[fd]
                raw += sock.recv(1 << 20)
                if len(raw) < len(due[address]):
                    continue
                got = bytes(raw) if not server.peer.is_framed else unframed(raw)
                got = got.replace(b"PING\r\n", b"")  # of NATS
                if len(got) >= len(due[address]):
                    if got != due[address]:
                        raise LoadError(f"{server.peer.name}: a subscriber of {address} got something else")
                    poll.unregister(fd)
                    del awaited[fd]


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
