"""What others feel of a peer that does too much, or nothing: the delay of a steady fan-out, alone and beside it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from bench.fanout import PAYLOAD, Audience, verify
from bench.generator.library import Times
from bench.latency import one_address
from bench.load import BINARY, NO_MASK, TEXT, LoadError, client_frame, open_websocket
from bench.peers import FANWAY, RELAY, Server
from bench.row import Line, Meter, Row, Sizes, side_by_side
from bench.traffic import Pace, Side, run_traffic

RATE = 400.0  # events a second of the steady fan-out
SPANS = 3  # rounds are so many times as long as others: percentiles need many events
STUCK, STUCK_RATE = 10, 8 << 20  # subscribers that never read, and the bytes a second that are published to them
SLOW = 10  # connections that send a byte a second
LARGE = b"." * (16 << 10)
MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Flood:
    """Something that goes on beside the steady fan-out. The first side does it; `unit_bytes` of it are one `unit`."""

    what: str
    open: Callable[[Server, ExitStack], Sequence[Side]]
    unit: str = ""
    unit_bytes: float = 0.0
    base: str = ""  # the flood whose rate is compared with


def _session(server: Server, stack: ExitStack) -> socket.socket:
    return stack.enter_context(FANWAY.open_wide_publisher(server))


def _publisher(server: Server, stack: ExitStack, address: str) -> socket.socket:
    path = f"/-/events/{RELAY}/{address}?mode=publish"
    return stack.enter_context(open_websocket(server.port, path, server.headers))


def _subscriber(server: Server, stack: ExitStack, address: str) -> socket.socket:
    return stack.enter_context(FANWAY.open_subscriber(server, address))


def _nothing(server: Server, stack: ExitStack) -> Sequence[Side]:
    return ()


_FLOOD = client_frame(TEXT, PAYLOAD, NO_MASK)


def _flooding(server: Server, stack: ExitStack) -> Sequence[Side]:
    reader = _subscriber(server, stack, "flood")
    return Side(_publisher(server, stack, "flood"), _FLOOD * 1000), Side(reader)


def _never_reading(server: Server, stack: ExitStack) -> Sequence[Side]:
    for _ in range(STUCK):
        _subscriber(server, stack, "stuck")
    return (Side(_publisher(server, stack, "stuck"), client_frame(BINARY, LARGE, NO_MASK), STUCK_RATE),)


def _slow(server: Server, stack: ExitStack) -> Sequence[Side]:
    return [Side(_publisher(server, stack, "slow"), _FLOOD, 1) for _ in range(SLOW)]


_CYCLE = b"".join(
    client_frame(TEXT, text, NO_MASK)
    for text in (
        b'{"t":"sub","r":1,"sub":1,"pattern":"%b/churn/*"}' % RELAY.encode(),
        b'{"t":"unsub","r":2,"sub":1}',
    )
)


def _cycling(server: Server, stack: ExitStack) -> Sequence[Side]:
    return (Side(_session(server, stack), _CYCLE * 100),)


def _publication(number: int) -> bytes:
    head = f'{{"t":"pub","address":"{RELAY}/many/a{number:05}"}}\n'
    return client_frame(TEXT, head.encode() + PAYLOAD, NO_MASK)


def _spreading(addresses: int) -> Callable[[Server, ExitStack], Sequence[Side]]:
    def open_it(server: Server, stack: ExitStack) -> Sequence[Side]:
        return (Side(_session(server, stack), b"".join(map(_publication, range(addresses)))),)

    return open_it


_FEW = "one publishes to 100 addresses in turn"
ALONE = Flood("alone", _nothing)
FLOODS = (
    ALONE,
    Flood("another publisher floods", _flooding, "events/s", len(_FLOOD)),
    Flood(f"{STUCK} subscribers never read", _never_reading),
    Flood(f"{SLOW} publishers send a byte a second", _slow),
    Flood("a session subscribes and unsubscribes", _cycling, "cycles/s", len(_CYCLE)),
    Flood(_FEW, _spreading(100), "events/s", len(_publication(0))),
    Flood("one publishes to 100,000 addresses in turn", _spreading(100_000), "events/s", len(_publication(0)), _FEW),
)


class _Lines:
    """What is told of a flood: the delay beside it, how fast it went, what memory it took."""

    def __init__(self, flood: Flood) -> None:
        alone = "" if flood is ALONE else f"p99, {ALONE.what}"
        self.delay = Line(f"p99, {flood.what}", base=alone)
        self.rate = None
        if flood.unit:
            base = f"rate, {flood.base}" if flood.base else ""
            self.rate = Line(f"rate, {flood.what}", unit=flood.unit, is_more_better=True, praise="fast", base=base)
        self.memory = Line(f"memory, {flood.what}", unit="MiB more", praise="small")

    def __iter__(self) -> Iterator[Line]:
        return iter([line for line in (self.delay, self.rate, self.memory) if line is not None])


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    lines = {flood.what: _Lines(flood) for flood in FLOODS}
    every = [line for some in lines.values() for line in some]
    with side_by_side((FANWAY,), every, core) as servers:
        for server in servers:
            verify(server, Audience(1, sizes.subscribers), sizes)
            for _ in range(sizes.rounds):
                for flood in FLOODS:
                    _round(server, flood, sizes, lines[flood.what])
    return every


def _round(server: Server, flood: Flood, sizes: Sizes, lines: _Lines) -> None:
    audience, times = Audience(1, sizes.subscribers), Times(sizes.warm_seconds, SPANS * sizes.seconds)
    with contextlib.ExitStack() as stack:
        publisher, subscribers = audience.connect(server, stack)
        sockets, meter, before = [sock for sock, _ in subscribers], Meter(server, sizes), server.resident_bytes()
        sides = flood.open(server, stack)
        try:
            outcome = run_traffic(
                publisher,
                sockets,
                one_address(server.peer, audience.each),
                Pace(rate=RATE),
                times,
                meter,
                reach=[[0]] * audience.each,
                sides=sides,
            )
        except LoadError as error:
            raise LoadError(f"{flood.what}: {error}") from error
        lines.delay.add(server, meter.sample(outcome.delays[0.99]))
        lines.memory.add(server, meter.sample((server.resident_bytes() - before) / MEBIBYTE))
        if lines.rate is not None:
            lines.rate.add(server, meter.rate(outcome.side_bytes[0] / flood.unit_bytes))


ROW = Row(
    name="floods",
    title="Floods: 40,000 deliveries/s to 100 subscribers, alone and beside somebody who does too much, or nothing",
    unit="µs",
    proves="That one peer cannot spoil it for the others: the delay from when an event is due until a subscriber reads "
    "it, which held for 99 % of the deliveries, with what the flood achieved meanwhile and what the gateway's memory "
    "grew by in that round. Every delivery of the steady fan-out was checked: that it was the next one.",
    leaves_out="Many such peers at a time, TLS. Floods come from the same generator, which takes turns; "
    "so a part of the delay beside them is its own. Other servers: their limits differ too much in kind.",
    peers=(FANWAY,),
    measure=measure,
    is_more_better=False,
    praise="short",
)
