"""Azure's management beside the rest of a whole gateway: what is its own, and what stays somebody else's."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from worlds import KEY_NAME, World, running_gateway

from app.access.sas import make_token
from app.config import ConfigurationError, load_settings

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
NAMESPACES = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Relay/namespaces"
HERE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/default/providers/Microsoft.Relay/namespaces/default"
TOKEN = "operator-token-of-the-test-world"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
VERSION = {"api-version": "2026-01-01"}
APPLICATION: list[dict[str, Any]] = [{"name": "subscriptions", "profile": "hybridConnection"}, {"name": "providers"}]


def gateway(folder: Path, **arm: Any) -> Any:
    return running_gateway(folder, relays=APPLICATION, arm={"operator_token": TOKEN, **arm})


async def relayed(world: World, path: str, **params: str) -> httpx.Response:
    return await world.client.get(path, params=params, headers=world.auth())


async def test_only_the_whole_shape_with_a_version_is_managements(tmp_path: Path) -> None:
    """An application may have paths of the same beginning."""
    async with gateway(tmp_path) as world:
        await world.listen("subscriptions")
        for path, params in (
            (NAMESPACES, {}),
            (NAMESPACES, {"version": "2026-01-01"}),
            (f"{NAMESPACES}/", VERSION),
            (f"{HERE}/topics", VERSION),
            ("/subscriptions/7", VERSION),
        ):
            answer = await relayed(world, path, **params)
            assert (answer.status_code, "via" in answer.headers) == (200, True), path
        managed = await relayed(world, NAMESPACES, **VERSION)
        assert (managed.status_code, managed.json()["error"]["code"]) == (401, "AuthenticationFailed")
        assert (await world.client.get(NAMESPACES, params=VERSION, headers=BEARER)).status_code == 200


async def test_it_can_be_turned_off(tmp_path: Path) -> None:
    async with gateway(tmp_path, enabled=False) as world:
        await world.listen("subscriptions")
        answer = await relayed(world, NAMESPACES, **VERSION)
        assert (answer.status_code, "via" in answer.headers) == (200, True)


async def test_a_host_of_one_address_is_its_applications_alone(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world:
        await world.gateway.registry.put_alias(world.namespace, "app.example", "subscriptions")
        await world.listen("subscriptions")
        headers = world.auth() | {"Host": "app.example"}
        answer = await world.client.get("/providers/Microsoft.Relay/operations", params=VERSION, headers=headers)
        assert (answer.status_code, "via" in answer.headers) == (200, True)


async def test_no_network_rule_locks_the_operator_out(tmp_path: Path) -> None:
    async with gateway(tmp_path) as world:
        rules = f"{HERE}/networkRuleSets/default"
        for properties in ({"defaultAction": "Deny"}, {"publicNetworkAccess": "Disabled"}):
            body = {"properties": properties}
            put = await world.client.put(rules, params=VERSION, headers=BEARER, json=body)
            assert put.status_code == 200
            assert (await world.client.get(rules, params=VERSION, headers=BEARER)).status_code == 200
        closed = {"properties": {"defaultAction": "Deny", "publicNetworkAccess": "Enabled"}}
        await world.client.put(rules, params=VERSION, headers=BEARER, json=closed)
        assert (await relayed(world, "/subscriptions")).status_code == 401


async def test_links_and_strings_are_as_the_client_came_by_a_proxy(tmp_path: Path) -> None:
    """S23: X-Forwarded-* counts from a trusted proxy, and from nobody else."""
    forwarded = BEARER | {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "relay.example.com"}
    keys = f"{HERE}/authorizationRules/RootManageSharedAccessKey/listKeys"
    for trusted, link, endpoint in (
        (("127.0.0.1",), "https://relay.example.com/", "Endpoint=sb://relay.example.com:443/;"),
        ((), "http://127.0.0.1:", "Endpoint=http://127.0.0.1:"),
    ):
        arm = {"operator_token": TOKEN, "page_items": 1}
        async with running_gateway(tmp_path / link[:5], relays=[], arm=arm, trusted_proxies=trusted) as world:
            made = {"properties": {"rights": ["Send"]}}
            await world.client.put(f"{HERE}/authorizationRules/a", params=VERSION, headers=BEARER, json=made)
            listed = await world.client.get(f"{HERE}/authorizationRules", params=VERSION, headers=forwarded)
            assert listed.json()["nextLink"].startswith(f"{link}" if trusted else world.url)
            answer = await world.client.post(keys, params=VERSION, headers=forwarded)
            assert answer.json()["primaryConnectionString"].startswith(endpoint)


async def test_the_token_of_the_data_folder_opens_it_after_every_start(tmp_path: Path) -> None:
    for _ in range(2):
        async with running_gateway(tmp_path, relays=[]) as world:
            token = (tmp_path / "data" / "operator.token").read_text().strip()
            assert len(token) >= 43
            headers = {"Authorization": f"Bearer {token}"}
            assert (await world.client.get(NAMESPACES, params=VERSION, headers=headers)).status_code == 200
            assert token not in repr(world.gateway.settings)


async def test_what_lives_in_a_namespace_ends_with_it(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, relays=[], arm={"operator_token": TOKEN}) as world:
        made = HERE.removesuffix("default") + "orders-eu"
        await world.client.put(made, params=VERSION, headers=BEARER, json={"location": "local"})
        await world.client.put(f"{made}/hybridConnections/hyco", params=VERSION, headers=BEARER, json={})
        keys = await world.client.post(
            f"{made}/authorizationRules/RootManageSharedAccessKey/listKeys", params=VERSION, headers=BEARER
        )
        token = make_token("http://orders-eu.localhost/", KEY_NAME, keys.json()["primaryKey"], int(world.clock()) + 60)
        url = f"ws://orders-eu.localhost:{world.port}/$hc/hyco?sb-hc-action=listen"
        async with connect(url, host="127.0.0.1", additional_headers={"ServiceBusAuthorization": token}) as listener:
            found = await world.client.get(f"{made}/hybridConnections/hyco", params=VERSION, headers=BEARER)
            assert found.json()["properties"]["listenerCount"] == 1
            assert (await world.client.delete(made, params=VERSION, headers=BEARER)).status_code == 200
            async with asyncio.timeout(10):
                await listener.wait_closed()
            assert listener.close_code == 1001
        assert (await world.client.get(made, params=VERSION, headers=BEARER)).status_code == 404


@pytest.mark.parametrize("given", ["short", ""])
def test_a_short_operators_token_is_no_setting(given: str) -> None:
    with pytest.raises(ConfigurationError, match=r"arm\.operator_token"):
        load_settings({"arm": {"operator_token": given}})
