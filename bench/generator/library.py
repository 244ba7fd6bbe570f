"""The C sources of this folder as one library, compiled on demand into a cache folder and called through ctypes.

What is called runs while the interpreter waits, in this process and thread, so that its processor time is the
generator's. A load in parts is a state with functions `KIND_open`, `_run`, `_finish`, `_close` and its counters.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from bench.load import PATIENCE_SECONDS, LoadError

FOLDER = Path(__file__).parent
_FAILURES = {
    -1: "a server closed a connection under load",
    -2: "a server sent something else than was due",
    -3: "a server did not send in time what was due",
}


class Timed(Protocol):
    """Who measures a part of a load: `begin` and `end` are called around it."""

    def begin(self) -> None: ...

    def end(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds to warm up, and of the measured part."""

    warm_seconds: float
    seconds: float


def missing() -> str | None:
    """Why this cannot be used here, if it cannot."""
    return None if shutil.which("cc") else "no C compiler (cc)"


@cache
def missing_tls() -> str | None:
    """Why TLS cannot be spoken here, if it cannot."""
    if reason := missing():
        return reason
    found = subprocess.run(["cc", "-E", "-xc", "-"], input=b"#include <openssl/ssl.h>\n", capture_output=True)
    return None if found.returncode == 0 else "no headers of OpenSSL: libssl-dev (make peers)"


def call(name: str, *arguments: object, returns: type[ctypes._SimpleCData[int]] | type | None = ctypes.c_int) -> int:
    """Call that function; `returns` is the type of its result. Raises LoadError if there is no library."""
    function: Callable[..., int] = _function(name, returns)
    return function(*arguments)


def checked(result: int) -> int:
    """What a function returned. Raises LoadError when it stands for a failure."""
    if result < 0:
        raise LoadError(_FAILURES.get(result, "the generator failed"))
    return result


def measured(kind: str, arguments: Sequence[object], counter: str, times: Times, timed: Timed) -> int:
    """Open, warm up, measure, finish: what `counter` rose by in the measured part. Raises LoadError."""
    state = ctypes.c_void_p(call(f"{kind}_open", *arguments, returns=ctypes.c_void_p))

    def count() -> int:
        return call(f"{kind}_{counter}", state, returns=ctypes.c_uint64)

    try:
        checked(call(f"{kind}_run", state, ctypes.c_double(times.warm_seconds)))
        before = count()
        timed.begin()
        checked(call(f"{kind}_run", state, ctypes.c_double(times.seconds)))
        timed.end()
        counted = count() - before
        checked(call(f"{kind}_finish", state, ctypes.c_double(PATIENCE_SECONDS)))
    finally:
        call(f"{kind}_close", state, returns=None)
    return counted


def fds(sockets: Sequence[socket.socket]) -> ctypes.Array[ctypes.c_int]:
    """As an array of their descriptors."""
    return (ctypes.c_int * len(sockets))(*(sock.fileno() for sock in sockets))


@cache
def _function(name: str, returns: type | None) -> Callable[..., int]:
    function = _library()[name]
    function.restype = returns
    return function


@cache
def _library() -> ctypes.CDLL:
    """Compiled once for each version of the sources. Raises LoadError."""
    reason = missing()
    if reason:
        raise LoadError(f"the generator cannot be compiled: {reason}")
    is_secure = missing_tls() is None
    libraries = ["-lssl", "-lcrypto"] if is_secure else []
    sources = sorted(source for source in FOLDER.glob("*.[ch]") if is_secure or source.name != "tls.c")
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    cache_folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fanway-bench"
    library = cache_folder / f"generator-{version}.so"
    if not library.exists():
        cache_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder) as folder:
            made = Path(folder) / library.name
            units = [str(source) for source in sources if source.suffix == ".c"]
            command = [
                "cc",
                "-O2",
                "-shared",
                "-fPIC",
                "-fno-semantic-interposition",
                "-o",
                str(made),
                *units,
                *libraries,
            ]
            run = subprocess.run(command, capture_output=True, text=True)
            if run.returncode:
                raise LoadError(f"the generator cannot be compiled: {run.stderr.strip()}")
            made.replace(library)
    return ctypes.CDLL(str(library))
