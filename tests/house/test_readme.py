"""Every example of the README runs as it stands, against a real gateway; only ports are others.

A comment before a fenced block says what it is: `example` (run to its end), `example: stays` (runs until the section
ends), `example: python`, `example: node …` (needs the Node modules), `example: file NAME`, `prints` (what the example
before it printed; `prints: stays` for the latest one that stays). `…` in printed text stands for anything on a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from programs import FANWAY, NODE_SCRIPTS, held_port, require, require_node_modules, running

README = Path(__file__).parents[2] / "README.md"
PATIENCE = 30
MARKED = re.compile(r"^<!-- (example|prints)(?:: ([^>]*))? -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GATEWAY_PORT, TLS_PORT, *OTHER_PORTS = PORTS = ("8480", "8443", "3000", "8000")


@dataclass(frozen=True)
class Block:
    """A marked block of the README; `line` is where its comment stands."""

    kind: str
    words: list[str]
    text: str
    line: int


def sections() -> Iterator[tuple[str, list[Block]]]:
    """The sections that have examples."""
    text = README.read_text("utf-8")
    for match in re.finditer(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL):
        first = text.count("\n", 0, match.start(2)) + 1
        blocks = [
            Block(m[1], (m[2] or "").split(), m[3], first + match[2].count("\n", 0, m.start()))
            for m in MARKED.finditer(match[2])
        ]
        if blocks:
            yield match[1], blocks


@dataclass
class Staying:
    """An example that goes on; what it printed so far."""

    block: Block
    process: asyncio.subprocess.Process
    printed: str = ""
    has_spoken: asyncio.Event = field(default_factory=asyncio.Event)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, stream: asyncio.StreamReader, *, is_output: bool) -> None:
        while line := await stream.readline():
            if is_output:
                self.printed += line.decode()
            self.has_spoken.set()
            self.more.set()


class Shells:
    """A folder in which a newcomer works, with a gateway in it."""

    def __init__(self, folder: Path, ports: dict[str, str]) -> None:
        self._folder = folder
        self._ports = ports
        self._staying: list[Staying] = []
        self._readers: list[asyncio.Task[None]] = []
        self._printed = ""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FANWAY_")}
        path = f"{FANWAY.parent}{os.pathsep}{environment['PATH']}"
        modules = str(NODE_SCRIPTS / "node_modules")
        self._environment = {**environment, "PATH": path, "NODE_PATH": modules, "PYTHONUNBUFFERED": "1"}

    def fitted(self, text: str) -> str:
        """The text with the ports of this machine."""
        return re.sub(r"(?<=[ :])(" + "|".join(PORTS) + r")(?![0-9])", lambda m: self._ports[m[1]], text)

    async def act(self, block: Block) -> None:
        if block.kind == "prints":
            await self._check(block)
        elif block.words[:1] == ["file"]:
            (self._folder / block.words[1]).write_text(self.fitted(block.text), "utf-8")
        elif "stays" in block.words:
            await self._begin(block)
        else:
            await self._run(block)

    async def _start(self, block: Block) -> asyncio.subprocess.Process:
        if "node" in block.words:
            require_node_modules()
        text = self.fitted(block.text)
        for program in ("curl", "node"):
            if re.search(rf"^{program}\b", text, re.MULTILINE):
                require(program)
        command = [sys.executable, "-c", text] if "python" in block.words else ["bash", "-euo", "pipefail", "-c", text]
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *command, cwd=self._folder, env=self._environment, stdout=pipe, stderr=pipe, start_new_session=True
        )

    async def _run(self, block: Block) -> None:
        process = await self._start(block)
        async with asyncio.timeout(PATIENCE):
            output, errors = await process.communicate()
        assert process.returncode == 0, f"README.md:{block.line}: {errors.decode()}"
        self._printed = output.decode()

    async def _begin(self, block: Block) -> None:
        staying = Staying(block, await self._start(block))
        self._staying.append(staying)
        for stream, is_output in ((staying.process.stdout, True), (staying.process.stderr, False)):
            assert stream is not None
            self._readers.append(asyncio.create_task(staying.read(stream, is_output=is_output)))
        async with asyncio.timeout(PATIENCE):
            await staying.has_spoken.wait()

    async def _check(self, block: Block) -> None:
        expected = re.compile(".*".join(re.escape(piece) for piece in self.fitted(block.text).rstrip().split("…")))
        if not block.words:
            assert expected.match(self._printed), f"README.md:{block.line}: it printed {self._printed}"
            return
        staying = self._staying[-1]
        try:
            async with asyncio.timeout(PATIENCE):
                while not expected.match(staying.printed):
                    staying.more.clear()
                    await staying.more.wait()
        except TimeoutError:
            pytest.fail(f"README.md:{block.line}: it printed {staying.printed}")

    async def leave(self) -> None:
        """End what stays."""
        for staying in self._staying:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(staying.process.pid, 9)
            await staying.process.wait()
        await asyncio.gather(*self._readers)


@pytest.fixture
async def shells(tmp_path: Path) -> AsyncIterator[Shells]:
    command = [FANWAY, "serve", "--json", "--listen", "127.0.0.1:0", "--data", tmp_path / ".fanway"]
    async with running(*command) as gateway:
        ready = await gateway.expect("ready")
        with contextlib.ExitStack() as held:
            ports = {port: str(held.enter_context(held_port())) for port in OTHER_PORTS}
            ports[GATEWAY_PORT], ports[TLS_PORT] = (ready[url].rpartition(":")[2] for url in ("url", "tls_url"))
            working = Shells(tmp_path, ports)
            try:
                yield working
            finally:
                await working.leave()


@pytest.mark.parametrize("blocks", [blocks for _, blocks in sections()], ids=[title for title, _ in sections()])
async def test_examples_of_the_readme_do_what_it_says(blocks: list[Block], shells: Shells) -> None:
    for block in blocks:
        await shells.act(block)


def test_every_block_that_could_run_is_an_example() -> None:
    text = README.read_text("utf-8")
    marked = {match[3] for match in MARKED.finditer(text)}
    unmarked = [m[1] for m in re.finditer(r"^```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if m[1] not in marked]
    assert all("make " in block or "source " in block for block in unmarked), unmarked
