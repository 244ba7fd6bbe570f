"""Namespaces in Azure's management."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from arm_world import GROUP, NAMESPACE, SUBSCRIPTION, Ask, World, refusal

from app.namespace import Right

IN_SUBSCRIPTION = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Relay"
SHOP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/shop/providers/Microsoft.Relay/namespaces"


async def test_a_namespace_is_made_read_changed_and_deleted(ask: Ask, world: World) -> None:
    body = {"location": "West Europe", "tags": {"a": "b"}, "sku": {"name": "Standard", "tier": "Standard"}}
    made = await ask("PUT", f"{SHOP}/orders-eu", body)
    assert made.status_code == 201
    assert made.json() == {
        "id": f"{SHOP}/orders-eu",
        "name": "orders-eu",
        "type": "Microsoft.Relay/Namespaces",
        "location": "West Europe",
        "systemData": {
            "createdAt": "2023-11-14T22:13:20.5000000Z",
            "lastModifiedAt": "2023-11-14T22:13:20.5000000Z",
        },
        "tags": {"a": "b"},
        "sku": {"name": "Standard", "tier": "Standard"},
        "properties": {
            "provisioningState": "Succeeded",
            "status": "Active",
            "createdAt": "2023-11-14T22:13:20.5000000Z",
            "updatedAt": "2023-11-14T22:13:20.5000000Z",
            "serviceBusEndpoint": "https://orders-eu.localhost:8443/",
            "metricId": f"{SUBSCRIPTION}:orders-eu",
            "publicNetworkAccess": "Enabled",
            "privateEndpointConnections": [],
            "minimumTlsVersion": "1.2",
        },
    }
    namespace = world.registry.find_namespace("orders-eu")
    assert namespace is not None
    assert [(rule.name, rule.rights) for rule in namespace.rules.values()] == [
        ("RootManageSharedAccessKey", Right.MANAGE)
    ]
    patch = {"tags": {"c": "d"}, "properties": {"publicNetworkAccess": "Disabled"}}
    changed = (await ask("PATCH", f"{SHOP}/Orders-EU", patch)).json()
    assert (changed["name"], changed["tags"]) == ("orders-eu", {"c": "d"})
    assert changed["properties"]["publicNetworkAccess"] == namespace.network.public_network_access == "Disabled"
    assert (await ask("GET", f"{SHOP}/ORDERS-eu")).json() == changed
    replaced = await ask("PUT", f"{SHOP}/orders-eu", {"location": "westeurope"})
    assert (replaced.status_code, replaced.json()["tags"]) == (200, {})
    assert (await ask("DELETE", f"{SHOP}/orders-eu")).status_code == 200
    assert (await ask("DELETE", f"{SHOP}/orders-eu")).status_code == 204
    assert refusal(await ask("GET", f"{SHOP}/orders-eu"))[:2] == (404, "ResourceNotFound")
    assert refusal(await ask("PATCH", f"{SHOP}/orders-eu", {}))[0] == 404


async def test_an_older_version_tells_what_it_knows(ask: Ask) -> None:
    answer = (await ask("GET", NAMESPACE, version="2017-04-01")).json()
    assert answer.keys() == {"id", "name", "type", "location", "tags", "sku", "properties"}
    assert answer["properties"].keys() == {
        "provisioningState",
        "createdAt",
        "updatedAt",
        "serviceBusEndpoint",
        "metricId",
    }
    assert "minimumTlsVersion" not in (await ask("GET", NAMESPACE, version="2024-01-01")).json()["properties"]


async def test_a_namespace_that_arm_did_not_make_lives_where_the_settings_say(ask: Ask, world: World) -> None:
    """It takes another place when it is put there; deleting it would be the end of the gateway."""
    assert (await ask("GET", NAMESPACE)).json()["location"] == "local"
    taken = await ask("PUT", NAMESPACE, {"location": "West Europe", "tags": {"team": "a"}})
    assert (taken.status_code, taken.json()["location"]) == (200, "West Europe")
    assert world.namespace.subscription == ""
    status, code, message = refusal(await ask("DELETE", NAMESPACE))
    assert (status, code) == (409, "Conflict")
    assert "empty it" in message
    assert world.registry.namespaces == [world.namespace]


async def test_lists_go_by_subscription_and_group_in_pages(ask: Ask, client: httpx.AsyncClient) -> None:
    for name in ("Delta-ns", "alpha-ns", "charlie-ns"):
        assert (await ask("PUT", f"{SHOP}/{name}", {"location": "local"})).status_code == 201
    first = (await ask("GET", f"{IN_SUBSCRIPTION}/namespaces")).json()
    assert [each["name"] for each in first["value"]] == ["alpha-ns", "charlie-ns", "default"]
    assert first["nextLink"].startswith(f"https://localhost:8443{IN_SUBSCRIPTION}/namespaces?api-version=2026-01-01&")
    second = (await client.get(first["nextLink"])).json()
    assert [each["name"] for each in second["value"]] == ["Delta-ns"]
    assert "nextLink" not in second
    group = (await ask("GET", SHOP)).json()
    assert [each["name"] for each in group["value"]] == ["alpha-ns", "charlie-ns", "Delta-ns"]
    assert "nextLink" not in group
    other = SHOP.replace("/shop/", "/other/")
    assert (await ask("GET", other)).json() == {"value": []}
    assert refusal(await ask("GET", f"{other}/alpha-ns"))[0] == 404
    assert refusal(await ask("GET", f"{other}/alpha-ns/hybridConnections"))[:2] == (404, "ParentResourceNotFound")


async def test_a_name_belongs_to_one(ask: Ask, world: World) -> None:
    await ask("PUT", f"{SHOP}/orders-eu", {"location": "West Europe"})
    assert refusal(await ask("PUT", f"{GROUP}/Orders-eu", {"location": "local"}))[:2] == (409, "Conflict")
    status, _, message = refusal(await ask("PUT", f"{SHOP}/orders-eu", {"location": "local"}))
    assert status == 409
    assert "already exists in location 'West Europe'" in message
    await world.registry.put_alias(world.namespace, "an-alias")
    assert refusal(await ask("PUT", f"{SHOP}/an-alias", {"location": "local"}))[0] == 409
    assert len(world.registry.namespaces) == 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("orders-eu", "None"),
        ("DEFAULT", "NameInUse"),
        ("localhost", "NameInUse"),
        ("short", "InvalidName"),
        ("x" * 51, "InvalidName"),
        ("1orders", "InvalidName"),
        ("orders-", "InvalidName"),
        ("or.ders", "InvalidName"),
        ("", "InvalidName"),
    ],
)
async def test_a_name_is_judged_as_its_creation_would_be(name: str, reason: str, ask: Ask) -> None:
    answer = (await ask("POST", f"{IN_SUBSCRIPTION}/checkNameAvailability", {"NAME": name})).json()
    assert (answer["nameAvailable"], answer["reason"]) == (reason == "None", reason)
    assert ("message" in answer) == (reason != "None")
    if name:
        made = await ask("PUT", f"{SHOP}/{name}", {"location": "local"})
        assert made.status_code == {"None": 201, "NameInUse": 409, "InvalidName": 400}[reason]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "location"),
        ({"location": 7}, "location"),
        ({"location": "local", "LOCATION": "other"}, "'location' is given twice"),
        ({"location": "local\n"}, "location"),
        ({"location": "local", "tags": []}, "tags"),
        ({"location": "local", "tags": {"a": 1}}, "tags.a"),
        ({"location": "local", "tags": {f"t{n}": "" for n in range(51)}}, "tags"),
        ({"location": "local", "tags": {"a": "x" * 257}}, "tags.a"),
        ({"location": "local", "sku": {"name": "Premium"}}, "sku.name"),
        ({"location": "local", "sku": "Standard"}, "sku"),
        ({"location": "local", "properties": {"publicNetworkAccess": "Open"}}, "properties.publicNetworkAccess"),
        ({"location": "local", "properties": {"minimumTlsVersion": "1.0"}}, "properties.minimumTlsVersion"),
        (
            {"location": "local", "properties": {"privateEndpointConnections": [{}]}},
            "properties.privateEndpointConnections",
        ),
    ],
)
async def test_a_wrong_namespace_is_refused_whole(body: Any, place: str, ask: Ask, world: World) -> None:
    status, _, message = refusal(await ask("PUT", f"{SHOP}/orders-eu", body))
    assert status == 400
    assert place in message
    assert world.registry.namespaces == [world.namespace]


async def test_names_and_words_compare_ignoring_case_and_null_is_nothing(ask: Ask) -> None:
    body = {
        "Location": "local",
        "TAGS": None,
        "Sku": {"NAME": "standard"},
        "kind": "Relay",
        "properties": {"PublicNetworkAccess": "disabled", "provisioningState": 7},
    }
    made = await ask("PUT", f"{SHOP}/orders-eu", body)
    assert made.json()["properties"]["publicNetworkAccess"] == "Disabled"
    assert made.json()["tags"] == {}


async def test_the_least_tls_is_the_gateways_own(ask: Ask, world: World) -> None:
    newer = {"location": "local", "properties": {"minimumTlsVersion": "1.3"}}
    status, code, message = refusal(await ask("PUT", f"{SHOP}/orders-eu", newer))
    assert (status, code) == (409, "Conflict")
    assert "tls_minimum" in message
    assert world.registry.namespaces == [world.namespace]
    world.tls_minimum = "1.3"
    for wanted in ("1.2", "1.3"):
        body = {"location": "local", "properties": {"minimumTlsVersion": wanted}}
        assert (await ask("PUT", f"{SHOP}/orders-eu", body)).json()["properties"]["minimumTlsVersion"] == "1.3"
