"""Other programs as peers of the gateway: they tell what they see as JSON lines and take commands the same way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from worlds import World

NODE_SCRIPTS = Path(__file__).parent / "node"
JAVA_PEER = Path(__file__).parent / "java"
JAVA_SDK = JAVA_PEER / "sdk"
FANWAY = Path(sys.executable).with_name("fanway")
PATIENCE = 30  # seconds for the next line; far more than any needs

Line = dict[str, Any]


def require(*programs: str) -> str:
    """The path of the first of these programs that is installed; without one the test is skipped by its name."""
    for program in programs:
        if found := shutil.which(program):
            return found
    pytest.skip(f"{programs[0]} is not installed")


def require_node_modules() -> str:
    """Node's path, when the hyco modules are there too."""
    node = require("node")
    if not (NODE_SCRIPTS / "node_modules" / "hyco-ws").is_dir():
        pytest.skip("the Node modules are not installed")
    return node


def require_java(folder: Path = JAVA_PEER) -> str:
    """The class path of the Java program in this folder, compiled from what Maven fetched before."""
    require("java")
    maven = require("mvn")
    command = [maven, "-o", "-q", "-B", "process-classes"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if "COMPILATION ERROR" in built.stdout:
        pytest.fail(built.stdout)
    if built.returncode:
        pytest.skip(
            "azure-relay, the SDK for Java, is not installed" if folder == JAVA_SDK else "Jetty is not installed"
        )
    return f"{folder}/target/classes:{folder}/target/lib/*"


def require_mono(source: Path, folder: Path) -> Path:
    """A program in C#, compiled into this folder to be run by Mono's WCF."""
    compiler, program = require("mcs"), folder / f"{source.stem}.exe"
    require("mono")
    libraries = [f"-r:System.{name}.dll" for name in ("ServiceModel", "Runtime.Serialization")]
    done = subprocess.run(
        [compiler, *libraries, f"-out:{program}", source], capture_output=True, text=True, check=False
    )
    if "System.ServiceModel.dll" in done.stderr:
        pytest.skip("Mono's System.ServiceModel is not installed")
    assert done.returncode == 0, done.stderr
    return program


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A port on which nobody listens: kept for whoever asks for this very number, given to nobody by chance.

    It is bound and not listening, which with SO_REUSEADDR lets another, who sets that too, bind it and listen.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


class Program:
    """A running program that writes JSON lines, each with an `event`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._input = process.stdin
        self._output = process.stdout

    async def text(self) -> str:
        """The next line of a program that writes something else, without its line end."""
        async with asyncio.timeout(PATIENCE):
            line = await self._output.readline()
        if not line:
            raise AssertionError(f"the program ended with {await self.process.wait()}; its errors are above")
        return line.decode().rstrip("\r\n")

    async def line(self) -> Line:
        """The next line. Raises `AssertionError` when the program has ended."""
        found: Line = json.loads(await self.text())
        return found

    async def expect(self, event: str, **fields: Any) -> Line:
        """The next line that has this event and these fields; others are passed over, an error is not."""
        passed: list[Line] = []
        try:
            while True:
                line = await self.line()
                if line["event"] == event and fields.items() <= line.items():
                    return line
                passed.append(line)
                assert line["event"] != "error", line
        except TimeoutError:
            raise AssertionError(f"waited in vain for {event} {fields}; came: {passed}") from None

    async def gather(self, event: str, count: int) -> list[Line]:
        """The next so many lines with this event."""
        return [await self.expect(event) for _ in range(count)]

    async def tell(self, **command: Any) -> None:
        """Write one command line."""
        self._input.write(json.dumps(command).encode() + b"\n")
        await self._input.drain()

    async def kill(self) -> None:
        """End it by SIGKILL, as a crash or a power cut would."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """End it by SIGTERM and tell its exit code."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def running(*command: str | Path, env: Mapping[str, str] | None = None) -> AsyncIterator[Program]:
    """This command, killed at the latest when the block ends. Its stderr is the test's own."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
        limit=1 << 20,
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


StartNode = Callable[..., Awaitable[Program]]
StartPeer = Callable[..., Awaitable[Program]]


@dataclass
class Door:
    """One of the gateway's two ports, as the URLs that clients take."""

    world: World
    ws: str
    http: str

    def listen(self, path: str) -> str:
        return f"{self.ws}/$hc/{path}?sb-hc-action=listen"

    def connect(self, path: str) -> str:
        return f"{self.ws}/$hc/{path}?sb-hc-action=connect"


@dataclass
class Served:
    """A gateway in a process of its own, which a test may kill and start again on the same port."""

    port: int
    program: Program
    start: Callable[[int], Awaitable[Served]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def again(self) -> Served:
        """The next life of the same gateway, serving when this returns."""
        return await self.start(self.port)
