"""What `az` prints, in whatever arrangement it was saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanway.errors import ConfigurationError
from fanway.moving.azure_json import azure_resources
from fanway.moving.resources import HYBRID_CONNECTION, NAMESPACE, Keys, Resource

SAMPLE = json.loads((Path(__file__).parents[2] / "vectors/az-relay.json").read_text())
ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Relay/namespaces/ns"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "keyName", "relay", "x", "primaryKey"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def read(document: Any) -> tuple[list[Resource | Keys], list[str]]:
    notes: list[str] = []
    return list(azure_resources(document, "az.json", notes)), notes


def test_all_of_a_saved_namespace_is_found() -> None:
    found, notes = read(SAMPLE)
    resources = [each for each in found if isinstance(each, Resource)]
    assert [(each.kind.removeprefix(NAMESPACE), each.path, each.rule) for each in resources] == [
        ("", "", ""),
        ("/hybridconnections", "authenticated", ""),
        ("/hybridconnections", "plants~oslo", ""),
        ("/wcfrelays", "orders", ""),
        ("/wcfrelays", "fleeting", ""),
        ("/authorizationrules", "", "RootManageSharedAccessKey"),
        ("/hybridconnections/authorizationrules", "authenticated", "sender"),
    ]
    assert {each.namespace for each in resources} == {"contoso"}
    keys = [each for each in found if isinstance(each, Keys)]
    assert [(each.rule, each.relay, each.namespace) for each in keys] == [
        ("RootManageSharedAccessKey", None, "contoso"),
        ("sender", "authenticated", "contoso"),
    ]
    assert notes == []


def test_one_object_a_list_and_arms_own_answer_are_the_same() -> None:
    flat = {"id": f"{ID}/hybridConnections/a", "requiresClientAuthorization": False}
    nested = {"id": f"{ID}/hybridConnections/a", "properties": {"requiresClientAuthorization": False}}
    for document in (flat, [flat], {"value": [nested], "nextLink": None}, {"any": {"name": [flat]}}):
        [resource], _ = read(document)
        assert isinstance(resource, Resource)
        assert (resource.kind, resource.path) == (HYBRID_CONNECTION, "a")
        assert resource.boolean("requiresClientAuthorization", True) is False


def test_the_name_of_a_relay_may_stand_around_its_keys() -> None:
    [keys], _ = read({"relay": "orders", "keys": {"keyName": "k", "primaryKey": "p"}})
    assert keys == Keys("k", "orders", None, "p", None, "az.json: keys")


def test_what_is_nothing_of_a_relays_is_skipped_and_said_so() -> None:
    other = {"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a"}
    found, [note] = read([other])
    assert (found, "az.json[0]: skipped" in note) == ([], True)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (5, "should be an object or a list"),
        (["x"], r"az\.json\[0\]: should be an object"),
        ({"name": "a"}, "is nothing that is known here"),
        ({"id": 5}, "id: should be a text"),
        ({"id": ID.rpartition("/")[0] + "/"}, "does not fit the type"),
        ({"id": f"{ID}/hybridConnections"}, "does not fit the type"),
        ({"id": ID.rpartition("/")[0]}, "names nothing"),
        ({"keyName": "k"}, "but no keys"),
        ({"keyName": 5, "primaryKey": "p"}, "but no keys"),
        ({"keyName": "k", "primaryKey": 5}, "primaryKey: should be a text"),
        ({"relay": 5, "keys": {}}, "relay: should be the name"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(document: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        read(document)


def test_depth_is_bounded() -> None:
    document: Any = {}
    for _ in range(50):
        document = [document]
    with pytest.raises(ConfigurationError, match="nested too deep"):
        read(document)


@given(JSON)
def test_no_json_breaks_the_reader(document: Any) -> None:
    try:
        read(document)
    except ConfigurationError as error:
        assert str(error).startswith("az.json")  # noqa: PT017
