"""`net.tcp` clients and services of both kinds of listener, joined by the gateway; end to end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nettcp_peers import Client, Service
from worlds import KEY, KEY_NAME, World, running_gateway

import fanway
from app.wire.nettcp.records import Kind, Record
from fanway.relay import Relay
from fanway.targets import parse_target

RELAYS = [
    {"name": "calc", "profile": "netTcp", "requiresClientAuthorization": False},
    {"name": "guarded", "profile": "netTcp"},
    {"name": "soap", "profile": "http", "requiresClientAuthorization": False},
    {"name": "secure", "profile": "netTcp", "requiresClientAuthorization": False, "requiresTransportSecurity": True},
    {"name": "plants", "requiresClientAuthorization": False},
    {"name": "hyco", "profile": "hybridConnection", "requiresClientAuthorization": False},
]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS, nettcp_listen="127.0.0.1:0") as running:
        yield running


@contextlib.asynccontextmanager
async def offered(world: World, address: str, service: Service, path: str | None = None) -> AsyncIterator[Relay]:
    """The service behind the address, joined by what `fanway listen ADDRESS --to net.tcp://…` runs."""
    async with service.running(), fanway.connect(world.url, key_name=KEY_NAME, key=KEY) as relay:
        local = f"net.tcp://127.0.0.1:{service.port}" + (f"/{service.path}" if path is None else path)
        target = parse_target(local, address)
        relay.listen_with(address, target.handlers())
        await relay.listening()
        yield relay


def via(world: World, rest: str) -> str:
    return f"net.tcp://127.0.0.1:{world.nettcp_port}/{rest}"


async def test_a_session_reaches_the_service_which_sees_its_own_address(world: World) -> None:
    service = Service("Calc", "one:")
    async with offered(world, "calc", service):
        client = await Client.session(world, via(world, "calc"))
        assert await client.call(b"hello") == Record(Kind.SIZED_ENVELOPE, b"one:hello")
        await client.close()
        await service.ended.wait()
    assert service.vias == [service.url]
