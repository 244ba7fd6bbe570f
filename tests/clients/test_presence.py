"""The set of who is there, as an application keeps it by the SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from subscribers import socket
from worlds import KEY, KEY_NAME, World

import fanway


@pytest.fixture
async def relay(world: World) -> AsyncIterator[fanway.Relay]:
    async with fanway.connect(world.url, key_name=KEY_NAME, key=KEY) as opened:
        yield opened


async def change(presence: Any) -> Any:
    async with asyncio.timeout(10):
        return await anext(presence)


async def test_an_application_knows_who_is_there(world: World, relay: fanway.Relay) -> None:
    await world.listen("shop/price")
    async with socket(world, "orders/**"), relay.presence() as presence:
        assert (await change(presence))["count"] == 2
        places = {member.get("pattern") or member["address"] for member in presence.members.values()}
        assert places == {"orders/**", "shop/price"}
        async with socket(world, "orders/eu"):
            joined = await change(presence)
            assert (joined["state"], joined["pattern"]) == ("joined", "orders/eu")
            assert joined["id"] in presence.members
        left = await change(presence)
        assert (left["state"], left["id"], len(presence.members)) == ("left", joined["id"], 2)


async def test_it_can_be_narrowed_to_a_place(world: World, relay: fanway.Relay) -> None:
    async with socket(world, "orders/eu"), socket(world, "shop/**"), relay.presence("orders/**") as presence:
        assert (await change(presence))["count"] == 1
        [member] = presence.members.values()
        assert member["pattern"] == "orders/eu"


async def test_an_interruption_is_made_good(world: World, relay: fanway.Relay) -> None:
    async with socket(world, "orders/eu"), relay.presence("orders/**") as presence:
        await change(presence)
        realm = world.gateway.context.realms[world.namespace]
        realm.presence._told_after = realm.history(realm.system).head + 1  # as if it had not been told for a while
        assert relay._session._channel is not None
        relay._session._channel.transport.abort()
        async with socket(world, "orders/us"):
            while (await change(presence))["state"] != "complete" or len(presence.members) != 2:
                pass
        assert {member["pattern"] for member in presence.members.values()} == {"orders/eu", "orders/us"}
