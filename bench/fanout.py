"""One publisher, many subscribers, small events: of one address, and of many."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bench.load import LoadError
from bench.native import Shape, fan_out
from bench.order import check_order, numbered
from bench.peers import FANWAY, FASTAPI, SOCKETIO, WEBSOCKETS, Peer, Server
from bench.rivals import MOSQUITTO, NATS, REDIS
from bench.row import Line, Meter, Row, Sample, Sizes, side_by_side

PEERS: tuple[Peer, ...] = (FANWAY, NATS, REDIS, MOSQUITTO, WEBSOCKETS, FASTAPI)
OF_ONE: tuple[Peer, ...] = (*PEERS, SOCKETIO)  # in `fanout`
PAYLOAD = b"fan-out " * 8  # 64 bytes
MIXED_EVENTS = 8192  # published to addresses drawn at random, then again from the first
MIXED_WINDOW = 1000  # events in flight, of all addresses
SETTLE_SECONDS = 0.05  # an upgrade may be answered before the server has noted the subscriber


@dataclass(frozen=True, slots=True)
class Audience:
    """So many addresses, and subscribers of each."""

    addresses: int
    each: int

    def names(self) -> list[str]:
        """All of one length, so that all deliveries are of one size."""
        return ["fan"] if self.addresses == 1 else [f"a{number:04}" for number in range(self.addresses)]

    def connect(
        self, server: Server, stack: contextlib.ExitStack
    ) -> tuple[socket.socket, list[tuple[socket.socket, str]]]:
        """The publisher, and the subscribers with their addresses."""
        peer = server.peer
        publisher = peer.open_publisher(server) if self.addresses == 1 else peer.open_wide_publisher(server)
        stack.enter_context(publisher)
        names = [name for name in self.names() for _ in range(self.each)]
        subscribers = peer.open_subscribers(server, names)
        for sock in subscribers:
            stack.enter_context(sock)
        time.sleep(SETTLE_SECONDS)
        return publisher, list(zip(subscribers, names, strict=True))

    def frames(self, peer: Peer, addresses: Sequence[str], payloads: Sequence[bytes]) -> list[bytes]:
        """What the publisher sends, one frame an event."""
        if self.addresses == 1:
            return [peer.publication(payload) for payload in payloads]
        return [peer.wide_publication(name, payload) for name, payload in zip(addresses, payloads, strict=True)]


def measure_one(audience_of: Callable[[Sizes], int], is_large: bool, sizes: Sizes, core: int | None) -> list[Line]:
    """One address; several windows, or one where there are many subscribers."""
    audience = Audience(1, audience_of(sizes))
    windows = sizes.single_windows[-1:] if is_large else sizes.windows
    lines = {window: Line(f"{window} in flight") for window in windows}
    with side_by_side(PEERS if is_large else OF_ONE, lines.values(), core) as servers:
        for server in servers:
            verify(server, audience, sizes)
        for _ in range(sizes.rounds):
            for window, line in lines.items():
                for server in servers:
                    if server.peer.joins_events or window in sizes.single_windows:
                        line.add(server, _round(server, sizes, audience, window))
    return list(lines.values())


def measure_many(audience_of: Callable[[Sizes], Audience], sizes: Sizes, core: int | None) -> list[Line]:
    """Many addresses, drawn at random."""
    line = Line(f"{MIXED_WINDOW} in flight")
    audience = audience_of(sizes)
    with side_by_side(PEERS, [line], core) as servers:
        for server in servers:
            verify(server, audience, sizes)
        for _ in range(sizes.rounds):
            for server in servers:
                line.add(server, _round(server, sizes, audience, MIXED_WINDOW))
    return [line]


def _drawn(audience: Audience, count: int) -> list[str]:
    """The same addresses for every server."""
    return random.Random(7).choices(audience.names(), k=count)


def verify(server: Server, audience: Audience, sizes: Sizes) -> None:
    """Numbered events, every byte of what comes compared."""
    addresses = _drawn(audience, max(1, sizes.checked_deliveries // audience.each))
    frames = audience.frames(server.peer, addresses, [numbered(number) for number in range(len(addresses))])
    with contextlib.ExitStack() as stack:
        publisher, subscribers = audience.connect(server, stack)
        check_order(server, publisher, subscribers, frames, addresses)


def _round(server: Server, sizes: Sizes, audience: Audience, window: int) -> Sample:
    with contextlib.ExitStack() as stack:
        publisher, subscribers = audience.connect(server, stack)
        return under_load(server, sizes, audience, window, publisher, [sock for sock, _ in subscribers])


def under_load(
    server: Server,
    sizes: Sizes,
    audience: Audience,
    window: int,
    publisher: socket.socket,
    subscribers: Sequence[socket.socket],
) -> Sample:
    """One round: deliveries a second to those who are connected. Raises LoadError."""
    peer = server.peer
    addresses = _drawn(audience, window if audience.addresses == 1 else MIXED_EVENTS)
    frames = audience.frames(peer, addresses, [PAYLOAD] * len(addresses))
    delivery = peer.delivery(addresses[0], PAYLOAD)
    if audience.addresses == 1:
        read_in_strides(subscribers, stride(peer, window, len(subscribers)) * len(delivery))
    meter = Meter(server, sizes)
    shape = Shape(len(delivery), peer.is_framed, delivery[0])
    try:
        count = fan_out(publisher, subscribers, shape, frames, window, audience.each, sizes.times, meter)
    except LoadError as error:
        raise LoadError(f"{peer.name}, {window} in flight: {error}") from error
    return meter.rate(count)


def stride(peer: Peer, window: int, subscribers: int) -> int:
    """Deliveries that a subscriber is to wait for: few enough that what it gets in one round is many strides, also
    from a slow server: what waits for the end of a stride is not yet counted."""
    few = window * 100 // (8 * max(100, subscribers))
    return max(1, few if peer.joins_events else few // 10)


def read_in_strides(sockets: Sequence[socket.socket], low_bytes: int) -> None:
    """Waiting for a few deliveries at a time spares the server the wake-up that a send on loopback otherwise pays
    for, and the generator a call."""
    for sock in sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_bytes)


_LEAVES_OUT_OF_ALL = (
    "Wildcards, large events, receipts, TLS, subscribers on a real network. redis speaks over plain TCP without "
    "frames, and only it and NATS, besides Fanway, join events at all."
)

ROW = Row(
    name="fanout",
    title="Fan-out: 1 publisher, 100 subscribers, 64-byte events on bare WebSockets",
    unit="deliveries/s",
    proves="That work is done per event and per connection and tick, not per delivery: with events in flight, what "
    "falls due for a connection within one turn of the loop leaves in one write. Every event reached every "
    "subscriber; in a round of numbered events every subscriber got them in order.",
    leaves_out=f"Many addresses. {_LEAVES_OUT_OF_ALL} Servers that write each delivery singly are measured at two "
    "windows only.",
    peers=OF_ONE,
    measure=partial(measure_one, lambda sizes: sizes.subscribers, False),
)

LARGE = Row(
    name="fanout-1000",
    title="Fan-out: 1 publisher, 1,000 subscribers, 64-byte events on bare WebSockets",
    unit="deliveries/s",
    proves="That the rate holds when the subscribers are many: a write to each is then most of the cost, for "
    "everybody. Every event reached every subscriber, numbered ones in order.",
    leaves_out=_LEAVES_OUT_OF_ALL,
    peers=PEERS,
    measure=partial(measure_one, lambda sizes: sizes.scale, True),
)

HUNDRED = Row(
    name="addresses-100",
    title="Many addresses: 100 of them with 10 subscribers each, drawn at random",
    unit="deliveries/s",
    proves="What is left of the gain when an event has few subscribers and its neighbours go elsewhere. Fanway's "
    "publisher is a session, which names the address in each event. Numbered events came in order.",
    leaves_out=_LEAVES_OUT_OF_ALL,
    peers=PEERS,
    measure=partial(measure_many, lambda sizes: Audience(max(2, sizes.scale // 10), min(10, sizes.scale // 2))),
)

THOUSAND = Row(
    name="addresses-1000",
    title="Many addresses: 1,000 of them with 1 subscriber each, drawn at random",
    unit="deliveries/s",
    proves="The cost of an event where nothing can be shared: to read it, to find its one subscriber, to write to it. "
    "Numbered events came in order.",
    leaves_out=_LEAVES_OUT_OF_ALL,
    peers=PEERS,
    measure=partial(measure_many, lambda sizes: Audience(sizes.scale, 1)),
)

ROWS = (ROW, LARGE, HUNDRED, THOUSAND)
