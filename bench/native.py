"""The loops of `load.c`, compiled on demand into a cache folder and called through ctypes on sockets opened here.

They run while the interpreter waits, in this process and thread, so that its processor time is the generator's.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from bench.load import PATIENCE_SECONDS, LoadError

SOURCE = Path(__file__).with_name("load.c")
_FAILURES = {
    -1: "a server closed a connection under load",
    -2: "a server sent something else than was due",
    -3: "a server did not send in time what was due",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What comes in: records of one size that begin with one byte (None: any), in WebSocket frames or bare."""

    size: int
    is_framed: bool = True
    lead: int | None = None


class _Shape(ctypes.Structure):
    _fields_ = (("framed", ctypes.c_int), ("lead", ctypes.c_int), ("size", ctypes.c_uint32))


class Timed(Protocol):
    """Who measures a part of a load: `begin` and `end` are called around it."""

    def begin(self) -> None: ...

    def end(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds to warm up, and of the measured part."""

    warm_seconds: float
    seconds: float


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
    arguments: list[object] = [publisher.fileno(), _fds(subscribers), len(subscribers), _shape(shape)]
    arguments += [b"".join(frames), (ctypes.c_uint64 * len(ends))(*ends), len(ends), window, copies]
    return _measured("fan", arguments, "received", times, timed)


def pump(
    pairs: Sequence[tuple[socket.socket, socket.socket]],
    shape: Shape,
    frame: bytes,
    window: int,
    times: Times,
    timed: Timed,
) -> int:
    """Send `frame` through every pair, at most `window` in flight in each; messages in the measured part."""
    ends = [_fds([pair[end] for pair in pairs]) for end in (0, 1)]
    arguments = [*ends, len(pairs), _shape(shape), frame * window, len(frame), window]
    return _measured("pump", arguments, "received", times, timed)


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
    arguments = [_fds(clients), len(clients), request, len(request), answer_bytes, origin, control]
    arguments += [answering.mark, answering.before, answering.after, answering.body, len(answering.body)]
    return _measured("web", arguments, "done", times, timed)


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
        return _checked(_call("ping_pong", *arguments, ctypes.c_double(seconds), samples, most))

    play(times.warm_seconds)
    timed.begin()
    count = play(times.seconds)
    timed.end()
    return list(samples[:count])


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
    """So many connections, open within the block. Raises LoadError."""
    fds = (ctypes.c_int * count)()
    said = dialogue
    arguments = [port, count, parallel, said.first, len(said.first), said.first_begin, said.first_end]
    arguments += [said.second, len(said.second), said.second_end]
    arguments += [len(said.second_end), ctypes.c_double(patience), fds]
    _checked(_call("connect_many", *arguments))
    try:
        yield
    finally:
        for fd in fds:
            os.close(fd)


def missing() -> str | None:
    """Why this cannot be used here, if it cannot."""
    return None if shutil.which("cc") else "no C compiler (cc)"


def _measured(kind: str, arguments: Sequence[object], counter: str, times: Times, timed: Timed) -> int:
    """Open, warm up, measure, finish: what `counter` rose by in the measured part."""
    state = ctypes.c_void_p(_call(f"{kind}_open", *arguments, returns=ctypes.c_void_p))

    def count() -> int:
        return _call(f"{kind}_{counter}", state, returns=ctypes.c_uint64)

    try:
        _checked(_call(f"{kind}_run", state, ctypes.c_double(times.warm_seconds)))
        before = count()
        timed.begin()
        _checked(_call(f"{kind}_run", state, ctypes.c_double(times.seconds)))
        timed.end()
        counted = count() - before
        _checked(_call(f"{kind}_finish", state, ctypes.c_double(PATIENCE_SECONDS)))
    finally:
        _call(f"{kind}_close", state, returns=None)
    return counted


def _call(name: str, *arguments: object, returns: type[ctypes._SimpleCData[int]] | type | None = ctypes.c_int) -> int:
    function: Callable[..., int] = _function(name, returns)
    return function(*arguments)


@cache
def _function(name: str, returns: type | None) -> Callable[..., int]:
    function = _library()[name]
    function.restype = returns
    return function


def _checked(result: int) -> int:
    if result < 0:
        raise LoadError(_FAILURES.get(result, "the generator failed"))
    return result


def _fds(sockets: Sequence[socket.socket]) -> ctypes.Array[ctypes.c_int]:
    return (ctypes.c_int * len(sockets))(*(sock.fileno() for sock in sockets))


def _shape(shape: Shape) -> object:
    return ctypes.byref(_Shape(shape.is_framed, -1 if shape.lead is None else shape.lead, shape.size))


@cache
def _library() -> ctypes.CDLL:
    """Compiled once for each version of the source. Raises LoadError."""
    reason = missing()
    if reason:
        raise LoadError(f"the generator cannot be compiled: {reason}")
    cache_folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fanway-bench"
    library = cache_folder / f"load-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
    if not library.exists():
        cache_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder) as folder:
            made = Path(folder) / library.name
            command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(made), str(SOURCE)]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode:
                raise LoadError(f"the generator cannot be compiled: {run.stderr.strip()}")
            made.replace(library)
    return ctypes.CDLL(str(library))
