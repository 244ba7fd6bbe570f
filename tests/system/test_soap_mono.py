"""Mono's WCF on both sides of the relay, over HTTP: clients and services that know nothing of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from programs import FANWAY, Program, held_port, require_mono, running
from wires import until
from worlds import KEY, KEY_NAME, World, running_gateway

SOURCE = Path(__file__).parents[1] / "mono" / "Http.cs"
RELAYS = [{"name": "office", "profile": "http"}]


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled."""
    return require_mono(SOURCE, tmp_path_factory.mktemp("mono"))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS) as running:
        yield running


@contextlib.asynccontextmanager
async def offered(world: World, peer: Path, version: str, relay: str, *terms: str) -> AsyncIterator[Program]:
    """A service behind a relay. In SOAP 1.2 with addressing its messages are for the relay's address."""
    with held_port() as port:  # Mono takes no port 0
        where = f"localhost:{port}"
        env = {"FANWAY_URL": world.url, "FANWAY_KEY_NAME": KEY_NAME, "FANWAY_KEY": KEY}
        realm = world.gateway.context.realms[world.namespace]
        before = realm.roster.count(relay)
        own = f"http://{where}/svc/"
        command = ["mono", peer, "serve", version, own, own if version == "1.1" else f"{world.url}/{relay}/svc/"]
        async with running(*command) as service:
            await service.expect("ready")
            async with running(FANWAY, "listen", relay, "--to", where, *terms, env=env):
                await until(lambda: realm.roster.count(relay) > before)
                yield service


@pytest.mark.parametrize("where", ["head", "message"])
@pytest.mark.parametrize("version", ["1.1", "1.2"])
async def test_a_client_calls_a_service(world: World, peer: Path, version: str, where: str) -> None:
    """Answers, faults and one-way operations; the token that the message brought does not reach the service."""
    address = f"{world.url}/office/svc/"
    async with offered(world, peer, version, "office") as service:
        async with running("mono", peer, "call", version, address, where, world.token("office")) as client:
            said = [await client.line() for _ in range(4)]
            assert [line["event"] for line in said] == ["sum", "quotient", "fault", "done"], said
            assert (said[0]["sum"], said[1]["quotient"]) == ("42", "42")
        assert await service.line() == {"event": "note", "text": "one way"}


async def test_one_way_calls_go_to_every_service_of_a_net_event_relay(world: World, peer: Path) -> None:
    terms = ["--profile", "netEvent"]
    async with contextlib.AsyncExitStack() as stack:
        services = [await stack.enter_async_context(offered(world, peer, "1.2", "news", *terms)) for _ in range(2)]
        address = f"{world.url}/news/svc/"
        async with running("mono", peer, "call", "1.2", address, "message", world.token("news")) as client:
            await client.expect("done")
        for service in services:
            assert await service.line() == {"event": "note", "text": "one way"}
