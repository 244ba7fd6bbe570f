"""Grants with limits: patterns for each part of a right, and several limits, each of which narrows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.addresses import allowances_of
from app.access.grant import Allowance, Bearer, Grant, Limit, opaque_address
from app.errors import ClaimMissing
from app.namespace import Namespace, Profile, Relay, Right
from fanout.address import check_pattern

NAMESPACE = Namespace("default")


def grant(*limits: Limit) -> Grant:
    rights = Right.NONE
    for allowance in limits[0]:
        rights |= allowance.rights
    return Grant(NAMESPACE, rights, None, "", "", "", 2e9, limits, Bearer("somebody"))


def listing(**actions: list[str]) -> Grant:
    return grant(allowances_of(actions))


@pytest.mark.parametrize(
    ("pattern", "relay", "address", "is_permitted"),
    [
        ("shop/eu", Relay("shop"), "shop/eu", True),
        ("shop/eu", Relay("shop"), "shop/eu/7", False),
        ("shop/*", Relay("shop"), "shop/eu", True),
        ("shop/*", Relay("shop"), "shop", False),
        ("shop/**", Relay("shop"), "shop", True),
        ("shop/**", Relay("shop"), "shop-admin", False),
        ("shop/**", Relay("shop/eu"), "shop/eu/7", True),
        ("SHOP/eu", Relay("shop"), "shop/eu", True),
        ("shop/eu", Relay("Shop"), "Shop/eu", True),
        ("shop/EU", Relay("shop"), "shop/eu", False),
        ("a/B/*", Relay("a/b"), "a/b/c", True),
        ("a/b/C", Relay("a/b"), "a/b/c", False),
        ("hyco/EU/*", Relay("hyco", Profile.HYBRID_CONNECTION), "hyco/eu/7", True),
        ("-/sys/**", Relay("shop"), "shop/eu", False),
    ],
)
def test_a_listed_pattern_permits_what_it_matches(pattern: str, relay: Relay, address: str, is_permitted: bool) -> None:
    """W04, S11: relay paths ignore case, what follows does not, but on Azure's profiles."""
    held = grant((Allowance(Right.MANAGE, check_pattern(pattern, allow_system=True)),))
    assert held.permits(Right.ASK, relay, address) is is_permitted


def test_each_action_is_its_own() -> None:
    relay = Relay("shop")
    for action, rights in {
        "subscribe": Right.SUBSCRIBE,
        "publish": Right.PUBLISH,
        "listen": Right.ACCEPT,
        "ask": Right.ASK,
        "open": Right.OPEN,
        "send": Right.SEND,
        "manage": Right.MANAGE,
    }.items():
        held = listing(**{action: ["shop/**"]})
        assert {right for right in Right.MANAGE if held.permits(right, relay, "shop/a")} == set(rights)


def test_a_whole_right_needs_all_its_parts_in_one_pattern() -> None:
    held = listing(subscribe=["shop/a"], listen=["shop/b"], publish=["shop/a"])
    for address in ("shop/a", "shop/b"):
        assert not held.permits(Right.LISTEN, Relay("shop"), address)
        assert not held.permits(Right.SEND, Relay("shop"), address)


def test_each_limit_narrows() -> None:
    relay = Relay("shop")
    wide, narrow = allowances_of({"send": ["shop/**"]}), allowances_of({"publish": ["shop/a/**", "orders/**"]})
    held = grant(wide, narrow)
    assert held.permits(Right.PUBLISH, relay, "shop/a/b")
    assert not held.permits(Right.PUBLISH, relay, "shop/b")
    assert not held.permits(Right.ASK, relay, "shop/a/b")
    assert not held.permits(Right.PUBLISH, Relay("orders"), "orders/a")
    assert held.covers(Right.PUBLISH, relay, check_pattern("shop/a/*"))
    assert not held.covers(Right.PUBLISH, relay, check_pattern("shop/*"))
    with pytest.raises(ClaimMissing):
        held.require_right(Right.ASK)


def test_whole_relays_and_namespaces() -> None:
    relay = Relay("shop")
    assert listing(publish=["shop/**"]).permits_all(Right.PUBLISH, relay)
    assert not listing(publish=["shop/*", "shop"]).permits_all(Right.PUBLISH, relay)
    assert not listing(manage=["shop/**"]).permits_everywhere(Right.MANAGE)
    everywhere = (Allowance(Right.MANAGE, None),)
    assert grant(everywhere).permits_everywhere(Right.MANAGE)
    assert not grant(everywhere, allowances_of({"manage": ["shop/**"]})).permits_everywhere(Right.MANAGE)
    assert grant(everywhere).permits_all(Right.SEND, relay)


def test_a_suffix_in_which_borders_could_move_is_permitted_to_who_has_the_whole_relay_only() -> None:
    relay = Relay("hyco", Profile.HYBRID_CONNECTION)
    for suffix in ("/a/../b", "/a%2Fb", "/..%5c..", "/./x"):
        address = opaque_address(relay, suffix)
        assert listing(ask=["hyco/**"]).permits(Right.ASK, relay, address)
        for narrow in ("hyco/*", "hyco/a/**", "hyco/*/b", "hyco/a"):
            assert not listing(ask=[narrow]).permits(Right.ASK, relay, address)


def test_grants_of_one_reach_let_the_same_through() -> None:
    """S22: what is compared is structure, nothing joined."""
    one, two = listing(publish=["shop/a", "shop/b"]), listing(publish=["shop/a", "shop/b"])
    assert one.reach == two.reach
    assert hash(one.reach) == hash(two.reach)
    assert one.reach != listing(publish=["shop/a"], subscribe=["shop/b"]).reach
    assert one.reach != grant(one.limits[0], one.limits[0]).reach


SEGMENTS = ["a", "b", "ab", "A"]
PATTERNS = st.builds(
    lambda middle, tail: "/".join(["home", *middle, *tail]),
    st.lists(st.sampled_from([*SEGMENTS, "*"]), max_size=3),
    st.sampled_from([[], ["**"]]),
)
ADDRESSES = st.builds(lambda tail: "/".join(["home", *tail]), st.lists(st.sampled_from(SEGMENTS), max_size=4))


@given(
    held=st.lists(PATTERNS, max_size=3),
    wanted=PATTERNS,
    address=ADDRESSES,
    profile=st.sampled_from([Profile.NATIVE, Profile.HYBRID_CONNECTION]),
)
def test_whatever_a_covered_pattern_matches_is_permitted(
    held: list[str], wanted: str, address: str, profile: Profile
) -> None:
    """S01: for any patterns listed, any asked for, any address."""
    relay, pattern = Relay("home", profile), check_pattern(wanted)
    bearer = listing(subscribe=held)
    if bearer.covers(Right.SUBSCRIBE, relay, pattern) and pattern.matches(address):
        assert bearer.permits(Right.SUBSCRIBE, relay, address)
    if profile is Profile.NATIVE:
        expected = any(check_pattern(each).matches(address) for each in held)
        assert bearer.permits(Right.SUBSCRIBE, relay, address) is expected


def test_a_relay_whose_name_is_as_long_as_an_address_may_be_is_permitted_whole() -> None:
    relay = Relay("/".join(["a" * 127] * 4))
    assert len(relay.name) == 511
    assert grant((Allowance(Right.MANAGE, None),)).permits_all(Right.SEND, relay)
