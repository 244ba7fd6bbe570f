"""Mono's NetTcpBinding on both sides of the relay: a client and a service that know nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from programs import FANWAY, Program, held_port, require_mono, running
from worlds import KEY, KEY_NAME, World, running_gateway

SOURCE = Path(__file__).parents[1] / "mono" / "Peer.cs"
RELAYS = [
    {"name": "calc", "profile": "netTcp", "requiresClientAuthorization": False},
    {"name": "guarded", "profile": "netTcp"},
]


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled."""
    return require_mono(SOURCE, tmp_path_factory.mktemp("mono"))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS, nettcp_listen="127.0.0.1:0") as running:
        yield running


@contextlib.asynccontextmanager
async def offered(world: World, peer: Path, relay: str, name: str, address: str = "") -> AsyncIterator[str]:
    """A service behind a relay: its own URL. Its messages are for `address`, or for its own URL."""
    with held_port() as port:  # Mono takes no port 0
        url = f"net.tcp://127.0.0.1:{port}/Service"
        env = {"FANWAY_URL": world.url, "FANWAY_KEY_NAME": KEY_NAME, "FANWAY_KEY": KEY}
        async with running("mono", peer, "serve", url, name, *([address] if address else [])) as service:
            await service.expect("ready")
            realm = world.gateway.context.realms[world.namespace]
            before = realm.roster.count(relay)
            async with running(FANWAY, "listen", relay, "--to", url, env=env), asyncio.timeout(20):
                while realm.roster.count(relay) == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                yield url


async def session(program: Program) -> str:
    """The calls of a whole session; the name of the service that answered."""
    name = str((await program.expect("name"))["name"])
    await program.expect("sum", sum="42")
    for size in ("1", "1000", str(1 << 20)):
        await program.expect("echo", **{size: "same"})
    await program.expect("closed")
    assert await program.process.wait() == 0
    return name


async def test_a_client_calls_a_service_that_listens_for_the_relays_address(world: World, peer: Path) -> None:
    """The service's endpoint has the relay's address and a `ListenUri` of its own; the client knows the relay only."""
    address = f"net.tcp://127.0.0.1:{world.nettcp_port}/calc"
    async with offered(world, peer, "calc", "one", address), running("mono", peer, "call", address) as client:
        assert await session(client) == "one"


async def test_a_client_calls_a_service_via_the_relay(world: World, peer: Path) -> None:
    """The service is as it always was; the client knows its address and takes the relay as its via, token and all."""
    token = quote(world.token("guarded"), safe="")
    via = f"net.tcp://127.0.0.1:{world.nettcp_port}/guarded?sb-hc-token={token}"
    async with offered(world, peer, "guarded", "two") as url, running("mono", peer, "call", via, url) as client:
        assert await session(client) == "two"


async def test_a_client_understands_a_refusal(world: World, peer: Path) -> None:
    via = f"net.tcp://127.0.0.1:{world.nettcp_port}/calc"
    async with running("mono", peer, "call", via) as client:
        failed = await client.expect("failed")
        assert any(str(value).endswith("/framing/faults/EndpointNotFound") for value in failed.values())
