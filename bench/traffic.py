"""Stamped events: what `generator/traffic.c` publishes and receives, and the delays that it measures.

A payload ends in a stamp, which the generator fills in as it sends: an address by its number, the number of the
event there, and when it was due. So it can tell of every delivery whether it was to come, whether it is the next one,
and how long it took, on any transport: the stamp is looked for in the bytes, whatever stands around it.
"""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.generator.library import Timed, Times, call, checked, fds
from bench.load import PATIENCE_SECONDS

STAMP = b"stamp:" + b"0" * 28
NAME = b"00000000"  # the part of an address that is another one in each event
NOBODY = 0xFFFF  # the number of an address of which nothing may come


@dataclass(frozen=True, slots=True)
class Supply:
    """The frames of events, published in turn, again and again, and of each its address and its deliveries.

    `names` says in which frames the last NAME is a part of the address that is to be another one each time.
    """

    frames: Sequence[bytes]
    addresses: Sequence[int]
    copies: Sequence[int]
    names: Sequence[bool] = ()


@dataclass(frozen=True, slots=True)
class Side:
    """Somebody who sends `supply` again and again at so many bytes a second (0: as fast as it goes), and reads."""

    sock: socket.socket
    supply: bytes = b""
    rate: int = 0


@dataclass(frozen=True, slots=True)
class Pace:
    """Either a window of events in flight, or a fixed number of events a second."""

    window: float = 0.0
    rate: float = 0.0


@dataclass(slots=True)
class Outcome:
    """What the measured part brought. Delays are microseconds from when an event was due to when it was read."""

    deliveries: int = 0
    events: int = 0
    delays: dict[float, float] = field(default_factory=dict)  # by the share of deliveries that it holds for
    side_bytes: list[int] = field(default_factory=list)  # what each side sent
    next_name: int = 0


def run_traffic(
    publisher: socket.socket,
    subscribers: Sequence[socket.socket],
    supply: Supply,
    pace: Pace,
    times: Times,
    timed: Timed,
    *,
    reach: Sequence[Sequence[int]] | None = None,
    shares: Sequence[float] = (0.5, 0.99),
    is_sampled: bool = False,
    first_name: int = 0,
    sides: Sequence[Side] = (),
) -> Outcome:
    """Publish, and measure a part of it.

    `reach` has the numbers of the addresses that each subscriber is to get; with it every delivery is checked: that
    it may come, once, in order. Of what is sampled, every 16th event's delay is looked at. Raises LoadError on the
    first fault, and unless at the end everything has come.
    """
    native_sides = _sides(sides)
    with _open(publisher, subscribers, supply, pace, reach, is_sampled, first_name, native_sides) as state:
        checked(call("traffic_run", state, ctypes.c_double(times.warm_seconds)))
        call("traffic_forget_delays", state, returns=None)
        received, sent, fed = _count("received", state), _count("sent", state), [side.sent for side in native_sides]
        timed.begin()
        checked(call("traffic_run", state, ctypes.c_double(times.seconds)))
        timed.end()
        outcome = Outcome(_count("received", state) - received, _count("sent", state) - sent)
        for share in shares:
            outcome.delays[share] = call("traffic_delay", state, ctypes.c_double(share), returns=ctypes.c_double) / 1000
        outcome.side_bytes = [side.sent - before for side, before in zip(native_sides, fed, strict=True)]
        checked(call("traffic_finish", state, ctypes.c_double(PATIENCE_SECONDS)))
        outcome.next_name = _count("names", state)
    return outcome


def plain(frame: bytes) -> bytes:
    """A client's frame with a mask of zeros, so that stamps can be written into it."""
    start = 2 + {126: 2, 127: 8}.get(frame[1] & 0x7F, 0)
    mask, payload = frame[start : start + 4], frame[start + 4 :]
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    unmasked = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return frame[:start] + bytes(4) + unmasked.to_bytes(len(payload), "big")


class _Event(ctypes.Structure):
    _fields_ = (
        ("end", ctypes.c_uint64),
        ("stamp_at", ctypes.c_uint64),
        ("name_at", ctypes.c_uint64),
        ("address", ctypes.c_uint32),
        ("copies", ctypes.c_uint32),
    )


class _Side(ctypes.Structure):
    _fields_ = (
        ("fd", ctypes.c_int),
        ("rate", ctypes.c_uint32),
        ("supply", ctypes.c_char_p),
        ("size", ctypes.c_uint64),
        ("sent", ctypes.c_uint64),
    )
    sent: int


@contextmanager
def _open(
    publisher: socket.socket,
    subscribers: Sequence[socket.socket],
    supply: Supply,
    pace: Pace,
    reach: Sequence[Sequence[int]] | None,
    is_sampled: bool,
    first_name: int,
    sides: ctypes.Array[_Side],
) -> Iterator[ctypes.c_void_p]:
    """The state of the generator, and what it points to, for as long as it is needed."""
    data, plan = _plan(supply)
    addresses = 1 + max((address for address in supply.addresses if address != NOBODY), default=0)
    table = None if reach is None else b"".join(_reached(some, addresses) for some in reach)
    arguments: list[object] = [publisher.fileno(), fds(subscribers), len(subscribers), data, plan, len(plan)]
    arguments += [ctypes.c_double(pace.window), ctypes.c_double(pace.rate), table, addresses, int(is_sampled)]
    arguments += [ctypes.c_uint64(first_name), sides, len(sides)]
    state = ctypes.c_void_p(call("traffic_open", *arguments, returns=ctypes.c_void_p))
    try:
        yield state
    finally:
        call("traffic_close", state, returns=None)


def _plan(supply: Supply) -> tuple[ctypes.Array[ctypes.c_char], ctypes.Array[_Event]]:
    plan = (_Event * len(supply.frames))()
    at = 0
    for number, frame in enumerate(supply.frames):
        stamp_at = at + frame.rindex(STAMP)
        name_at = at + frame.index(NAME) if supply.names and supply.names[number] else 0
        at += len(frame)
        plan[number] = _Event(at, stamp_at, name_at, supply.addresses[number], supply.copies[number])
    return ctypes.create_string_buffer(b"".join(supply.frames), at), plan


def _reached(numbers: Sequence[int], addresses: int) -> bytes:
    row = bytearray(addresses)
    for number in numbers:
        row[number] = 1
    return bytes(row)


def _sides(sides: Sequence[Side]) -> ctypes.Array[_Side]:
    rows = [(side.sock.fileno(), side.rate, side.supply, len(side.supply), 0) for side in sides]
    return (_Side * len(sides))(*(_Side(*row) for row in rows))


def _count(counter: str, state: ctypes.c_void_p) -> int:
    return call(f"traffic_{counter}", state, returns=ctypes.c_uint64)
