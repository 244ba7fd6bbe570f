"""The single gate: a subscription accepts what its pattern and filter match and its grant permits now."""

from __future__ import annotations

from typing import Any

from fanout.event import Event


def event(address: str, **fields: Any) -> Event:
    return Event(address, 1, "", b"", **fields)


def test_subscription_accepts_what_matches_and_is_permitted(world: Any) -> None:
    subscription = world.subscribe("shop/**")
    assert subscription.accepts(event("shop/price"), 0.0)
    assert not subscription.accepts(event("shop-admin/price"), 0.0)  # W04
    subscription.outlet.denied.add("shop/price")
    assert not subscription.accepts(event("shop/price"), 0.0)


def test_subscription_with_a_filter_accepts_only_what_passes_it(world: Any) -> None:
    subscription = world.subscribe("shop/**", filter={"prefix": {"type": "order."}})
    assert subscription.accepts(event("shop/price", type="order.created"), 0.0)
    assert not subscription.accepts(event("shop/price", type="price.changed"), 0.0)
    assert not subscription.accepts(event("shop/price"), 0.0)
    subscription.outlet.denied.add("shop/price")
    assert not subscription.accepts(event("shop/price", type="order.created"), 0.0)


def test_subscription_accepts_no_event_that_has_expired(world: Any) -> None:
    subscription = world.subscribe("shop/**")
    fleeting = event("shop/price", expires_at=10.0)
    assert subscription.accepts(fleeting, 9.9)
    assert not subscription.accepts(fleeting, 10.0)


def test_subscriptions_are_equal_only_to_themselves(world: Any) -> None:
    outlet = world.outlet()
    first, second = world.subscribe("a", outlet), world.subscribe("a", outlet)
    assert first != second
    assert len({first, second}) == 2
