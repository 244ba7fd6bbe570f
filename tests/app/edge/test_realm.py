"""A namespace at work: dynamic relays and histories."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect
from wires import until
from worlds import World

from app.edge.feeds.sockets import EventSocket
from app.edge.realm import LINGER_SECONDS, Realm
from app.errors import EndpointNotFound, Unauthorized
from app.namespace import Namespace, Right
from app.store.settings import RelaySettings
from fanout.tick import Tick


def realm_of(world: World) -> Realm:
    return world.gateway.context.realms[world.namespace]


async def test_a_dynamic_relay_lingers_after_its_last_use(world: World) -> None:
    realm = realm_of(world)
    grant = world.gateway.authorizer.authorize(world.token(), world.namespace, None)
    relay = realm.find_or_open("fresh/x", grant, Right.LISTEN)
    assert realm.find_or_open("FRESH/y", grant, Right.LISTEN) is relay
    world.clock.offset = LINGER_SECONDS - 10
    realm.sweep()
    assert realm.find("fresh") is relay
    realm.touch(relay)
    world.clock.offset += LINGER_SECONDS - 10
    realm.sweep()
    assert realm.find("fresh") is relay
    world.clock.offset += 20
    realm.sweep()
    assert realm.find("fresh") is None


async def test_a_dynamic_relay_stays_while_somebody_listens_or_talks(world: World) -> None:
    listener = await world.listen("fresh")
    realm = realm_of(world)
    for _ in range(3):
        world.clock.offset += LINGER_SECONDS + 1
        realm.sweep()
    assert realm.find("fresh") is not None
    async with world.connect("fresh") as socket:
        await listener.socket.close()
        world.clock.offset += LINGER_SECONDS + 1
        realm.sweep()
        await socket.send("still here")
        assert await socket.recv() == "still here"
    await until(lambda: not world.gateway.context.lives)
    world.clock.offset += LINGER_SECONDS + 1
    realm.sweep()
    assert realm.find("fresh") is None


async def test_a_publisher_keeps_its_dynamic_relay_by_staying(world: World) -> None:
    realm = realm_of(world)
    async with connect(f"{world.ws}/-/events/fresh/x?mode=publish", additional_headers=world.auth()):
        await until(lambda: bool(world.gateway.context.lives))
        (publisher,) = world.gateway.context.lives
        assert isinstance(publisher, EventSocket)
        for _ in range(3):
            world.clock.offset += LINGER_SECONDS - 1
            publisher.on_heartbeat()
            realm.sweep()
        assert realm.find("fresh") is not None


async def test_what_leaves_a_removed_relay_does_not_bring_it_to_mind_again(world: World) -> None:
    realm = realm_of(world)
    listener = await world.listen("fresh")
    relay = realm.find("fresh")
    assert relay is not None
    await world.gateway.registry.delete_relay(world.namespace, relay)
    assert (await listener.closed())[0] == 1001
    assert not realm._used_at


async def test_a_silent_relay_forgets_its_events_in_time(world: World) -> None:
    realm = realm_of(world)
    relay = realm.find("orders")
    assert relay is not None
    await world.client.post("/-/events/orders/eu", content=b"old", headers=world.auth())
    assert len(realm.history(relay)) == 1
    world.clock.offset += relay.history.seconds + 1
    realm.sweep()
    assert len(realm.history(relay)) == 0
    assert realm.history(relay).head == 1


async def test_a_provisioned_relay_never_goes_by_itself(world: World) -> None:
    realm = realm_of(world)
    for relay in list(world.namespace.relays.values()):
        realm.touch(relay)
    world.clock.offset = 10 * LINGER_SECONDS
    realm.sweep()
    assert realm.find("hyco") is not None


async def test_a_dynamic_relay_needs_a_grant_and_a_realm_that_allows_it(world: World) -> None:
    realm = realm_of(world)
    authorize = world.gateway.authorizer.authorize
    with pytest.raises(Unauthorized):
        realm.find_or_open("fresh", authorize(world.token("other"), world.namespace, None), Right.LISTEN)
    registry = world.gateway.registry
    strict = Realm(
        Namespace("strict"),
        Tick(lambda callback: None),
        world.clock,
        registry,
        realm.appender,
        realm.delayed,
        is_open=False,
    )
    with pytest.raises(EndpointNotFound):
        strict.find_or_open("fresh", authorize(world.token(), world.namespace, None), Right.LISTEN)
    strict.sweep()


async def test_a_history_belongs_to_one_life_of_a_relay(world: World) -> None:
    """R04: recreated, it has another epoch, so that old cursors show a gap."""
    realm, registry = realm_of(world), world.gateway.registry
    relay = realm.find("orders")
    assert relay is not None
    history = realm.history(relay)
    assert realm.history(relay) is history
    await registry.delete_relay(world.namespace, relay)
    again = await registry.put_relay(world.namespace, "orders", RelaySettings())
    assert realm.history(again).epoch != history.epoch


async def test_what_rests_on_an_address_that_another_relay_takes_over_is_sent_away_to_come_back(world: World) -> None:
    listener = await world.listen("shop/eu/price")
    elsewhere = await world.listen("shop/us")
    token = quote(world.token())
    async with connect(f"{world.ws}/-/events/shop/eu/**?sb-hc-token={token}") as subscriber:
        await world.gateway.registry.put_relay(world.namespace, "shop/eu", RelaySettings())
        assert (await listener.closed())[0] == 1012
        async with asyncio.timeout(10):
            await subscriber.wait_closed()
        assert subscriber.close_code == 1012
    assert (await world.client.get("/shop/us", headers=world.auth())).status_code == 200
    assert len(elsewhere.requests) == 1
