"""Who may do what where, step by step and in one order."""

from __future__ import annotations

from typing import cast

import pytest
from worlds import World

from app.edge.admission import address_of, admit
from app.edge.realm import NO_TERMS
from app.errors import BadRequest, ClaimMissing, EndpointNotFound, Unauthorized
from app.namespace import Profile, Relay, Right
from app.store.settings import RelaySettings
from fanout.errors import InvalidAddress


async def test_a_bad_token_learns_nothing_about_what_exists(world: World) -> None:
    """Authenticate, then look for the relay, then for the right."""
    context = world.gateway.context
    realm = context.realms[world.namespace]
    sender = world.token("ruled", rule="sender", key="sender-key")
    steps: list[tuple[str, str | None, type[Exception]]] = [
        ("nowhere", None, Unauthorized),
        ("nowhere", "nonsense", Unauthorized),
        ("nowhere", world.token(), EndpointNotFound),
        ("hyco", world.token("shop"), Unauthorized),
        ("hyco", sender, Unauthorized),
        ("ruled", sender, ClaimMissing),
        ("", world.token(), BadRequest),
    ]
    for path, token, error in steps:
        with pytest.raises(error):
            admit(context, realm, Right.LISTEN, path, token)
    relay, address, grant = admit(context, realm, Right.SEND, "ruled/x", sender)
    assert (relay.name, address, grant.rule) == ("ruled", "ruled/x", "sender")


async def test_an_open_relay_admits_senders_without_a_look_at_their_token(world: World) -> None:
    context = world.gateway.context
    realm = context.realms[world.namespace]
    assert admit(context, realm, Right.SEND, "open/x", "nonsense")[2].is_anonymous
    with pytest.raises(Unauthorized):
        admit(context, realm, Right.LISTEN, "open/x", "nonsense")


def test_a_native_address_is_canonical_and_never_repaired() -> None:
    relay = Relay("Shop")
    assert address_of(relay, "shop/De%73k/") == "Shop/Desk"
    for path in ("shop//x", "shop/../x", "shop/%2e%2e", "shop/a%2fb", "shop/%00", "shop/%ff", "shop/*"):
        with pytest.raises(InvalidAddress):
            address_of(relay, path)


def test_an_azure_suffix_is_opaque_but_moves_no_border() -> None:
    """W04: what could leave a token's scope once decoded is in no scope."""
    relay = Relay("a/b", Profile.HYBRID_CONNECTION)
    assert address_of(relay, "A/B") == "a/b"
    assert address_of(relay, "a/b/x%20y") == "a/b/x y"
    for path in ("a/b/c/../d", "a/b/c%2fd", "a/b/%2e%2e", "a/b/c%5cd"):
        assert "\0" in address_of(relay, path)


async def test_a_dynamic_relay_begins_only_where_it_is_asked_for(world: World) -> None:
    context = world.gateway.context
    realm = context.realms[world.namespace]
    with pytest.raises(Unauthorized):
        admit(context, realm, Right.LISTEN, "fresh", world.token("other"), opens_dynamic=NO_TERMS)
    assert realm.find("fresh") is None
    relay, address, _ = admit(context, realm, Right.LISTEN, "fresh/x", world.token(), opens_dynamic=NO_TERMS)
    assert (relay.name, relay.is_dynamic, address) == ("fresh", True, "fresh/x")
    for path in ("gr%C3%BC%C3%9F", "a~b@c", "$x", "-"):
        with pytest.raises((BadRequest, InvalidAddress)):
            admit(context, realm, Right.LISTEN, path, world.token(), opens_dynamic=NO_TERMS)
    assert cast(object, realm.find("grüß")) is None


async def test_what_was_admitted_once_is_asked_again_when_anything_provisioned_changes(world: World) -> None:
    """S21."""
    registry, namespace = world.gateway.registry, world.namespace
    await world.listen("open")
    await world.listen("hyco")
    token = world.auth()
    assert (await world.client.get("/open")).status_code == 200
    assert (await world.client.get("/hyco", headers=token)).status_code == 200
    await registry.put_relay(namespace, "open", RelaySettings(Profile.HYBRID_CONNECTION))
    assert (await world.client.get("/open")).status_code == 401
    await registry.rotate_key(namespace, None, "RootManageSharedAccessKey", "primary")
    assert (await world.client.get("/hyco", headers=token)).status_code == 401


async def test_what_was_admitted_once_ends_with_its_token(world: World) -> None:
    await world.listen("hyco", headers=world.auth(seconds=100_000))
    token = world.auth()
    assert (await world.client.get("/hyco", headers=token)).status_code == 200
    world.clock.offset = 3600 + 301
    assert (await world.client.get("/hyco", headers=token)).status_code == 401


async def test_only_so_many_calls_are_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.edge.realm.ADMITTED_CALLS", 3)
    for number in range(10):
        assert (await world.client.get(f"/hyco/{number}", headers=world.auth())).status_code == 404
    assert len(world.gateway.context.realms[world.namespace].admitted) <= 3


async def test_what_anybody_can_make_as_large_as_he_likes_is_not_remembered(world: World) -> None:
    """On an open relay nobody looks at the token: thousands of them would be kept for nothing."""
    context = world.gateway.context
    realm = context.realms[world.namespace]
    for path, token in (("open/" + "x" * 10_000, None), ("open/y", "x" * 10_000)):
        assert admit(context, realm, Right.SEND, path, token)[2].is_anonymous
    assert not realm.admitted
    admit(context, realm, Right.SEND, "open/" + "x" * 1000, "x" * 3000)
    assert len(realm.admitted) == 1
