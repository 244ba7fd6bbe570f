"""Paths of Azure's management, told from requests that are relayed."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire.azure.arm import SHAPES, ArmPath, api_version, find_arm_path, is_arm

NAMESPACE = "/subscriptions/0000/resourceGroups/rg/providers/Microsoft.Relay/namespaces/orders"
QUERY = "api-version=2026-01-01"

segments = st.text(min_size=1).filter(lambda text: "/" not in text and "~" not in text)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/providers/Microsoft.Relay/operations", "operations"),
        ("/subscriptions/0/providers/Microsoft.Relay/checkNameAvailability", "checkNameAvailability"),
        ("/subscriptions/0/providers/Microsoft.Relay/namespaces", "namespaces"),
        ("/subscriptions/0/resourceGroups/g/providers/Microsoft.Relay/namespaces", "namespaces"),
        (NAMESPACE, "namespaces"),
        (f"{NAMESPACE}/authorizationRules/r/listKeys", "namespaces/authorizationRules"),
        (f"{NAMESPACE}/hybridConnections/h", "namespaces/hybridConnections"),
        (f"{NAMESPACE}/wcfRelays/w/authorizationRules", "namespaces/wcfRelays/authorizationRules"),
        (f"{NAMESPACE}/wcfRelays/w/authorizationRules/r/regenerateKeys", "namespaces/wcfRelays/authorizationRules"),
        (f"{NAMESPACE}/networkRuleSets/default", "namespaces/networkRuleSets"),
        (f"{NAMESPACE}/privateEndpointConnections", "namespaces/privateEndpointConnections"),
        (f"{NAMESPACE}/privateLinkResources/namespace", "namespaces/privateLinkResources"),
    ],
)
def test_known_shapes_are_known_in_every_case(path: str, kind: str) -> None:
    assert find_arm_path(path) == ArmPath(path, kind)
    folded = path.replace("Microsoft.Relay", "MICROSOFT.relay").replace("resourceGroups", "resourcegroups")
    assert find_arm_path(folded.replace("namespaces", "NameSpaces")) == ArmPath(path, kind)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/providers/Microsoft.Relay",
        "/providers/Microsoft.Relay/operations/",
        "/providers/Microsoft.EventHub/operations",
        "/subscriptions",
        "/subscriptions//providers/Microsoft.Relay/namespaces",
        "/subscriptions/0/resourceGroups/g",
        "//subscriptions/0/providers/Microsoft.Relay/namespaces",
        "/x/subscriptions/0/providers/Microsoft.Relay/namespaces",
        f"{NAMESPACE}/",
        f"{NAMESPACE}/queues",
        f"{NAMESPACE}/hybridConnections/a/b",
        f"{NAMESPACE}/hybridConnections/h/listKeys",
        f"{NAMESPACE}/networkRuleSets/other",
        f"{NAMESPACE}/%68ybridConnections",
    ],
)
def test_every_other_shape_is_relayed(path: str) -> None:
    assert find_arm_path(path) is None
    assert not is_arm(path, QUERY)


@pytest.mark.parametrize(
    ("query", "version"),
    [
        ("", None),
        ("apiversion=1", None),
        ("x=api-version", None),
        ("my-api-version=1", None),
        ("api-version=", ""),
        ("api-version", ""),
        ("a=1&API-Version=2017-04-01", "2017-04-01"),
        ("api-version=2017-04-01&api-version=2016-07-01", "2017-04-01"),
    ],
)
def test_a_path_alone_is_not_management(query: str, version: str | None) -> None:
    assert api_version(query) == version
    assert is_arm(NAMESPACE, query) is (version is not None)


@pytest.mark.parametrize("name", ["a%2Fb", "a%2fb", "a~b"])
def test_a_slash_within_a_name_stays_within_it(name: str) -> None:
    assert find_arm_path(f"{NAMESPACE}/hybridConnections/{name}") == ArmPath(
        f"{NAMESPACE}/hybridConnections/a~b", "namespaces/hybridConnections"
    )


@given(names=st.lists(segments, min_size=5, max_size=5), shape=st.sampled_from(SHAPES))
def test_names_come_back_as_they_were_whatever_they_hold(names: list[str], shape: str) -> None:
    filled = "/" + shape.format(*names)
    try:
        raw = "/" + shape.format(*(quote(name, safe="") for name in names))
    except UnicodeEncodeError:  # a lone surrogate is no name
        return
    found = find_arm_path(raw)
    assert found is not None
    assert found.path == filled


@given(st.text(), st.text())
def test_whatever_comes_is_answered(path: str, query: str) -> None:
    is_arm(path, query)
