"""Tokens, rights and origins at the events door."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from worlds import World

from app.edge.feeds.callers import check_origin, cors_headers, may_publish, may_subscribe, preflight_headers, token_of
from app.errors import AccessError, BadRequest, ClaimMissing, EndpointNotFound, Unauthorized
from app.wire.http import Head
from fanout.address import check_pattern


def head(*headers: tuple[str, str], query: str = "") -> Head:
    return Head("GET", f"/-/events/a?{query}", "1.1", list(headers))


def context(*origins: str) -> Any:
    return SimpleNamespace(settings=SimpleNamespace(cors_origins=origins))


@pytest.mark.parametrize(
    ("headers", "query", "token"),
    [
        ([], "", None),
        ([("ServiceBusAuthorization", "T")], "", "T"),
        ([("authorization", " T ")], "", "T"),
        ([], "sb-hc-token=a%20b%2Bc", "a b+c"),
        ([], "SB-HC-Token=T&x=1", "T"),
        ([("Authorization", "T"), ("ServiceBusAuthorization", "T")], "sb-hc-token=T", "T"),
        ([("Authorization", "")], "sb-hc-token=T", "T"),
    ],
)
def test_a_token_is_found_wherever_it_stands(headers: list[tuple[str, str]], query: str, token: str | None) -> None:
    assert token_of(head(*headers, query=query)) == token


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([("Authorization", "A"), ("ServiceBusAuthorization", "B")], ""),
        ([("Authorization", "A"), ("Authorization", "B")], ""),
        ([("Authorization", "A")], "sb-hc-token=B"),
        ([], "sb-hc-token=A&sb-hc-token=B"),
    ],
)
def test_tokens_that_disagree_are_refused(headers: list[tuple[str, str]], query: str) -> None:
    """S17."""
    with pytest.raises(BadRequest, match="two different tokens"):
        token_of(head(*headers, query=query))


def test_any_origin_may_read_by_default() -> None:
    assert ("Access-Control-Allow-Origin", "*") in cors_headers(context("*"), head(("Origin", "https://a.example")))
    assert cors_headers(context("*"), head()) == []


def test_listed_origins_may_read_and_others_not() -> None:
    listed = context("https://a.example")
    assert ("Access-Control-Allow-Origin", "https://a.example") in cors_headers(
        listed, head(("Origin", "https://a.example"))
    )
    assert ("Vary", "Origin") in cors_headers(listed, head(("Origin", "https://a.example")))
    assert cors_headers(listed, head(("Origin", "https://b.example"))) == []
    assert preflight_headers(listed, head(("Origin", "https://b.example"))) == [("Allow", "GET, POST, OPTIONS")]
    with pytest.raises(AccessError):
        check_origin(listed, head(("Origin", "https://b.example")))
    check_origin(listed, head())


async def test_rights_are_asked_for_the_canonical_address(world: World) -> None:
    realm = world.gateway.context.realms[world.namespace]
    authorizer = world.gateway.context.authorizer
    grant = authorizer.authorize(world.token("Orders/eu"), world.namespace, realm.find("orders"))
    relay, address = may_publish(realm, grant, "ORDERS/eu/7", is_secure=True)
    assert (relay.name, address) == ("orders", "orders/eu/7")
    assert may_subscribe(realm, grant, check_pattern("ORDERS/eu/**"))[1].text == "orders/eu/**"
    with pytest.raises(Unauthorized):
        may_publish(realm, grant, "orders/EU/7", is_secure=True)
    with pytest.raises(ClaimMissing):
        may_subscribe(realm, grant, check_pattern("orders/**"))
    with pytest.raises(ClaimMissing):
        may_publish(realm, grant, "-/sys/x", is_secure=True)


async def test_nobody_without_a_token_learns_what_exists(world: World) -> None:
    realm = world.gateway.context.realms[world.namespace]
    nobody = world.gateway.context.authorizer.anonymous(world.namespace)
    for address in ("orders/a", "unknown/a", "-/sys"):
        with pytest.raises(Unauthorized):
            may_publish(realm, nobody, address, is_secure=True)
        with pytest.raises(Unauthorized):
            may_subscribe(realm, nobody, check_pattern(address, allow_system=True))


async def test_where_relays_are_provisioned_only_others_do_not_exist(tmp_path: Any) -> None:
    from worlds import running_gateway

    async with running_gateway(tmp_path, dynamic_relays=False) as world:
        realm = world.gateway.context.realms[world.namespace]
        grant = world.gateway.context.authorizer.authorize(world.token(), world.namespace, None)
        with pytest.raises(EndpointNotFound):
            may_publish(realm, grant, "unknown/a", is_secure=True)
        with pytest.raises(EndpointNotFound):
            may_subscribe(realm, grant, check_pattern("unknown/**"))
