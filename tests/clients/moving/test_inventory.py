"""The inventory: gathered from several files, checked before anything is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fanway.errors import ConfigurationError
from fanway.moving.azure_json import azure_resources
from fanway.moving.inventory import Inventory, gather

VECTORS = Path(__file__).parents[2] / "vectors"
ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Relay/namespaces/{}"


def of(*documents: Any, namespace: str | None = None) -> Inventory:
    notes: list[str] = []
    found = [
        each for number, document in enumerate(documents) for each in azure_resources(document, f"{number}", notes)
    ]
    return gather(found, namespace, notes)


def hyco(name: str = "a", namespace: str = "ns", **more: Any) -> dict[str, Any]:
    return {"id": f"{ID.format(namespace)}/hybridConnections/{name}", **more}


def wcf(name: str = "a", **more: Any) -> dict[str, Any]:
    return {"id": f"{ID.format('ns')}/wcfRelays/{name}", **more}


def rule(name: str = "k", relay: str | None = None, rights: Any = ("Send",), **more: Any) -> dict[str, Any]:
    tail = f"hybridConnections/{relay}/authorizationRules" if relay else "authorizationRules"
    return {
        "id": f"{ID.format('ns')}/{tail}/{name}",
        "rights": list(rights) if isinstance(rights, tuple) else rights,
        **more,
    }


def keys(name: str = "k", **more: Any) -> dict[str, Any]:
    return {"keyName": name, "primaryKey": "p", "secondaryKey": "s", **more}


def test_a_saved_namespace_is_understood() -> None:
    inventory = of(json.loads((VECTORS / "az-relay.json").read_text()))
    assert {path: relay.settings for path, relay in inventory.relays.items()} == {
        "authenticated": {"profile": "hybridConnection", "requiresClientAuthorization": True, "userMetadata": ""},
        "plants/oslo": {
            "profile": "hybridConnection",
            "requiresClientAuthorization": False,
            "userMetadata": "in Oslo",
        },
        "orders": {
            "profile": "http",
            "requiresClientAuthorization": True,
            "requiresTransportSecurity": True,
            "userMetadata": "",
        },
    }
    told = {key: (each.rights, each.primary_key) for key, each in inventory.rules.items()}
    assert told == {
        (None, "rootmanagesharedaccesskey"): (
            ("Listen", "Send", "Manage"),
            "cm9vdCBwcmltYXJ5IGtleSBvZiBjb250b3NvIDAxMjM=",
        ),
        ("authenticated", "sender"): (("Send",), "c2VuZGVyJ3MgcHJpbWFyeSBrZXkgMDEyMzQ1Njc4OTA="),
    }
    assert ["fleeting" in note for note in inventory.notes] == [True]


def test_show_and_list_of_the_same_are_one() -> None:
    assert list(of(hyco(), [hyco()], rule(), [rule()], keys(), keys()).relays) == ["a"]


def test_keys_find_the_one_rule_of_their_name() -> None:
    inventory = of(keys(), hyco(), rule(relay="a"))
    assert inventory.rules["a", "k"].primary_key == "p"


def test_keys_of_the_root_rule_need_no_rule() -> None:
    [root] = of(keys("RootManageSharedAccessKey")).rules.values()
    assert (root.relay, root.rights) == (None, ("Listen", "Send", "Manage"))


def test_keys_that_several_rules_may_have_need_a_word() -> None:
    with pytest.raises(ConfigurationError, match="may belong to a, the namespace; say it"):
        of(rule(), rule(relay="a"), keys())
    inventory = of(rule(), rule(relay="a"), {"relay": "A", "keys": keys()})
    assert (inventory.rules["a", "k"].primary_key, inventory.rules[None, "k"].primary_key) == ("p", None)


def test_manage_means_all_rights() -> None:
    assert of(rule(rights=("manage",))).rules[None, "k"].rights == ("Listen", "Send", "Manage")


def test_one_of_several_namespaces_is_chosen() -> None:
    documents = [hyco("a", "one"), hyco("b", "two")]
    with pytest.raises(ConfigurationError, match=r"several namespaces \(one, two\)"):
        of(documents)
    with pytest.raises(ConfigurationError, match="no namespace 'three'; there is one, two"):
        of(documents, namespace="three")
    chosen = of(documents, keys(primaryConnectionString="Endpoint=sb://one.servicebus.windows.net/"), namespace="TWO")
    assert (list(chosen.relays), list(chosen.rules), len(chosen.notes)) == (["b"], [], 2)


@pytest.mark.parametrize("more", [{"isDynamic": True, "relayType": "Http"}, {"relayType": "NetOneway"}])
def test_what_comes_into_being_by_use_is_skipped_and_said_so(more: dict[str, Any]) -> None:
    inventory = of(wcf(**more))
    assert (inventory.relays, len(inventory.notes)) == ({}, 1)


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([hyco(), hyco(userMetadata="other")], "the relay 'a' stands otherwise at 0"),
        ([hyco(), wcf(relayType="Http")], "stands otherwise"),
        ([rule(), rule(rights=("Listen",))], "the rule k stands otherwise at 0"),
        ([rule(primaryKey="x"), keys()], "stands otherwise"),
        ([hyco("a b")], "cannot be a relay's name"),
        ([hyco("-")], "'-'"),
        ([rule("a b")], "cannot be a rule's name"),
        ([rule(rights=[])], "rights: should be a list"),
        ([rule(rights="Send")], "rights: should be a list"),
        ([rule(rights=["Fly"])], "rights: hold something else"),
        ([rule(primaryKey=5)], "primaryKey: should be a text"),
        ([rule(primaryKey="")], "a key is 1 to 256"),
        ([hyco(requiresClientAuthorization="maybe")], "requiresClientAuthorization: should be true or false"),
        ([hyco(userMetadata=5)], "userMetadata: should be a text"),
        ([hyco(userMetadata="m" * 1025)], "at most 1024"),
        ([wcf(relayType="Pigeon")], "relayType: should be NetTcp or Http"),
        ([wcf()], "relayType: should be NetTcp or Http"),
        ([rule(f"k{number}") for number in range(13)], "has 13 rules; it may have 12"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(documents: list[Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        of(*documents)
