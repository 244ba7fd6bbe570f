"""Real clients against a whole gateway, over its plain and its TLS door."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from dotnet_world import DotNet, dotnet_world
from programs import (
    FANWAY,
    NODE_SCRIPTS,
    Door,
    Program,
    Served,
    StartNode,
    StartPeer,
    held_port,
    require,
    require_java,
    require_node_modules,
    running,
)
from worlds import KEY, KEY_NAME, running_gateway

from app.trust import recipes


@pytest.fixture(params=["plain", "tls"])
async def door(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Door]:
    """A gateway's plain door, then another's TLS door with the development certificate."""
    secure = request.param == "tls"
    async with running_gateway(tmp_path, tls=secure) as world:
        where = f"localhost:{world.tls_port}" if secure else world.host
        yield Door(world, f"wss://{where}" if secure else f"ws://{where}", f"https://{where}" if secure else world.url)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[StartNode]:
    """Starts a script of tests/node with these options; the root key and the gateway's CA go along."""
    executable = require_node_modules()
    async with contextlib.AsyncExitStack() as programs:

        async def start(script: str, ca: Path | None = None, **options: Any) -> Program:
            options = {"rule": KEY_NAME, "key": KEY, "keys": [KEY], **options}
            env = {"NODE_EXTRA_CA_CERTS": str(ca)} if ca else None
            command = running(executable, NODE_SCRIPTS / f"{script}.js", json.dumps(options), env=env)
            return await programs.enter_async_context(command)

        yield start


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """`fanway serve` with the relays `hyco` and `orders`."""
    relays = tmp_path / "relays.json"
    rules = [{"name": KEY_NAME, "rights": ["Listen", "Send", "Manage"], "primaryKey": KEY}]
    provisioned = {"relays": [{"name": "hyco", "profile": "hybridConnection"}, {"name": "orders"}], "rules": rules}
    relays.write_text(json.dumps(provisioned))
    data = tmp_path / "data"
    async with contextlib.AsyncExitStack() as lives:

        async def start(port: int) -> Served:
            command = [FANWAY, "serve", "--json", "--no-tls", "--listen", f"127.0.0.1:{port}"]
            program = await lives.enter_async_context(running(*command, "--data", data, "--relays", relays))
            ready = await program.expect("ready")
            return Served(int(ready["url"].rpartition(":")[2]), program, start)

        yield await start(lives.enter_context(held_port()))


@pytest.fixture
async def dotnet(tmp_path: Path) -> AsyncIterator[DotNet]:
    """A gateway behind TLS and peers that speak as the .NET SDK does."""
    async with dotnet_world(tmp_path) as peers:
        yield peers


@pytest.fixture(scope="module")
def java_classes() -> str:
    """The Java peer, compiled."""
    return require_java()


@pytest.fixture
def java_trust(tmp_path: Path) -> Callable[[Path], Awaitable[list[str]]]:
    """The arguments by which a Java program trusts an authority, after the documented recipe's own commands."""
    require("keytool")

    async def trust(authority: Path) -> list[str]:
        [recipe] = [each for each in recipes(authority) if each.client == "Java"]
        keytool, java = recipe.lines
        if not (tmp_path / "fanway.p12").exists():
            made = await asyncio.create_subprocess_exec("bash", "-ec", f"{keytool} 2>/dev/null", cwd=tmp_path)
            assert await made.wait() == 0
        properties = [each.replace("fanway.p12", f"{tmp_path}/fanway.p12") for each in shlex.split(java)[1:]]
        return [*properties, "-Dorg.eclipse.jetty.LEVEL=OFF", "-Dorg.eclipse.jetty.util.log.announce=false"]

    return trust


@pytest.fixture
async def java_peer(java_classes: str, java_trust: Callable[[Path], Awaitable[list[str]]]) -> AsyncIterator[StartPeer]:
    """Starts the Java peer with these options; it trusts the authority."""
    async with contextlib.AsyncExitStack() as programs:

        async def start(authority: Path, **options: str) -> Program:
            command = ["java", "-XX:TieredStopAtLevel=1", *await java_trust(authority), "-cp", java_classes, "Peer"]
            return await programs.enter_async_context(running(*command, json.dumps(options)))

        yield start
