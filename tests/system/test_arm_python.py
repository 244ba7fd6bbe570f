"""Azure's management library for Python, unmodified, makes, lists, changes and deletes everything it knows of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.mgmt.relay import RelayAPIMgmtClient
from worlds import World, running_gateway

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
TOKEN = "operator-token-of-the-test-world"
VERSIONS = ["2016-07-01", "2017-04-01", "2021-11-01", "2024-01-01", "2026-01-01"]


class Credential:
    """A token that never ends."""

    def __init__(self, token: str = TOKEN) -> None:
        self.token = token

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken(self.token, int(time.time()) + 3600)


def client_of(world: World, version: str = VERSIONS[-1], token: str = TOKEN) -> RelayAPIMgmtClient:
    return RelayAPIMgmtClient(
        Credential(token),
        SUBSCRIPTION,
        base_url=f"https://localhost:{world.tls_port}",
        connection_verify=str(world.ca),
        api_version=version,
        retry_total=0,
    )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, tls=True, arm={"operator_token": TOKEN, "page_items": 2}) as world:
        yield world


async def using(client: RelayAPIMgmtClient, work: Callable[[RelayAPIMgmtClient], None]) -> None:
    """Run what waits on the network beside the gateway."""

    def run() -> None:
        with client:
            work(client)

    await asyncio.to_thread(run)


@pytest.mark.parametrize("version", VERSIONS)
async def test_namespaces_are_made_listed_changed_and_deleted(version: str, world: World) -> None:
    def work(client: RelayAPIMgmtClient) -> None:
        for name in ("orders-eu", "orders-us", "orders-za"):
            made = client.namespaces.begin_create_or_update("shop", name, {"location": "West Europe"}).result()
            assert (made.name, made.location, made.type) == (name, "West Europe", "Microsoft.Relay/Namespaces")
            assert made.properties.provisioning_state == "Succeeded"
            assert made.properties.created_at.tzinfo is not None
        changed = client.namespaces.update("shop", "orders-eu", {"tags": {"team": "a"}})
        assert client.namespaces.get("SHOP", "Orders-EU").tags == changed.tags == {"team": "a"}
        assert [each.name for each in client.namespaces.list_by_resource_group("shop")] == [
            "orders-eu",
            "orders-us",
            "orders-za",
        ]
        assert [each.name for each in client.namespaces.list()] == ["default", "orders-eu", "orders-us", "orders-za"]
        assert client.namespaces.check_name_availability({"name": "orders-eu"}).reason == "NameInUse"
        assert client.namespaces.check_name_availability({"name": "x"}).reason == "InvalidName"
        assert client.namespaces.check_name_availability({"name": "orders-asia"}).name_available
        client.namespaces.begin_delete("shop", "orders-eu").result()
        client.namespaces.begin_delete("shop", "orders-eu").result()
        with pytest.raises(ResourceNotFoundError):
            client.namespaces.get("shop", "orders-eu")
        with pytest.raises(ResourceExistsError):
            client.namespaces.begin_create_or_update("other", "orders-us", {"location": "local"}).result()
        with pytest.raises(ResourceExistsError, match="lives as long as"):
            client.namespaces.begin_delete("default", "default").result()

    await using(client_of(world, version), work)
    assert [namespace.name for namespace in world.gateway.registry.namespaces] == ["default", "orders-us", "orders-za"]
