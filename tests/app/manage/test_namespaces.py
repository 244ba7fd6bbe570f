"""`/-/api/namespaces`: for the operator, who manages the primary namespace."""

from __future__ import annotations

from typing import Any

import pytest
from worlds import World

from app.access.sas import make_token


def refused(answer: Any) -> int:
    assert answer.json()["error"]["tracking_id"]
    return int(answer.status_code)


async def test_a_namespace_is_made_shown_changed_and_removed(world: World) -> None:
    auth = world.auth()
    made = await world.client.put("/-/api/namespaces/tenant", headers=auth)
    assert made.status_code == 201
    assert made.json() | {"createdAt": "", "updatedAt": ""} == {
        "name": "tenant",
        "isPrimary": False,
        "hosts": ["tenant", "tenant.localhost"],
        "aliases": [],
        "subscription": "",
        "resourceGroup": "",
        "location": "local",
        "tags": {},
        "network": {
            "defaultAction": "Allow",
            "publicNetworkAccess": "Enabled",
            "trustedServiceAccess": False,
            "ipRules": [],
        },
        "relayCount": 0,
        "createdAt": "",
        "updatedAt": "",
    }
    network = {"defaultAction": "Deny", "ipRules": [{"mask": "10.0.0.0/8"}]}
    changed = await world.client.put(
        "/-/api/namespaces/TENANT", json={"tags": {"for": "tests"}, "network": network}, headers=auth
    )
    assert changed.status_code == 200
    again = (await world.client.put("/-/api/namespaces/tenant", json={"location": "here"}, headers=auth)).json()
    assert (again["name"], again["tags"], again["location"]) == ("tenant", {"for": "tests"}, "here")
    assert again["network"]["ipRules"] == [{"mask": "10.0.0.0/8", "action": "Allow"}]
    listed = (await world.client.get("/-/api/namespaces", headers=auth)).json()["namespaces"]
    assert [(each["name"], each["isPrimary"]) for each in listed] == [("default", True), ("tenant", False)]
    assert (await world.client.delete("/-/api/namespaces/tenant", headers=auth)).status_code == 204
    assert refused(await world.client.get("/-/api/namespaces/tenant", headers=auth)) == 404


async def test_its_keys_open_a_new_namespace_and_no_other(world: World) -> None:
    """S20"""
    await world.client.put("/-/api/namespaces/tenant", headers=world.auth())
    answer = await world.client.get("/-/api/namespaces/tenant/keys", headers=world.auth())
    assert answer.headers["cache-control"] == "no-store"
    keys = answer.json()
    token = make_token("http://tenant.localhost/", keys["name"], keys["primaryKey"], int(world.clock()) + 60)
    tenant = {"Host": "tenant.localhost", "ServiceBusAuthorization": token}
    assert (await world.client.get("/-/api/status", headers=tenant)).json()["namespace"] == "tenant"
    for call in (
        world.client.get("/-/api/namespaces", headers=tenant),
        world.client.put("/-/api/namespaces/other", headers=tenant),
        world.client.delete("/-/api/namespaces/default", headers=tenant),
        world.client.get("/-/api/namespaces/default/keys", headers=tenant),
        world.client.put("/-/api/aliases/localhost", headers=tenant),
    ):
        assert refused(await call) == 403
    assert refused(await world.client.get("/-/api/status", headers={"ServiceBusAuthorization": token})) == 401
    assert refused(await world.client.get("/-/api/namespaces")) == 401
    assert refused(await world.client.get("/-/api/namespaces", headers={"Host": "tenant"})) == 401
    assert [each.name for each in world.gateway.registry.namespaces] == ["default", "tenant"]


async def test_names_that_cannot_be_and_the_primary_namespace_stay_as_they_are(world: World) -> None:
    auth = world.auth()
    await world.client.put("/-/api/aliases/taken.example", headers=auth)
    for name, status in (("taken.example", 409), ("-x", 400), ("a%2Fb", 404), ("a b", 400)):
        assert refused(await world.client.put(f"/-/api/namespaces/{name}", headers=auth)) == status
    assert refused(await world.client.delete("/-/api/namespaces/default", headers=auth)) == 400
    assert refused(await world.client.put("/-/api/namespaces/x", json={"colour": "red"}, headers=auth)) == 400
    assert [each.name for each in world.gateway.registry.namespaces] == ["default"]


@pytest.mark.parametrize("host", ["tenant", "tenant.localhost"])
async def test_an_alias_cannot_be_a_name_of_another_namespace(world: World, host: str) -> None:
    await world.client.put("/-/api/namespaces/tenant", headers=world.auth())
    assert refused(await world.client.put(f"/-/api/aliases/{host}", headers=world.auth())) == 409


async def test_a_name_of_the_gateway_itself_is_no_namespaces(world: World) -> None:
    """It would take that name from the primary namespace."""
    assert refused(await world.client.put("/-/api/namespaces/LocalHost", headers=world.auth())) == 409
    assert len(world.gateway.registry.namespaces) == 1


async def test_the_operators_token_opens_them_on_any_host(world: World) -> None:
    await world.client.put("/-/api/namespaces/tenant", headers=world.auth())
    bearer = {"Authorization": f"Bearer {world.gateway.opened.operator_token}"}
    for host in (world.host, "tenant.localhost"):
        listed = await world.client.get("/-/api/namespaces", headers={**bearer, "Host": host})
        assert [each["name"] for each in listed.json()["namespaces"]] == ["default", "tenant"]
    wrong = {"Authorization": "Bearer no-operators-token"}
    assert refused(await world.client.get("/-/api/namespaces", headers=wrong)) == 401
    assert refused(await world.client.get("/-/api/relays", headers=bearer)) == 401, "it is no key of a namespace"


async def test_only_the_operator_gives_a_name_of_the_gateway_away(world: World) -> None:
    auth = world.auth()
    await world.client.put("/-/api/namespaces/tenant", headers=auth)
    place = "/-/api/namespaces/tenant/aliases/localhost"
    made = await world.client.put(place, json={"address": "demo"}, headers=auth)
    assert (made.status_code, made.json()) == (201, {"host": "localhost", "address": "demo"})
    view = (await world.client.get("/-/api/namespaces/tenant", headers=auth)).json()
    assert view["aliases"] == [made.json()]
    assert world.gateway.hosts.place("localhost").address == "demo"
    assert (await world.client.delete(place, headers=auth)).status_code == 204
    assert world.gateway.hosts.find("localhost") is world.namespace
    assert refused(await world.client.delete(place, headers=auth)) == 404
    assert refused(await world.client.put(f"{place}:80", headers=auth)) == 400
