"""Authorization: the order of checks, the cache and its end, tokens in two places."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.access import authorize, sas
from app.access.authorize import CACHE_SIZE, Authorizer, one_token
from app.access.keyring import new_rule, rotated
from app.access.sas import make_token
from app.errors import BadRequest, ClaimMissing, TokenExpired, Unauthorized
from app.namespace import Namespace, Relay, Right

ROOT = "rootmanagesharedaccesskey"


def root_token(namespace: Namespace, path: str = "", life: float = 60, now: float = 1700000000, **over: str) -> str:
    rule = namespace.rules[ROOT]
    key = over.get("key", rule.primary_key)
    return make_token(f"http://{namespace.name}/{path}", rule.name, key, now + life)


def test_bad_token_on_unknown_entity_is_401_and_a_good_one_passes(authorizer: Authorizer, namespace: Namespace) -> None:
    """P02: who has no good token does not learn what exists; with one, the caller goes on to say 404."""
    assert namespace.find("nowhere") is None
    with pytest.raises(Unauthorized):
        authorizer.authorize(root_token(namespace, key="wrong"), namespace, None)
    assert authorizer.authorize(root_token(namespace), namespace, None).rights is Right.MANAGE


def test_status_is_401_403_or_granted(authorizer: Authorizer, namespace: Namespace) -> None:
    """P02: missing, badly signed, expired are 401; Send only is 403 for listening."""
    relay = namespace.find("hyco")
    assert relay is not None
    rule = relay.rules["sendonly"]
    uri = f"http://{namespace.name}/hyco"
    statuses = []
    for token in (
        None,
        make_token(uri, rule.name, "wrong", 1700000060),
        make_token(uri, rule.name, rule.primary_key, 1699999000),
        make_token(uri, rule.name, rule.primary_key, 1700000060),
    ):
        with pytest.raises((Unauthorized, ClaimMissing)) as refused:
            authorizer.authorize(token, namespace, relay).require(Right.LISTEN, relay, "hyco")
        statuses.append(refused.value.status)
        assert rule.primary_key not in str(refused.value)
    assert statuses == [401, 401, 401, 403]


def test_token_is_verified_once(authorizer: Authorizer, namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    token, relay = root_token(namespace), namespace.find("shop")
    grant = authorizer.authorize(token, namespace, relay)
    monkeypatch.setattr(sas, "_mac", lambda *_: pytest.fail("verified twice"))
    assert authorizer.authorize(token, namespace, relay) is grant


def test_a_token_of_the_namespace_is_verified_once_for_all_relays_but_those_with_a_rule_of_its_name(
    authorizer: Authorizer, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = root_token(namespace)
    rule = authorizer.authorize(token, namespace, None).rule
    relays = [Relay(f"relay-{number}") for number in range(3)]
    for relay in relays:
        namespace.relays[relay.key] = relay
    shadow = replace(namespace.rules[rule], primary_key="its own", secondary_key="too")
    relays[2].rules[rule] = shadow
    verified: list[str] = []
    parse = authorize.parse_token
    monkeypatch.setattr(authorize, "parse_token", lambda text: (verified.append(text), parse(text))[1])
    grants = [authorizer.authorize(token, namespace, relay) for relay in relays]
    assert (len({id(grant) for grant in grants[:2]}), len(verified)) == (1, 1)
    monkeypatch.undo()
    del namespace.rules[rule]
    for relay in relays:
        with pytest.raises(Unauthorized):
            authorizer.authorize(token, namespace, relay)


def test_cached_token_dies_with_its_key(authorizer: Authorizer, namespace: Namespace) -> None:
    """S21: the next use after a rotation or a removal is refused."""
    token, relay = root_token(namespace), namespace.find("shop")
    grant = authorizer.authorize(token, namespace, relay)
    namespace.rules[ROOT] = rotated(namespace.rules[ROOT], "secondary")
    assert authorizer.authorize(token, namespace, relay) is grant, "the other key goes on"
    namespace.rules[ROOT] = rotated(namespace.rules[ROOT], "primary")
    assert not authorizer.is_live(grant, 1700000000)
    with pytest.raises(Unauthorized):
        authorizer.authorize(token, namespace, relay)


def test_grant_dies_when_its_rule_loses_a_right_or_its_relay_is_replaced(
    authorizer: Authorizer, namespace: Namespace
) -> None:
    relay = namespace.relays["hyco"]
    rule = relay.rules["sendonly"]
    token = make_token(f"sb://{namespace.name}", rule.name, rule.primary_key, 1700000060)
    grant = authorizer.authorize(token, namespace, relay)
    assert authorizer.is_live(grant, 1700000000)
    relay.rules["sendonly"] = new_rule("sendonly", Right.LISTEN, rule.primary_key)
    assert not authorizer.is_live(grant, 1700000000)
    relay.rules["sendonly"] = rule
    assert authorizer.is_live(grant, 1700000000)
    namespace.relays["hyco"] = Relay("hyco", rules=relay.rules)
    assert not authorizer.is_live(grant, 1700000000)


def test_cached_token_expires_after_the_grace_period(authorizer: Authorizer, namespace: Namespace, clock) -> None:
    token, relay = root_token(namespace, life=10), namespace.find("shop")
    grant = authorizer.authorize(token, namespace, relay)
    assert authorizer.deadline(grant) == 1700000310
    clock.now = 1700000310
    assert authorizer.authorize(token, namespace, relay) is grant
    clock.now = 1700000310.5
    assert not authorizer.is_live(grant, clock.now)
    with pytest.raises(TokenExpired):
        authorizer.authorize(token, namespace, relay)


def test_cache_is_bounded(authorizer: Authorizer, namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.access.authorize.CACHE_SIZE", 8)
    assert CACHE_SIZE > 8
    for life in range(40):
        authorizer.authorize(root_token(namespace, life=life), namespace, None)
    assert len(authorizer._cache) == 8


def test_one_token_on_two_relays_is_judged_on_each(authorizer: Authorizer, namespace: Namespace) -> None:
    """The cache keys are structured: an entity grant never serves another entity."""
    hyco, shop = namespace.relays["hyco"], namespace.relays["shop"]
    rule = hyco.rules["listenonly"]
    token = make_token(f"sb://{namespace.name}", rule.name, rule.primary_key, 1700000060)
    assert authorizer.authorize(token, namespace, hyco).relay is hyco
    with pytest.raises(Unauthorized):
        authorizer.authorize(token, namespace, shop)


def test_call_on_no_relay_finds_the_entity_rule_that_the_token_names(
    authorizer: Authorizer, namespace: Namespace
) -> None:
    hyco = namespace.relays["hyco"]
    rule = hyco.rules["listenonly"]
    named = make_token(f"sb://{namespace.name}/HYCO/x", rule.name, rule.primary_key, 1700000060)
    grant = authorizer.authorize(named, namespace, None)
    assert (grant.relay, grant.scope) == (hyco, "HYCO/x")
    with pytest.raises(Unauthorized):
        authorizer.authorize(
            make_token(f"sb://{namespace.name}", rule.name, rule.primary_key, 1700000060), namespace, None
        )


def test_anonymous_grant_is_live_and_empty(authorizer: Authorizer, namespace: Namespace) -> None:
    grant = authorizer.anonymous(namespace)
    assert grant.is_anonymous
    assert authorizer.is_live(grant, 4e9)
    assert not grant.permits(Right.SEND, namespace.relays["shop"], "Shop")


def test_two_tokens_that_disagree_are_refused() -> None:
    """S17: on our own doors two credentials that differ are 400; the same one twice is fine."""
    assert one_token([("Authorization", "a"), ("ServiceBusAuthorization", "a")], "x=1&sb-hc-token=a") == "a"
    assert one_token([], "sb-hc-token=q%3D+1") == "q= 1"
    assert one_token([("Authorization", " ")], "") is None
    for headers, query in (
        ([("Authorization", "a")], "sb-hc-token=b"),
        ([("Authorization", "a"), ("ServiceBusAuthorization", "b")], ""),
        ([("Authorization", "a"), ("authorization", "b")], ""),
        ([], "sb-hc-token=a&SB-HC-Token=b"),
    ):
        with pytest.raises(BadRequest):
            one_token(headers, query)
