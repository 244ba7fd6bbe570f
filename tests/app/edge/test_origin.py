"""Under which address listeners are told to come back, and what is believed of proxies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from worlds import KEY_NAME, World, running_gateway

from app.access.sas import make_token
from app.namespace import Namespace


async def tenant_of(world: World) -> Namespace:
    await world.client.put("/-/api/namespaces/tenant", headers=world.auth())
    namespace = world.gateway.registry.find_namespace("tenant")
    assert namespace is not None
    return namespace


async def base_of(world: World, namespace: Namespace, host: str, headers: dict[str, str] | None = None) -> str:
    """The address that a listener of this host is called by."""
    key = namespace.rules[KEY_NAME.lower()].primary_key
    token = make_token(f"http://{host}/", KEY_NAME, key, int(world.clock()) + 60)
    url = f"ws://{host}:{world.port}/$hc/listening?sb-hc-action=listen"
    more = {"ServiceBusAuthorization": token, **(headers or {})}
    async with connect(url, additional_headers=more, host="127.0.0.1", port=world.port):
        listener = world.gateway.context.realms[namespace].roster.choose("listening", "listening")
        assert listener is not None
        return listener.base


async def test_without_an_advertised_url_it_is_the_listeners_own_host(world: World) -> None:
    tenant = await tenant_of(world)
    assert await base_of(world, world.namespace, "localhost") == f"ws://localhost:{world.port}"
    assert await base_of(world, tenant, "tenant.localhost") == f"ws://tenant.localhost:{world.port}"


@pytest.mark.parametrize("advertised", ["https://relay.example", "http://relay.example:8480/"])
async def test_an_advertised_url_is_the_primary_namespaces_and_its_scheme_the_others(
    tmp_path: Path, advertised: str
) -> None:
    async with running_gateway(tmp_path, advertise=advertised) as world:
        tenant = await tenant_of(world)
        own = await base_of(world, world.namespace, "default.localhost")
        assert own == advertised.replace("http", "ws", 1).rstrip("/")
        scheme = "wss" if advertised.startswith("https") else "ws"
        assert await base_of(world, tenant, "tenant.localhost") == f"{scheme}://tenant.localhost:{world.port}"


@pytest.mark.parametrize("trusted", [(), ("127.0.0.1",)])
async def test_what_a_proxy_says_counts_if_it_is_trusted(tmp_path: Path, trusted: Any) -> None:
    async with running_gateway(tmp_path, trusted_proxies=trusted) as world:
        said = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "forged.example, relay.example:8443"}
        base = await base_of(world, world.namespace, "localhost", said)
        assert base == ("wss://relay.example:8443" if trusted else f"ws://localhost:{world.port}")
