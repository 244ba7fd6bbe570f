"""Relayed requests with large bodies, both ways."""

from __future__ import annotations

import contextlib
import ctypes
import socket
from collections.abc import Sequence

from bench.generator.library import fds, measured
from bench.load import BINARY, client_frame, open_tcp, upgrade_request
from bench.peers import FANWAY, Peer, Server
from bench.proxies import HAPROXY, NGINX
from bench.row import Line, Meter, Row, Sample, Sizes, side_by_side

PEERS: tuple[Peer, ...] = (FANWAY, NGINX, HAPROXY)
FRAGMENT_BYTES = 64 * 1024
_PATTERN = bytes(range(251)) * 4 + b"large bodies"


class _Piece(ctypes.Structure):
    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_uint64))


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    line = Line(f"{sizes.bodies} at a time")
    with side_by_side(PEERS, [line], core) as servers:
        for _ in range(sizes.rounds):
            for server in servers:
                line.add(server, _round(server, sizes))
    return [line]


def _round(server: Server, sizes: Sizes) -> Sample:
    body = (_PATTERN * (sizes.body_bytes // len(_PATTERN) + 1))[: sizes.body_bytes]
    fields = {"Host": f"127.0.0.1:{server.port}", "Content-Length": str(len(body)), **server.headers}
    lines = [f"POST {server.peer.request_path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    request = "\r\n".join([*lines, "", ""]).encode()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(open_tcp(server.port)) for _ in range(sizes.bodies)]
        others: tuple[socket.socket | None, socket.socket | None]
        if server.peer.is_proxy:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
            answering, others = [b"", head, b"", b""], (server.origin, None)
        else:
            listener = stack.enter_context(server.peer.open_listener(server))
            parts = server.peer.answering(server, listener)
            upgrade = upgrade_request(server.port, "").removeprefix(b"GET ")
            answering, others = [upgrade, parts.before, parts.after, fragments(body)], (None, listener)
        meter = Meter(server, sizes)
        count = _measured(server.port, clients, others, [body, request, *answering], sizes, meter)
        return meter.rate(count / 1e6)


def _measured(
    port: int,
    clients: Sequence[socket.socket],
    others: tuple[socket.socket | None, socket.socket | None],
    parts: Sequence[bytes],
    sizes: Sizes,
    meter: Meter,
) -> int:
    """Bytes of bodies in the measured part, of both ways. `others`: who listens behind a proxy, or for a relay."""
    origin, control = (-1 if sock is None else sock.fileno() for sock in others)
    pieces = (_Piece * len(parts))(*(_Piece(part, len(part)) for part in parts))
    arguments = [port, fds(clients), len(clients), origin, control, pieces]
    return measured("bodies", arguments, "bytes", sizes.times, meter)


def fragments(body: bytes) -> bytes:
    """One message of a listener in many frames, and its Close frame."""
    pieces = [body[at : at + FRAGMENT_BYTES] for at in range(0, len(body), FRAGMENT_BYTES)]
    frames = [bytearray(client_frame(BINARY, piece)) for piece in pieces]
    for number, frame in enumerate(frames):
        frame[0] = (0x80 if number == len(frames) - 1 else 0) | (0 if number else BINARY)
    return b"".join(frames) + client_frame(8, b"\x03\xe8")


ROW = Row(
    name="bodies",
    title="Requests: bodies of 5 MB and answers of 5 MB, 8 at a time",
    unit="MB/s of both ways",
    proves="That a request and an answer of any size pass through by a rendezvous, at a rate near that of a proxy: "
    "the listener is told an address, opens a WebSocket there for each request, reads the body, and answers with "
    "another in frames of 64 KiB. Every byte of every body is compared.",
    leaves_out="Bodies in chunks, slow senders and readers, TLS, memory. nginx and haproxy pass on bytes without "
    "frames, to a server that is connected already.",
    peers=PEERS,
    measure=measure,
)
