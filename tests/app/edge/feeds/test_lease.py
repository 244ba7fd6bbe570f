"""Leases: they tell once, and for the right reason."""

from __future__ import annotations

import pytest
from worlds import World

from app.closes import ENTITY_GONE, KEY_REVOKED, TOKEN_EXPIRED, Close
from app.edge.feeds.lease import Lease


@pytest.fixture
def told() -> list[Close]:
    return []


def lease_of(world: World, told: list[Close], *, seconds: float = 60, relay: str | None = "orders") -> Lease:
    context = world.gateway.context
    held = world.namespace.relays[relay] if relay else None
    grant = context.authorizer.authorize(world.token(seconds=seconds), world.namespace, held)
    return Lease(context, context.realms[world.namespace], held, grant, told.append)


async def test_a_lease_stands_as_long_as_nothing_changes(world: World, told: list[Close]) -> None:
    lease = lease_of(world, told)
    lease.review()
    world.clock.offset += 359  # within the grace
    lease.review()
    assert told == []
    lease.release()


async def test_a_lease_ends_with_its_time(world: World, told: list[Close]) -> None:
    lease = lease_of(world, told)
    world.clock.offset += 361
    lease.review()
    assert told == [TOKEN_EXPIRED]


async def test_a_lease_ends_with_its_key(world: World, told: list[Close]) -> None:
    lease = lease_of(world, told, relay=None)
    world.namespace.rules.clear()
    lease.review()
    assert told == [KEY_REVOKED]


async def test_a_lease_ends_with_its_relay(world: World, told: list[Close]) -> None:
    lease = lease_of(world, told)
    del world.namespace.relays["orders"]
    lease.review()
    assert told == [ENTITY_GONE]


async def test_a_renewed_lease_has_the_new_time(world: World, told: list[Close]) -> None:
    lease = lease_of(world, told)
    lease.renew(world.gateway.context.authorizer.authorize(world.token(seconds=7200), world.namespace, lease.relay))
    world.clock.offset += 3600
    lease.review()
    assert told == []
    lease.release()


async def test_a_lease_without_a_token_has_no_end_of_its_own(world: World, told: list[Close]) -> None:
    context, relay = world.gateway.context, world.namespace.relays["open"]
    anonymous = context.authorizer.anonymous(world.namespace)
    lease = Lease(context, context.realms[world.namespace], relay, anonymous, told.append)
    world.clock.offset += 10**9
    lease.review()
    assert told == []
    relay.requires_client_authorization = True
    lease.review()
    assert told == [KEY_REVOKED]
