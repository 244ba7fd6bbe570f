"""The loads that are too much for Python: what each takes and gives, for the functions of `generator/`."""

from __future__ import annotations

import contextlib
import ctypes
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.generator.library import Timed, Times, call, checked, fds, measured
from bench.load import wraps


@dataclass(frozen=True, slots=True)
class Shape:
    """What comes in: records of one size that begin with one byte (None: any), in WebSocket frames or bare."""

    size: int
    is_framed: bool = True
    lead: int | None = None


class _Shape(ctypes.Structure):
    _fields_ = (("framed", ctypes.c_int), ("lead", ctypes.c_int), ("size", ctypes.c_uint32))


def fan_out(
    publisher: socket.socket,
    subscribers: Sequence[socket.socket],
    shape: Shape,
    frames: Sequence[bytes],
    window: int,
    copies: int,
    times: Times,
    timed: Timed,
) -> int:
    """Publish `frames` in turn, at most `window` in flight, each to `copies` subscribers; deliveries in the measured
    part. Raises LoadError unless at the end everything has come."""
    ends: list[int] = []
    for frame in frames:
        ends.append((ends[-1] if ends else 0) + len(frame))
    arguments: list[object] = [publisher.fileno(), fds(subscribers), len(subscribers), _shape(shape)]
    arguments += [b"".join(frames), (ctypes.c_uint64 * len(ends))(*ends), len(ends), window, copies]
    return measured("fan", arguments, "received", times, timed)


def pump(
    pairs: Sequence[tuple[socket.socket, socket.socket]],
    shape: Shape,
    frame: bytes,
    window: int,
    times: Times,
    timed: Timed,
) -> int:
    """Send `frame` through every pair, at most `window` in flight in each; messages in the measured part."""
    ends = [fds([pair[end] for pair in pairs]) for end in (0, 1)]
    arguments = [*ends, len(pairs), _shape(shape), frame * window, len(frame), window]
    return measured("pump", arguments, "received", times, timed)


@dataclass(frozen=True, slots=True)
class Answering:
    """Who answers the requests: a listener's socket (with the parts of its answer), or a listening socket."""

    body: bytes  # what follows a listener's head; all of a server's answer
    control: socket.socket | None = None
    origin: socket.socket | None = None
    mark: bytes = b""
    before: bytes = b""
    after: bytes = b""


def requests(
    clients: Sequence[socket.socket],
    request: bytes,
    answer_bytes: int,
    answering: Answering,
    times: Times,
    timed: Timed,
) -> int:
    """Keep one request open on every client, and answer them; answers in the measured part. Raises LoadError."""
    origin, control = (-1 if sock is None else sock.fileno() for sock in (answering.origin, answering.control))
    is_secure = answering.origin is not None and answering.origin.getsockname()[1] in wraps
    arguments = [fds(clients), len(clients), request, len(request), answer_bytes, origin, is_secure, control]
    arguments += [answering.mark, answering.before, answering.after, answering.body, len(answering.body)]
    return measured("web", arguments, "done", times, timed)


def acknowledged(clients: Sequence[tuple[socket.socket, bytes]], mark: bytes, times: Times, timed: Timed) -> int:
    """Keep one publish under way on every client, each its own frame, all of one size; answers in the measured part.

    Each answer holds `mark` once. Raises LoadError.
    """
    frames = b"".join([frame for _, frame in clients])
    sockets = fds([sock for sock, _ in clients])
    arguments = [sockets, len(clients), frames, len(frames) // len(clients), mark, len(mark)]
    return measured("acks", arguments, "done", times, timed)


def ping_pong(
    pair: tuple[socket.socket, socket.socket],
    ping: tuple[bytes, int],
    pong: tuple[bytes, int],
    times: Times,
    timed: Timed,
) -> list[float]:
    """One message to and fro: microseconds of each round trip. `ping` and `pong`: the frame, and how many bytes come
    of it at the other end. The sockets must block."""
    left, right = pair
    most = int(times.seconds * 200_000) + 1000
    samples = (ctypes.c_double * most)()

    def play(seconds: float) -> int:
        arguments = [left.fileno(), right.fileno(), ping[0], len(ping[0]), ping[1], pong[0], len(pong[0]), pong[1]]
        return checked(call("ping_pong", *arguments, ctypes.c_double(seconds), samples, most))

    play(times.warm_seconds)
    timed.begin()
    count = play(times.seconds)
    timed.end()
    return list(samples[:count])


@dataclass(frozen=True, slots=True)
class Meeting:
    """How two ends meet: the heads with which they open, in which NAME stands for what they both ask for; or, with a
    control channel, the listener's without the path, which it is told there."""

    sender: bytes
    listener: bytes
    control: socket.socket | None = None

    NAME: ClassVar[bytes] = b"????????"


class _Opening(ctypes.Structure):
    _fields_ = (("head", ctypes.c_char_p), ("size", ctypes.c_uint32), ("name_at", ctypes.c_int32))


def meetings(port: int, parallel: int, meeting: Meeting, times: Times, timed: Timed) -> int:
    """Both ends open, are joined and close, `parallel` meetings at a time; those that ended in the measured part.
    Raises LoadError unless every sender met a listener and its close came through."""
    openings = [_Opening(head, len(head), head.find(Meeting.NAME)) for head in (meeting.sender, meeting.listener)]
    control = -1 if meeting.control is None else meeting.control.fileno()
    return measured("meetings", [port, parallel, control, *map(ctypes.byref, openings)], "done", times, timed)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What a connection sends, and what must be in the answer before it counts as open."""

    first: bytes
    first_begin: bytes = b"HTTP/1.1 101 "
    first_end: bytes = b"\r\n\r\n"
    second: bytes = b""
    second_end: bytes = b""


@contextlib.contextmanager
def connections(port: int, count: int, parallel: int, dialogue: Dialogue, patience: float) -> Iterator[None]:
    """So many connections, open within the block, over TLS where that is spoken on the port. Raises LoadError."""
    opened = (ctypes.c_int * count)()
    said = dialogue
    arguments: list[object] = [
        port,
        port in wraps,
        count,
        parallel,
        said.first,
        len(said.first),
        said.first_begin,
        said.first_end,
    ]
    arguments += [said.second, len(said.second), said.second_end]
    arguments += [len(said.second_end), ctypes.c_double(patience), opened]
    checked(call("connect_many", *arguments))
    try:
        yield
    finally:
        for fd in opened:
            call("link_close", fd, returns=None)


def _shape(shape: Shape) -> object:
    return ctypes.byref(_Shape(shape.is_framed, -1 if shape.lead is None else shape.lead, shape.size))
