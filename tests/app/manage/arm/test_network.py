"""Network rules, and what there is none of, in Azure's management."""

from __future__ import annotations

from typing import Any

import pytest
from arm_world import NAMESPACE, Ask, World, refusal

from app.namespace import IpRule, NetworkRules

RULES = f"{NAMESPACE}/networkRuleSets/default"


async def test_network_rules_are_read_and_replaced(ask: Ask, world: World) -> None:
    fresh = (await ask("GET", RULES)).json()
    assert fresh["id"] == RULES
    assert (fresh["name"], fresh["type"]) == ("default", "Microsoft.Relay/Namespaces/NetworkRuleSets")
    assert fresh["properties"] == {
        "defaultAction": "Allow",
        "publicNetworkAccess": "Enabled",
        "trustedServiceAccessEnabled": False,
        "ipRules": [],
    }
    properties = {
        "DefaultAction": "deny",
        "publicNetworkAccess": "SecuredByPerimeter",
        "trustedServiceAccessEnabled": True,
        "ipRules": [{"ipMask": "10.0.0.0/24"}, {"IpMask": "::1", "action": "Deny"}],
    }
    replaced = await ask("PUT", RULES, {"properties": properties})
    assert replaced.status_code == 200
    assert replaced.json() == (await ask("GET", RULES)).json() | {"systemData": replaced.json()["systemData"]}
    assert world.namespace.network == NetworkRules(
        "Deny", "SecuredByPerimeter", True, (IpRule("10.0.0.0/24"), IpRule("::1", "Deny"))
    )
    assert (await ask("GET", NAMESPACE)).json()["properties"]["publicNetworkAccess"] == "SecuredByPerimeter"
    await ask("PUT", RULES, {"properties": {}})
    assert world.namespace.network == NetworkRules(public_network_access="SecuredByPerimeter")


@pytest.mark.parametrize(
    ("properties", "place"),
    [
        (None, "properties"),
        ({"defaultAction": "Maybe"}, "properties.defaultAction"),
        ({"publicNetworkAccess": True}, "properties.publicNetworkAccess"),
        ({"trustedServiceAccessEnabled": "no"}, "properties.trustedServiceAccessEnabled"),
        ({"ipRules": {}}, "properties.ipRules"),
        ({"ipRules": [{}]}, "properties.ipRules.0.ipMask"),
        ({"ipRules": [{"ipMask": "10.0.0.1/24"}]}, "has host bits set"),
        ({"ipRules": [{"ipMask": "10.0.0.0/33"}]}, "properties.ipRules.0.ipMask"),
        ({"ipRules": [{"ipMask": "10.0.0"}]}, "properties.ipRules.0.ipMask"),
        ({"ipRules": [{"ipMask": "010.0.0.1"}]}, "properties.ipRules.0.ipMask"),
        ({"ipRules": [{"ipMask": ""}]}, "properties.ipRules.0.ipMask"),
        ({"ipRules": [{"ipMask": 167772160}]}, "properties.ipRules.0.ipMask"),
        ({"ipRules": [{"ipMask": "10.0.0.1", "action": "Drop"}]}, "properties.ipRules.0.action"),
        ({"ipRules": [{"ipMask": "10.0.0.1"}] * 129}, "properties.ipRules"),
    ],
)
async def test_wrong_network_rules_change_nothing(properties: Any, place: str, ask: Ask, world: World) -> None:
    status, _, message = refusal(await ask("PUT", RULES, {"properties": properties}))
    assert status == 400
    assert place in message
    assert world.namespace.network == NetworkRules()


async def test_a_hundred_and_twenty_eight_rules_are_not_too_many(ask: Ask, world: World) -> None:
    rules = [{"ipMask": f"10.0.0.{number}"} for number in range(128)]
    assert (await ask("PUT", RULES, {"properties": {"ipRules": rules}})).status_code == 200
    assert len(world.namespace.network.ip_rules) == 128


async def test_there_are_no_private_endpoints(ask: Ask) -> None:
    connections = f"{NAMESPACE}/privateEndpointConnections"
    assert (await ask("GET", connections)).json() == {"value": []}
    assert refusal(await ask("GET", f"{connections}/mine"))[:2] == (404, "ResourceNotFound")
    status, _, message = refusal(await ask("PUT", f"{connections}/mine", {"properties": {}}))
    assert (status, message) == (405, "Not with this method; here it is DELETE, GET.")
    assert (await ask("DELETE", f"{connections}/mine")).status_code == 204
    links = f"{NAMESPACE}/privateLinkResources"
    [link] = (await ask("GET", links)).json()["value"]
    assert link["properties"]["groupId"] == "namespace"
    assert (await ask("GET", f"{links}/namespace")).json() == link
    assert refusal(await ask("GET", f"{links}/other"))[0] == 404
