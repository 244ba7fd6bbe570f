"""The `fanway` command as a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple


class Done(NamedTuple):
    """How a command ended."""

    code: int | None
    out: str
    err: str


class Shell:
    """Starts commands in an empty folder, the gateway known from the environment."""

    def __init__(self, world: Any, folder: Path, cleanup: AsyncExitStack) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FANWAY_")}
        gateway = {"URL": world.url, "KEY_NAME": "RootManageSharedAccessKey", "KEY": "root-key-of-the-test-world"}
        self.environ = kept | {f"FANWAY_{name}": value for name, value in gateway.items()}
        self.folder = folder
        self._cleanup = cleanup

    async def start(self, *arguments: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from fanway.cli import main; main()",
            *arguments,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=self.folder,
            env=self.environ,
        )
        self._cleanup.push_async_callback(self._end, process)
        return process

    async def run(self, *arguments: str, stdin: bytes = b"") -> Done:
        process = await self.start(*arguments)
        async with asyncio.timeout(20):
            out, err = await process.communicate(stdin)
        return Done(process.returncode, out.decode(), err.decode())

    async def _end(self, process: Process) -> None:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_of(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    return (await asyncio.wait_for(stream.readline(), 15)).decode()
