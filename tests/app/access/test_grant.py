"""Grants: scope by whole segments, containment of patterns, entity rules only at home."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.grant import Grant, opaque_address
from app.errors import ClaimMissing, Unauthorized
from app.namespace import Namespace, Profile, Relay, Right
from fanout.address import check_pattern

NAMESPACE = Namespace("default")


def grant(scope: str, rights: Right = Right.MANAGE, relay: Relay | None = None) -> Grant:
    return Grant(NAMESPACE, rights, relay, scope, "rule", "key", 2e9)


@pytest.mark.parametrize(
    ("scope", "relay", "address", "permitted"),
    [
        ("", "shop", "shop/eu", True),
        ("shop", "shop", "shop", True),
        ("shop", "shop", "shop/eu", True),
        ("SHOP", "shop", "shop/eu", True),
        ("shop", "Shop", "Shop/eu", True),
        ("shop", "shop-admin", "shop-admin", False),
        ("shop-admin", "shop", "shop", False),
        ("hyco", "hyco2", "hyco2", False),
        ("shop/eu", "shop", "shop/eu/7", True),
        ("shop/eu", "shop", "shop/eux", False),
        ("shop/eu", "shop", "shop", False),
        ("shop/EU", "shop", "shop/eu", False),
        ("Shop/EU", "shop", "shop/EU", True),
        ("a", "a/b/c", "a/b/c/d", True),
        ("a/b", "a/b/c", "a/b/c/d", True),
        ("A/b/C/d", "a/b/c", "a/b/c/d", True),
        ("a/b/c/D", "a/b/c", "a/b/c/d", False),
        ("a/bb", "a/b", "a/b", False),
    ],
)
def test_scope_matches_whole_segments_only(scope: str, relay: str, address: str, permitted: bool) -> None:
    """S11, W04: no prefix confusion; relay paths ignore case, what follows does not."""
    assert grant(scope).permits(Right.SEND, Relay(relay), address) is permitted


def test_suffix_ignores_case_on_the_azure_profile() -> None:
    """S11: Azure compares the whole path without case."""
    relay = Relay("hyco", Profile.HYBRID_CONNECTION)
    assert grant("HYCO/Extra").permits(Right.SEND, relay, "hyco/eXTRA/x")
    assert not grant("HYCO/Extra").permits(Right.SEND, relay, "hyco/extras")


@pytest.mark.parametrize("suffix", ["/a/../b", "/a/%2e%2E/b", "/a%2Fb", "/a\\b", "/a/./b", "/a%5cb", "/.."])
def test_suffix_that_could_move_a_boundary_is_reached_from_the_relay_only(suffix: str) -> None:
    """W04: `hyco/a` does not open `hyco/a/../b`; a token for all of `hyco` has nothing to lose."""
    relay = Relay("hyco", Profile.HYBRID_CONNECTION)
    address = opaque_address(relay, suffix)
    assert grant("hyco").permits(Right.SEND, relay, address)
    assert not grant("hyco/a").permits(Right.SEND, relay, address)


@pytest.mark.parametrize(
    ("suffix", "address"), [("", "hyco"), ("/", "hyco"), ("/a%20b/c", "hyco/a b/c"), ("/a//b", "hyco/a//b")]
)
def test_opaque_suffix_is_decoded_once_for_comparison(suffix: str, address: str) -> None:
    assert opaque_address(Relay("hyco", Profile.HYBRID_CONNECTION), suffix) == address


def test_entity_rule_is_good_on_its_own_relay_only() -> None:
    home, away = Relay("shop"), Relay("orders")
    held = grant("", Right.SEND, home)
    assert held.permits(Right.SEND, home, "shop/eu")
    assert not held.permits(Right.SEND, away, "orders/eu")
    assert not held.permits(Right.SEND, Relay("shop"), "shop/eu"), "a relay made again under that name is another"


def test_grant_without_scope_in_reach_gives_nothing() -> None:
    """S07: a token that names another place grants nothing here, and an anonymous one nothing anywhere."""
    relay = Relay("orders")
    nobody = Grant(NAMESPACE, Right.NONE, None, "", "", "", float("inf"))
    for right in (Right.LISTEN, Right.SEND, Right.MANAGE):
        assert not grant("shop").permits(right, relay, "orders")
        assert not nobody.permits(right, relay, "orders")
    with pytest.raises(Unauthorized, match="MissingToken"):
        nobody.require(Right.LISTEN, relay, "orders")
    with pytest.raises(Unauthorized, match="MissingToken"):
        nobody.require_all(Right.LISTEN, relay, check_pattern("orders/**"))


def test_manage_implies_listen_and_send_but_not_the_reverse() -> None:
    relay = Relay("orders")
    assert grant("", Right.MANAGE).permits(Right.LISTEN, relay, "orders")
    assert grant("", Right.MANAGE).permits(Right.SEND, relay, "orders")
    assert not grant("", Right.LISTEN | Right.SEND).permits(Right.MANAGE, relay, "orders")


@pytest.mark.parametrize(
    ("scope", "pattern", "covered"),
    [
        ("", "home/**", True),
        ("home", "home/**", True),
        ("home", "home/*/x", True),
        ("home/*", "home/**", False),
        ("home/*", "home/*", False),
        ("home/x", "home/*", False),
        ("home/x", "home/**", False),
        ("home/x", "home/x/**", True),
        ("home/x", "home/x/*/y", True),
        ("home/x", "home/*/x", False),
        ("hom", "home/**", False),
        ("home/x", "home/x", True),
        ("home/x", "home/xy", False),
    ],
)
def test_pattern_needs_a_grant_for_all_it_can_match(scope: str, pattern: str, covered: bool) -> None:
    """S01: a wildcard is allowed only when every address it can match is granted."""
    relay = Relay("home")
    assert grant(scope).covers(Right.LISTEN, relay, check_pattern(pattern)) is covered


def test_wildcard_that_reaches_too_far_is_403_and_a_wrong_audience_401() -> None:
    relay = Relay("home")
    with pytest.raises(ClaimMissing, match="does not cover"):
        grant("home/x").require_all(Right.LISTEN, relay, check_pattern("home/**"))
    with pytest.raises(Unauthorized, match="InvalidAudience"):
        grant("home/x").require_all(Right.LISTEN, relay, check_pattern("home/y"))
    with pytest.raises(ClaimMissing, match="'Listen' claim"):
        grant("home", Right.SEND).require_all(Right.LISTEN, relay, check_pattern("home/**"))
    grant("home", Right.LISTEN).require_all(Right.LISTEN, relay, check_pattern("home/**"))


@pytest.mark.parametrize(
    ("scope", "prefix", "meets"),
    [
        ("", "home", True),
        ("home", "home", True),
        ("home", "home/x", True),
        ("HOME/x", "home", True),
        ("home/x/y", "home", True),
        ("home/x", "home/x/y", True),
        ("home/x", "home/y", False),
        ("home/xy", "home/x", False),
        ("homes/x", "home", False),
    ],
)
def test_a_scope_meets_what_it_holds_and_what_it_lies_below(scope: str, prefix: str, meets: bool) -> None:
    relay = Relay("home")
    assert grant(scope).meets(relay, prefix) is meets
    assert not replace(grant(scope), relay=Relay("home")).meets(relay, prefix)


SEGMENTS = st.sampled_from(["a", "b", "ab", "A"])
TAILS = st.lists(SEGMENTS, max_size=3)


@given(
    scope=st.builds("/".join, st.builds(lambda t: ["home", *t], TAILS)),
    tail=st.lists(st.sampled_from(["a", "b", "ab", "A", "*"]), max_size=3),
    has_tail=st.booleans(),
    address=st.builds("/".join, st.builds(lambda t: ["home", *t], TAILS)),
)
def test_covered_pattern_matches_permitted_addresses_only(
    scope: str, tail: list[str], has_tail: bool, address: str
) -> None:
    """S01: whatever a covered pattern matches is permitted, for any scope, pattern and address."""
    relay = Relay("home")
    pattern = check_pattern("/".join(["home", *tail, *(["**"] if has_tail else [])]))
    held = grant(scope, Right.LISTEN)
    if held.covers(Right.LISTEN, relay, pattern) and pattern.matches(address):
        assert held.permits(Right.LISTEN, relay, address)


def test_repr_shows_no_key() -> None:
    assert "secret-key" not in repr(Grant(NAMESPACE, Right.SEND, None, "", "rule", "secret-key", 1.0))
