"""The single gate: a subscription accepts what its pattern matches and its grant permits now."""

from __future__ import annotations

from typing import Any


def test_subscription_accepts_what_matches_and_is_permitted(world: Any) -> None:
    subscription = world.subscribe("shop/**")
    assert subscription.accepts("shop/price")
    assert not subscription.accepts("shop-admin/price")  # W04
    subscription.outlet.denied.add("shop/price")
    assert not subscription.accepts("shop/price")


def test_subscriptions_are_equal_only_to_themselves(world: Any) -> None:
    outlet = world.outlet()
    first, second = world.subscribe("a", outlet), world.subscribe("a", outlet)
    assert first != second
    assert len({first, second}) == 2
