"""Fan-out as server-sent events: as `fanout`, but the subscribers are HTTP answers without end."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

from bench.fanout import PAYLOAD, SETTLE_SECONDS, read_in_strides, stride
from bench.load import LoadError, open_stream
from bench.nchan import NCHAN
from bench.order import check_order, numbered, server_sent
from bench.peers import FANWAY, RELAY, Peer, Server
from bench.row import Line, Meter, Row, Sample, Sizes, side_by_side
from bench.traffic import STAMP, Pace, Supply, plain, run_traffic

PEERS: tuple[Peer, ...] = (FANWAY, NCHAN)
STAMPED = PAYLOAD[: 64 - len(STAMP)] + STAMP  # 64 bytes
WINDOW = 327  # events in flight
RECORD_BYTES = 100  # a payload with its lines, about

AUDIENCES: dict[str, Callable[[Sizes], int]] = {
    "100 subscribers": lambda sizes: sizes.subscribers,
    "1,000 subscribers": lambda sizes: sizes.scale,
}


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    lines = {audience_of: Line(setting) for setting, audience_of in AUDIENCES.items()}
    with side_by_side(PEERS, lines.values(), core) as servers:
        for server in servers:
            _verify(server, sizes)
        for _ in range(sizes.rounds):
            for audience_of, line in lines.items():
                for server in servers:
                    line.add(server, _round(server, audience_of(sizes), sizes))
    return list(lines.values())


def _connect(
    server: Server, count: int, stack: contextlib.ExitStack
) -> tuple[socket.socket, list[tuple[socket.socket, str]]]:
    """The publisher, a WebSocket, and the subscribers with their address."""
    publisher = stack.enter_context(server.peer.open_publisher(server))
    subscribers = [(stack.enter_context(_open(server)), "fan") for _ in range(count)]
    time.sleep(SETTLE_SECONDS)
    return publisher, subscribers


def _open(server: Server) -> socket.socket:
    if server.peer is FANWAY:
        return open_stream(server.port, f"/-/events/{RELAY}/fan", server.headers)
    return server.peer.open_subscriber(server, "fan")


def _verify(server: Server, sizes: Sizes) -> None:
    """Numbered events, every byte of what comes compared."""
    count = max(1, sizes.checked_deliveries // sizes.subscribers)
    frames = [server.peer.publication(numbered(number)) for number in range(count)]
    with contextlib.ExitStack() as stack:
        publisher, subscribers = _connect(server, sizes.subscribers, stack)
        check_order(server, publisher, subscribers, frames, ["fan"] * count, server_sent)


def _round(server: Server, audience: int, sizes: Sizes) -> Sample:
    frame = plain(server.peer.publication(STAMPED))
    supply = Supply([frame] * WINDOW, [0] * WINDOW, [audience] * WINDOW)
    with contextlib.ExitStack() as stack:
        publisher, subscribers = _connect(server, audience, stack)
        sockets = [sock for sock, _ in subscribers]
        read_in_strides(sockets, stride(server.peer, WINDOW, audience) * RECORD_BYTES)
        meter = Meter(server, sizes)
        try:
            outcome = run_traffic(publisher, sockets, supply, Pace(window=WINDOW), sizes.times, meter, is_sampled=True)
        except LoadError as error:
            raise LoadError(f"{server.peer.name}, {audience} subscribers: {error}") from error
        return meter.rate(outcome.deliveries)


ROW = Row(
    name="sse",
    title="Server-sent events: 1 publisher, 100 and 1,000 subscribers, 64-byte events, 327 in flight",
    unit="deliveries/s",
    proves="That the answers of HTTP without end are fed as sockets are: one chunk and one write a turn of the loop, "
    "with an id at each event from which a browser resumes. Every event reached every subscriber; numbered ones came "
    "in order.",
    leaves_out="Resuming, heartbeats, browsers, TLS. Both are published to on a WebSocket. nchan is told to store no "
    "message; Fanway keeps its history.",
    peers=PEERS,
    measure=measure,
)
