"""The single gate: a subscription accepts what its pattern and filter match and its grant permits now."""

from __future__ import annotations

from typing import Any

from fanout.event import Event


def event(address: str, type: str | None = None) -> Event:
    return Event(address, 1, "", b"", type=type)


def test_subscription_accepts_what_matches_and_is_permitted(world: Any) -> None:
    subscription = world.subscribe("shop/**")
    assert subscription.accepts(event("shop/price"))
    assert not subscription.accepts(event("shop-admin/price"))  # W04
    subscription.outlet.denied.add("shop/price")
    assert not subscription.accepts(event("shop/price"))


def test_subscription_with_a_filter_accepts_only_what_passes_it(world: Any) -> None:
    subscription = world.subscribe("shop/**", filter={"prefix": {"type": "order."}})
    assert subscription.accepts(event("shop/price", "order.created"))
    assert not subscription.accepts(event("shop/price", "price.changed"))
    assert not subscription.accepts(event("shop/price"))
    subscription.outlet.denied.add("shop/price")
    assert not subscription.accepts(event("shop/price", "order.created"))


def test_subscriptions_are_equal_only_to_themselves(world: Any) -> None:
    outlet = world.outlet()
    first, second = world.subscribe("a", outlet), world.subscribe("a", outlet)
    assert first != second
    assert len({first, second}) == 2
