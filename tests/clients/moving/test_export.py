"""A namespace as a template, and back."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from managements import SETTINGS, FakeManagement, rule

from fanway.moving.export import export_template
from fanway.moving.inventory import Inventory, gather
from fanway.moving.network import OPEN
from fanway.moving.template import template_resources

NAMES = st.lists(st.from_regex(r"[a-z][a-z0-9._~-]{0,5}", fullmatch=True), min_size=1, max_size=3).map("/".join)
RULES = st.from_regex(r"[a-z~-]{1,6}", fullmatch=True)
PROFILES = ("native", "hybridConnection", "http", "netTcp")


def exported(api: FakeManagement, *, with_keys: bool = True) -> dict[str, Any]:
    return export_template(api, with_keys=with_keys, notes=[])  # type: ignore[arg-type]


def back(template: dict[str, Any]) -> Inventory:
    notes: list[str] = []
    return gather(list(template_resources(template, {}, "t", notes)), None, notes)


def test_resources_are_named_and_ordered_as_azure_would_have_them() -> None:
    api = FakeManagement({"plants/oslo": {}, "db": {"profile": "netTcp"}}, {("plants/oslo", "k"): rule("Send")})
    [namespace, db, oslo, of_oslo] = exported(api)["resources"]
    assert namespace["name"] == "[parameters('namespaceName')]"
    assert (db["type"], db["properties"]["relayType"]) == ("Microsoft.Relay/namespaces/wcfRelays", "NetTcp")
    assert oslo["name"] == "[concat(parameters('namespaceName'), '/plants~oslo')]"
    assert of_oslo["name"] == "[concat(parameters('namespaceName'), '/plants~oslo/k')]"
    assert of_oslo["type"] == "Microsoft.Relay/namespaces/hybridConnections/authorizationRules"
    assert of_oslo["dependsOn"] == [
        "[resourceId('Microsoft.Relay/namespaces/hybridConnections', parameters('namespaceName'), 'plants~oslo')]"
    ]


def test_keys_are_in_it_only_when_asked_for() -> None:
    api = FakeManagement(rules={(None, "k"): rule("Send", primary="secret-1", secondary="secret-2")})
    assert "secret" in str(exported(api))
    assert "secret" not in str(exported(api, with_keys=False))


def test_who_may_reach_the_namespace_comes_along() -> None:
    closed = {**OPEN, "defaultAction": "Deny", "ipRules": [{"mask": "10.0.0.0/8", "action": "Allow"}]}
    [_, network] = exported(FakeManagement(network=closed))["resources"]
    assert network["type"] == "Microsoft.Relay/namespaces/networkRuleSets"
    assert network["properties"]["ipRules"] == [{"ipMask": "10.0.0.0/8", "action": "Allow"}]
    wanted = back(exported(FakeManagement(network=closed))).network
    assert wanted is not None
    assert wanted.settings == closed
    assert len(exported(FakeManagement(network=dict(OPEN)))["resources"]) == 1


def test_what_may_not_be_read_is_said() -> None:
    notes: list[str] = []
    export_template(FakeManagement(), with_keys=True, notes=notes)  # type: ignore[arg-type]
    assert "only the gateway's operator" in notes[0]


def test_what_comes_and_goes_by_use_is_not_in_it() -> None:
    assert len(exported(FakeManagement({"a": {"isDynamic": True}}))["resources"]) == 1


@given(
    st.dictionaries(NAMES, st.tuples(st.sampled_from(PROFILES), st.text(max_size=30)), max_size=4),
    st.dictionaries(RULES, st.tuples(st.text(min_size=1, max_size=30), st.booleans()), max_size=4),
)
def test_what_is_exported_comes_back(relays: dict[str, tuple[str, str]], rules: dict[str, tuple[str, bool]]) -> None:
    api = FakeManagement(
        {name: {"profile": profile, "userMetadata": text} for name, (profile, text) in relays.items()},
        {
            (home, name): rule("Listen", primary=key, createsRelays=creates)
            for name, (key, creates) in rules.items()
            for home in (None, *relays)
        },
        {"h.example": "a"},
    )
    inventory = back(exported(api))
    assert {path: relay.settings for path, relay in inventory.relays.items()} == {
        name: {**SETTINGS, "profile": profile, "userMetadata": text} for name, (profile, text) in relays.items()
    }
    assert {
        key: (each.rights, each.primary_key, each.secondary_key, bool(each.creates_relays))
        for key, each in inventory.rules.items()
    } == {
        (home, name): (("Listen",), key, "s", creates)
        for name, (key, creates) in rules.items()
        for home in (None, *relays)
    }
    assert inventory.aliases == {"h.example": "a"}
