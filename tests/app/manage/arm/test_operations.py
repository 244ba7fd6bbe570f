"""What one can be allowed to do, as Azure's management lists it."""

from __future__ import annotations

from arm_world import Ask


async def test_operations_are_listed_once_each(ask: Ask) -> None:
    operations = (await ask("GET", "/providers/Microsoft.Relay/operations")).json()["value"]
    names = [each["name"] for each in operations]
    assert len(names) == len(set(names))
    assert "Microsoft.Relay/namespaces/hybridConnections/authorizationRules/listkeys/action" in names
    assert {each["name"] for each in operations if each["isDataAction"]} == {
        "Microsoft.Relay/namespaces/messages/listen/action",
        "Microsoft.Relay/namespaces/messages/send/action",
    }
    assert all(each["display"].keys() == {"provider", "resource", "operation"} for each in operations)
