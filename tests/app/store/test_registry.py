"""The registry: committed, then in memory, then announced; the same after a restart."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from app.errors import AddressExists, BadRequest, EndpointNotFound, QuotaExceeded, StoreUnavailable
from app.namespace import (
    Change,
    HistoryLimits,
    IpRule,
    Mark,
    Namespace,
    NetworkRules,
    Profile,
    RelayDeadlines,
    RelayTerms,
    Revocation,
    Right,
    Rule,
)
from app.store.database import open_database
from app.store.registry import Registry
from app.store.revocations import Revocations
from app.store.settings import NamespaceSettings, RelaySettings, RuleSettings, check_relay_name
from fanout.errors import InvalidAddress

SETTINGS = RelaySettings(
    Profile.HYBRID_CONNECTION,
    requires_client_authorization=False,
    history=HistoryLimits("none", 1, 2.5, 3),
    slow="drop",
    budget=4096,
    requires_transport_security=True,
    deadlines=RelayDeadlines(1.5, None, 3),
    max_listeners=7,
    keeps_path=True,
    is_public=True,
    display_name="Shop",
    user_metadata="a note",
)
TENANT = NamespaceSettings(
    "sub",
    "group",
    "west",
    {"env": "test"},
    NetworkRules("Deny", "Disabled", True, (IpRule("10.0.0.0/8"), IpRule("10.1.2.3", "Deny"))),
)


async def again(path: Path) -> Namespace:
    registry = Registry(await open_database(path), lambda: 1800000000.0)
    await registry.load()
    await registry.close()
    return registry.namespaces[0]


async def test_everything_is_there_after_a_restart(registry: Registry, namespace: Namespace, tmp_path: Path) -> None:
    relay = await registry.put_relay(namespace, "Shop/EU", SETTINGS)
    rule = await registry.put_rule(namespace, relay, "Senders", Right.SEND, "first")
    await registry.put_alias(namespace, "Relay.Example")
    later = await again(tmp_path / "fanway.db")
    found = later.relays["shop/eu"]
    assert later.aliases == {"relay.example": ""}
    assert later.rules == namespace.rules
    assert found.rules == {"senders": rule}
    for name in relay.__slots__:
        assert getattr(found, name) == getattr(relay, name)


async def test_changed_settings_keep_the_relay_its_rules_and_its_age(
    registry: Registry, namespace: Namespace, changes: list[Change], tmp_path: Path
) -> None:
    relay = await registry.put_relay(namespace, "shop", RelaySettings())
    await registry.put_rule(namespace, relay, "r", Right.SEND)
    assert await registry.put_relay(namespace, "SHOP", RelaySettings(budget=5000)) is relay
    assert (relay.name, relay.budget) == ("shop", 5000)
    assert [change.kind for change in changes] == ["relay-added", "rule-changed", "relay-changed"]
    assert (await again(tmp_path / "fanway.db")).relays["shop"].rules == relay.rules


async def test_rules_that_come_with_a_relay_are_all_of_its_rules(
    registry: Registry, namespace: Namespace, changes: list[Change], tmp_path: Path
) -> None:
    wanted = [RuleSettings("Kept", Right.SEND, "first"), RuleSettings("gone", Right.LISTEN)]
    relay = await registry.put_relay(namespace, "shop", RelaySettings(), wanted, exists=False)
    assert {name: rule.name for name, rule in relay.rules.items()} == {"kept": "Kept", "gone": "gone"}
    assert (await again(tmp_path / "fanway.db")).relays["shop"].rules == relay.rules
    old, secondary = changes.copy(), relay.rules["kept"].secondary_key
    changes.clear()
    await registry.put_relay(
        namespace, "shop", RelaySettings(), [RuleSettings("KEPT", Right.MANAGE, "other")], exists=True
    )
    assert relay.rules == {"kept": Rule("Kept", Right.MANAGE, "other", secondary)}
    assert (await again(tmp_path / "fanway.db")).relays["shop"].rules == relay.rules
    assert [change.kind for change in old] == ["relay-added"]
    assert [(change.kind, change.rule) for change in changes] == [
        ("relay-changed", None),
        ("rule-removed", "gone"),
        ("rule-changed", "kept"),
    ]


async def test_a_relay_whose_rules_cannot_be_is_not_made(
    registry: Registry, namespace: Namespace, changes: list[Change], tmp_path: Path
) -> None:
    good = RuleSettings("good", Right.SEND)
    for bad in (RuleSettings("a b", Right.SEND), RuleSettings("r", Right.NONE), RuleSettings("GOOD", Right.SEND)):
        with pytest.raises(BadRequest):
            await registry.put_relay(namespace, "shop", RelaySettings(), [good, bad])
    many = [RuleSettings(f"rule{number}", Right.SEND) for number in range(13)]
    with pytest.raises(QuotaExceeded):
        await registry.put_relay(namespace, "shop", RelaySettings(), many)
    assert (namespace.relays, changes) == ({}, [])
    assert (await again(tmp_path / "fanway.db")).relays == {}


async def test_what_must_exist_and_what_must_not(registry: Registry, namespace: Namespace) -> None:
    with pytest.raises(EndpointNotFound):
        await registry.put_relay(namespace, "shop", RelaySettings(), exists=True)
    await registry.put_relay(namespace, "shop", RelaySettings(), exists=False)
    with pytest.raises(AddressExists):
        await registry.put_relay(namespace, "SHOP", RelaySettings(), exists=False)
    registry.ensure_dynamic(namespace, "fleeting")
    assert not (await registry.put_relay(namespace, "fleeting", RelaySettings(), exists=False)).is_dynamic


async def test_another_profile_is_another_relay_with_the_same_rules(
    registry: Registry, namespace: Namespace, changes: list[Change]
) -> None:
    old = await registry.put_relay(namespace, "shop", RelaySettings())
    rule = await registry.put_rule(namespace, old, "r", Right.SEND)
    changes.clear()
    new = await registry.put_relay(namespace, "shop", RelaySettings(Profile.HYBRID_CONNECTION))
    assert new is not old
    assert new.rules == {"r": rule}
    assert [(change.kind, change.relay) for change in changes] == [("relay-removed", old), ("relay-added", new)]


async def test_deleted_relay_takes_its_rules_along(
    registry: Registry, namespace: Namespace, changes: list[Change], tmp_path: Path
) -> None:
    relay = await registry.put_relay(namespace, "shop", RelaySettings())
    await registry.put_rule(namespace, relay, "r", Right.SEND)
    await registry.delete_relay(namespace, relay)
    with pytest.raises(EndpointNotFound):
        await registry.delete_relay(namespace, relay)
    assert changes[-1] == Change("relay-removed", relay)
    assert not (await registry.put_relay(namespace, "shop", RelaySettings())).rules
    assert not (await again(tmp_path / "fanway.db")).relays["shop"].rules


async def test_dynamic_relay_is_never_stored_until_it_is_provisioned(
    registry: Registry, namespace: Namespace, changes: list[Change], tmp_path: Path
) -> None:
    relay = registry.ensure_dynamic(namespace, "orders")
    assert registry.ensure_dynamic(namespace, "ORDERS") is relay
    assert relay.is_dynamic
    with pytest.raises(BadRequest, match="provision it first"):
        await registry.put_rule(namespace, relay, "r", Right.SEND)
    with pytest.raises(BadRequest, match="one segment"):
        registry.ensure_dynamic(namespace, "a/b")
    assert not (await again(tmp_path / "fanway.db")).relays
    assert await registry.put_relay(namespace, "orders", RelaySettings()) is relay
    registry.drop_dynamic(namespace, relay)
    assert namespace.relays == {"orders": relay}
    gone = registry.ensure_dynamic(namespace, "gone")
    registry.drop_dynamic(namespace, gone)
    assert [change.kind for change in changes] == ["relay-added", "relay-changed", "relay-added", "relay-removed"]
    assert (await again(tmp_path / "fanway.db")).relays.keys() == {"orders"}


async def test_relay_may_nest_by_provisioning(registry: Registry, namespace: Namespace) -> None:
    outer = await registry.put_relay(namespace, "orders", RelaySettings())
    inner = await registry.put_relay(namespace, "orders/eu", RelaySettings())
    assert namespace.find("orders/eu/7") is inner
    assert namespace.find("orders/us/7") is outer


async def test_rotation_replaces_one_key_for_good(
    registry: Registry, namespace: Namespace, changes: list[Change], tmp_path: Path
) -> None:
    before = namespace.rules["root"]
    after = await registry.rotate_key(namespace, None, "ROOT", "primary")
    assert after.primary_key != before.primary_key
    assert after.secondary_key == before.secondary_key
    assert namespace.rules["root"] is after
    assert changes == [Change("rule-changed", None, "root")]
    assert (await again(tmp_path / "fanway.db")).rules["root"] == after
    with pytest.raises(EndpointNotFound):
        await registry.rotate_key(namespace, None, "nobody", "primary")


async def test_changed_rule_keeps_keys_that_are_not_given(registry: Registry, namespace: Namespace) -> None:
    first = await registry.put_rule(namespace, None, "App", Right.SEND, None, "two")
    second = await registry.put_rule(namespace, None, "app", Right.LISTEN, "one")
    assert (second.name, second.primary_key, second.secondary_key) == ("App", "one", "two")
    assert first.primary_key != "one"
    await registry.delete_rule(namespace, None, "APP")
    assert "app" not in namespace.rules
    with pytest.raises(EndpointNotFound):
        await registry.delete_rule(namespace, None, "app")


async def test_nothing_changes_when_the_file_cannot_be_written(
    registry: Registry, namespace: Namespace, changes: list[Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(sql: str, values: object = ()) -> int:
        raise sqlite3.OperationalError("disk full")

    relay = await registry.put_relay(namespace, "shop", RelaySettings())
    rules = dict(namespace.rules)
    changes.clear()
    monkeypatch.setattr(registry._database, "execute", fail)
    with pytest.raises(StoreUnavailable):
        await registry.put_relay(namespace, "shop", RelaySettings(budget=5000))
    with pytest.raises(StoreUnavailable):
        await registry.rotate_key(namespace, None, "root", "primary")
    with pytest.raises(StoreUnavailable):
        await registry.delete_relay(namespace, relay)
    assert (relay.budget, namespace.rules, namespace.relays, changes) == (1 << 20, rules, {"shop": relay}, [])


async def test_quotas_hold(registry: Registry, namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(11):
        await registry.put_rule(namespace, None, f"r{number}", Right.SEND)
    with pytest.raises(QuotaExceeded):
        await registry.put_rule(namespace, None, "r11", Right.SEND)
    await registry.put_rule(namespace, None, "r10", Right.LISTEN)
    monkeypatch.setattr("app.store.registry.MAX_RELAYS", 1)
    await registry.put_relay(namespace, "a", RelaySettings())
    with pytest.raises(QuotaExceeded):
        await registry.put_relay(namespace, "b", RelaySettings())
    with pytest.raises(QuotaExceeded):
        registry.ensure_dynamic(namespace, "b")


async def test_unfit_rules_and_aliases_are_refused(registry: Registry, namespace: Namespace) -> None:
    for name, rights, key in (("", Right.SEND, None), ("a b", Right.SEND, None), ("r", Right.NONE, None)):
        with pytest.raises(BadRequest):
            await registry.put_rule(namespace, None, name, rights, key)
    with pytest.raises(BadRequest):
        await registry.put_rule(namespace, None, "r", Right.SEND, "k" * 257)
    for host in ("", "a:1", "a/b", "-a", "a..b", "*.a"):
        with pytest.raises(BadRequest):
            await registry.put_alias(namespace, host)
    other = await registry.ensure_namespace("other", namespace.rules["root"])
    await registry.put_alias(namespace, "relay.example")
    with pytest.raises(AddressExists):
        await registry.put_alias(other, "RELAY.example")
    await registry.delete_alias(namespace, "relay.EXAMPLE")
    with pytest.raises(EndpointNotFound):
        await registry.delete_alias(namespace, "relay.example")


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "-", "-/a", "$hc", "a b", "a%20b", "ü", "a/../b", "."])
def test_relay_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises((BadRequest, InvalidAddress)):
        check_relay_name(name)
    with pytest.raises((BadRequest, InvalidAddress)):
        check_relay_name("/".join(["a"] * 33))


async def test_metadata_is_limited(registry: Registry, namespace: Namespace) -> None:
    with pytest.raises(BadRequest):
        await registry.put_relay(namespace, "a", RelaySettings(user_metadata="x" * 1025))


async def test_namespace_with_its_settings_is_there_after_a_restart(registry: Registry, tmp_path: Path) -> None:
    arrived: list[Namespace] = []
    registry.follow(arrived.append, lambda namespace: None)
    root = Rule("root", Right.MANAGE, "one", "two")
    tenant = await registry.ensure_namespace("Tenant", root)
    assert await registry.ensure_namespace("TENANT", root) is tenant
    assert arrived == [tenant]
    await registry.put_relay(tenant, "shop", SETTINGS)
    changes: list[Change] = []
    tenant.on_change.append(changes.append)
    await registry.put_namespace(tenant, TENANT)
    assert changes == [Change("namespace-changed")]
    await registry.put_alias(tenant, "demo.example", "shop/eu")
    later = Registry(await open_database(tmp_path / "fanway.db"), lambda: 0.0)
    await later.load()
    await later.close()
    found = later.find_namespace("tenant")
    assert found is not None
    assert NamespaceSettings.of(found) == TENANT
    assert found.aliases == {"demo.example": "shop/eu"}
    assert found.rules == {"root": root}
    assert RelaySettings.of(found.relays["shop"]) == SETTINGS
    assert (found.created_at, found.updated_at) == (tenant.created_at, tenant.updated_at)


async def test_deleted_namespace_takes_everything_along_and_tells_who_lived_there(
    registry: Registry, namespace: Namespace, tmp_path: Path
) -> None:
    gone: list[Namespace] = []
    registry.follow(lambda namespace: None, gone.append)
    tenant = await registry.ensure_namespace("tenant", Rule("root", Right.MANAGE, "one", "two"))
    relay = await registry.put_relay(tenant, "shop", SETTINGS)
    await registry.put_rule(tenant, relay, "r", Right.SEND)
    await registry.put_alias(tenant, "demo.example")
    changes: list[Change] = []
    tenant.on_change.append(changes.append)
    await registry.delete_namespace(tenant)
    assert gone == [tenant]
    assert registry.namespaces == [namespace]
    assert changes == [Change("relay-removed", relay), Change("rule-removed")]
    assert (tenant.rules, tenant.relays, tenant.aliases) == ({}, {}, {})
    with pytest.raises(EndpointNotFound):
        await registry.delete_namespace(tenant)
    with pytest.raises(EndpointNotFound):
        await registry.put_namespace(tenant, TENANT)
    assert (await again(tmp_path / "fanway.db")).name == namespace.name
    reborn = await registry.ensure_namespace("tenant", Rule("root", Right.MANAGE, "one", "two"))
    assert not reborn.relays


async def test_what_was_meant_for_a_namespace_that_is_gone_never_reaches_one_that_has_its_name(
    registry: Registry, namespace: Namespace, tmp_path: Path
) -> None:
    """S20: whoever waited with a change while it was deleted has no say in what came after."""
    root = Rule("root", Right.MANAGE, "one", "two")
    tenant = await registry.ensure_namespace("tenant", root)
    relay = await registry.put_relay(tenant, "shop", SETTINGS)
    await registry.delete_namespace(tenant)
    await registry.ensure_namespace("tenant", root)
    revocations = Revocations(registry._database, lambda: 1700000000.0)
    for change in (
        registry.put_rule(tenant, None, "mine", Right.MANAGE, "a key that I know"),
        registry.put_rule(tenant, relay, "mine", Right.MANAGE, "a key that I know"),
        registry.put_relay(tenant, "shop", SETTINGS),
        registry.put_alias(tenant, "demo.example"),
        registry.rotate_key(tenant, None, "root", "primary"),
        registry.delete_rule(tenant, None, "root"),
        registry.delete_alias(tenant, "demo.example"),
        revocations.put(tenant, Revocation(Mark("all"), 0.0)),
    ):
        with pytest.raises(EndpointNotFound):
            await change
    later = Registry(await open_database(tmp_path / "fanway.db"), lambda: 1800000000.0)
    await later.load()
    await later.close()
    found = later.find_namespace("tenant")
    assert found is not None
    assert (found.rules, found.relays, found.aliases) == ({"root": root}, {}, {})


async def test_no_two_namespaces_share_a_host_name(registry: Registry, namespace: Namespace) -> None:
    root = Rule("root", Right.MANAGE, "one", "two")
    tenant = await registry.ensure_namespace("tenant", root)
    await registry.put_alias(namespace, "demo.example")
    with pytest.raises(AddressExists):
        await registry.put_alias(tenant, "demo.example")
    with pytest.raises(AddressExists):
        await registry.put_alias(namespace, "tenant")
    with pytest.raises(AddressExists):
        await registry.ensure_namespace("demo.example", root)
    with pytest.raises(BadRequest):
        await registry.ensure_namespace("no name", root)
    with pytest.raises(InvalidAddress):
        await registry.put_alias(tenant, "other.example", "a//b")
    many = tuple(IpRule(f"10.0.0.{number}") for number in range(129))
    with pytest.raises(BadRequest, match="128"):
        await registry.put_namespace(tenant, NamespaceSettings(network=NetworkRules(ip_rules=many)))
    with pytest.raises(BadRequest, match="128"):
        await registry.ensure_namespace("another", root, NamespaceSettings(network=NetworkRules(ip_rules=many)))
    assert registry.find_namespace("another") is None


@pytest.mark.parametrize("profile", [Profile.NET_ONEWAY, Profile.NET_EVENT])
async def test_one_way_profiles_cannot_be_provisioned(
    registry: Registry, namespace: Namespace, profile: Profile
) -> None:
    with pytest.raises(BadRequest, match="by use only"):
        await registry.put_relay(namespace, "alarms", RelaySettings(profile))
    assert registry.ensure_dynamic(namespace, "alarms", RelayTerms(profile)).profile is profile


async def test_a_dynamic_relay_is_made_to_its_listeners_terms(registry: Registry, namespace: Namespace) -> None:
    """One of WCF Relay's is named by its whole path and remembers nothing."""
    terms = RelayTerms(Profile.HTTP, False, True, True, "Prices")
    relay = registry.ensure_dynamic(namespace, "shop/price", terms)
    assert (relay.name, relay.profile, relay.is_dynamic) == ("shop/price", Profile.HTTP, True)
    assert (relay.requires_client_authorization, relay.requires_transport_security) == (False, True)
    assert (relay.is_public, relay.display_name, relay.history.keep) == (True, "Prices", "none")
    with pytest.raises(BadRequest, match="one segment"):
        registry.ensure_dynamic(namespace, "a/b", RelayTerms(Profile.NATIVE))


async def test_a_rule_may_let_its_holder_create_relays(registry: Registry, namespace: Namespace) -> None:
    """It is kept until it is said otherwise, and makes sense only for listeners of the whole namespace."""
    await registry.put_rule(namespace, None, "maker", Right.LISTEN, creates_relays=True)
    assert (await registry.put_rule(namespace, None, "maker", Right.LISTEN)).creates_relays
    assert (await registry.rotate_key(namespace, None, "maker", "primary")).creates_relays
    await registry.load()
    (loaded,) = registry.namespaces
    assert loaded.rules["maker"].creates_relays
    assert not (await registry.put_rule(loaded, None, "maker", Right.LISTEN, creates_relays=False)).creates_relays
    with pytest.raises(BadRequest, match="Listen"):
        await registry.put_rule(loaded, None, "sender", Right.SEND, creates_relays=True)
    relay = await registry.put_relay(loaded, "orders", RelaySettings())
    with pytest.raises(BadRequest, match="namespace"):
        await registry.put_rule(loaded, relay, "maker", Right.LISTEN, creates_relays=True)
