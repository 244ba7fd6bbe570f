"""What has to be done, and in which order."""

from __future__ import annotations

from typing import Any

import pytest
from managements import FakeManagement, rule

from fanway.errors import ConfigurationError
from fanway.moving.inventory import Inventory, WantedRelay, WantedRule
from fanway.moving.network import OPEN, WantedNetwork
from fanway.moving.plan import Plan, make_plan

ROOT = "RootManageSharedAccessKey"


def of(
    relays: dict[str, dict[str, Any]] | None = None,
    rules: list[WantedRule] | None = None,
    aliases: dict[str, str] | None = None,
) -> Inventory:
    inventory = Inventory()
    for path, settings in (relays or {}).items():
        inventory.add_relay(WantedRelay(path, settings, "here"))
    for each in rules or []:
        inventory.add_rule(each)
    inventory.aliases.update(aliases or {})
    return inventory


def wanted(name: str, relay: str | None = None, rights: Any = ("Send",), primary: Any = "p", **more: Any) -> WantedRule:
    return WantedRule(relay, name, rights, primary, more.pop("secondary", "s"), "here", **more)


def plan(api: FakeManagement, inventory: Inventory) -> Plan:
    return make_plan(api, inventory, ROOT)  # type: ignore[arg-type]


def told(made: Plan) -> list[str]:
    return [f"{step.title}: {step.outcome}" for step in made.steps]


def test_the_rule_that_signs_comes_last_and_relays_before_their_rules() -> None:
    inventory = of({"b": {}, "a": {}}, [wanted(ROOT), wanted("zeta"), wanted("own", "a")], {"host.example": "a"})
    made = plan(FakeManagement(rules={(None, ROOT): rule("Manage", primary="old")}), inventory)
    assert told(made) == [
        "relay a: created",
        "relay b: created",
        "host name host.example: created",
        "rule own of a: created",
        "rule zeta: created",
        f"rule {ROOT}: changed (rights, primaryKey)",
    ]
    assert made.changes_own_key


def test_what_is_as_it_should_be_is_left() -> None:
    api = FakeManagement({"A": {"userMetadata": "m"}}, {("A", "k"): rule("Send")}, {"h.example": "A"})
    made = plan(api, of({"a": {"userMetadata": "m"}}, [wanted("K", "a")], {"h.example": "A"}))
    assert (made.steps, made.settled, made.changes_own_key) == ([], 3, False)


def test_a_relay_keeps_the_settings_that_nobody_speaks_of() -> None:
    [step] = plan(FakeManagement({"a": {"maxListeners": 9}}), of({"a": {"userMetadata": "m"}})).steps
    assert (step.path, step.outcome) == ("relays/a", "changed (userMetadata)")
    assert (step.body["maxListeners"], step.body["userMetadata"], "name" in step.body) == (9, "m", False)


def test_network_rules_are_for_the_operator() -> None:
    inventory = of()
    inventory.add_network(WantedNetwork({**OPEN, "defaultAction": "Deny"}, "here"))
    [step] = plan(FakeManagement(network=dict(OPEN)), inventory).steps
    assert (step.path, step.outcome) == ("namespaces/ns", "changed (defaultAction)")
    made = plan(FakeManagement(network={**OPEN, "defaultAction": "Deny"}), inventory)
    assert (made.steps, made.settled) == ([], 1)
    made = plan(FakeManagement(), inventory)
    assert (made.steps, made.settled, "only the gateway's operator" in made.notes[0]) == ([], 0, True)


def test_a_relay_that_came_into_being_by_use_is_provisioned() -> None:
    made = plan(FakeManagement({"a": {"isDynamic": True}}), of({"a": {}}, [wanted("k", "a")]))
    assert told(made) == ["relay a: created", "rule k of a: created"]


def test_keys_alone_keep_the_rights_that_a_rule_has() -> None:
    api = FakeManagement(rules={(None, "k"): rule("Listen", primary="old")})
    [step] = plan(api, of(rules=[wanted("k", rights=None)])).steps
    assert step.body == {"rights": ["Listen"], "primaryKey": "p", "secondaryKey": "s"}


def test_a_key_that_is_not_told_stays_or_is_made_and_that_is_said() -> None:
    api = FakeManagement({"a": {}}, {("a", "old"): rule("Send")})
    rules = [wanted("old", "a", secondary=None), wanted("new", "a", primary=None, secondary=None)]
    made = plan(api, of(rules=rules))
    assert told(made) == ["rule new of a: created"]
    assert made.notes == [
        "rule new of a: the files hold no keys of it; a new one is made, so who holds the old one will be refused",
        "rule old of a: the files hold no secondary key of it; what it has stays",
    ]


def test_who_may_create_relays_is_compared_where_it_is_told() -> None:
    api = FakeManagement(rules={(None, "k"): rule("Send", createsRelays=True)})
    assert plan(api, of(rules=[wanted("k")])).steps == []
    [step] = plan(api, of(rules=[wanted("k", creates_relays=False)])).steps
    assert (step.outcome, step.body["createsRelays"]) == ("changed (createsRelays)", False)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([wanted("k", "gone")], "needs a relay that is neither"),
        ([wanted("k", rights=None)], "whose rights are in none"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_done(rules: list[WantedRule], words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^here: .*{words}"):
        plan(FakeManagement(), of({"a": {}}, rules))
