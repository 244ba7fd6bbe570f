"""Authorization rules and keys in Azure's management."""

from __future__ import annotations

from typing import Any

import pytest
from arm_world import NAMESPACE, Ask, World, refusal

SCOPES = {
    NAMESPACE: ("Microsoft.Relay/Namespaces/AuthorizationRules", ""),
    f"{NAMESPACE}/HybridConnections/hyco": ("Microsoft.Relay/Namespaces/HybridConnections/AuthorizationRules", "hyco"),
    f"{NAMESPACE}/WcfRelays/tcp": ("Microsoft.Relay/Namespaces/WcfRelays/AuthorizationRules", "tcp"),
}


@pytest.fixture(autouse=True)
async def _relays(ask: Ask) -> None:
    await ask("PUT", f"{NAMESPACE}/hybridConnections/hyco", {})
    await ask("PUT", f"{NAMESPACE}/wcfRelays/tcp", {})


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_rule_is_made_read_changed_and_deleted(scope: str, ask: Ask, world: World) -> None:
    kind, entity = SCOPES[scope]
    rule = f"{scope}/authorizationRules/App.1"
    made = await ask("PUT", rule, {"properties": {"rights": ["send", "Listen"]}})
    assert made.status_code == 200
    assert made.json() == {
        "id": f"{scope}/AuthorizationRules/App.1",
        "name": "App.1",
        "type": kind,
        "location": "local",
        "properties": {"rights": ["Listen", "Send"]},
    }
    before = (await ask("POST", f"{rule}/listKeys")).json()
    path = f";EntityPath={entity}" if entity else ""
    for which in ("primary", "secondary"):
        assert before[f"{which}ConnectionString"] == (
            f"Endpoint=sb://localhost:8443/;SharedAccessKeyName=App.1;SharedAccessKey={before[f'{which}Key']}{path}"
        )
    changed = await ask("PUT", rule.lower().replace("default/", "DEFAULT/"), {"properties": {"rights": ["Listen"]}})
    assert changed.json()["properties"] == {"rights": ["Listen"]}
    assert (await ask("POST", f"{rule}/listKeys")).json() == before
    names = [each["name"] for each in (await ask("GET", f"{scope}/authorizationRules")).json()["value"]]
    assert names == (["App.1"] if entity else ["App.1", "root"])
    assert (await ask("DELETE", rule)).status_code == 200
    assert (await ask("DELETE", rule)).status_code == 204
    assert refusal(await ask("GET", rule))[0] == 404
    assert refusal(await ask("POST", f"{rule}/listKeys"))[0] == 404
    assert refusal(await ask("POST", f"{rule}/regenerateKeys", {"keyType": "PrimaryKey"}))[0] == 404


async def test_one_key_is_renewed_and_the_other_stays(ask: Ask) -> None:
    rule = f"{NAMESPACE}/authorizationRules/app"
    await ask("PUT", rule, {"properties": {"rights": ["Send"]}})
    old = (await ask("POST", f"{rule}/listKeys")).json()
    first = (await ask("POST", f"{rule}/regenerateKeys", {"keyType": "PrimaryKey"})).json()
    assert first["primaryKey"] != old["primaryKey"]
    assert first["secondaryKey"] == old["secondaryKey"]
    second = (await ask("POST", f"{rule}/regenerateKeys", {"KeyType": "secondarykey", "key": "chosen"})).json()
    assert (second["primaryKey"], second["secondaryKey"]) == (first["primaryKey"], "chosen")
    assert "SharedAccessKey=chosen" in second["secondaryConnectionString"]
    assert (await ask("GET", rule)).json()["properties"]["rights"] == ["Send"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "properties"),
        ({"properties": {}}, "properties.rights"),
        ({"properties": {"rights": []}}, "properties.rights"),
        ({"properties": {"rights": "Send"}}, "properties.rights"),
        ({"properties": {"rights": ["Peek"]}}, "properties.rights.0"),
        ({"properties": {"rights": [1]}}, "properties.rights.0"),
        ({"properties": {"rights": ["Send", "Send"]}}, "given twice"),
        ({"properties": {"rights": ["Manage"]}}, "needs 'Listen' and 'Send' too"),
        ({"properties": {"rights": ["Manage", "Send"]}}, "needs 'Listen' and 'Send' too"),
        ({"properties": {"rights": ["Listen", "Send", "Manage", "Send"]}}, "properties.rights"),
    ],
)
async def test_wrong_rights_are_refused_and_change_nothing(body: Any, reason: str, ask: Ask, world: World) -> None:
    status, _, message = refusal(await ask("PUT", f"{NAMESPACE}/authorizationRules/app", body))
    assert status == 400
    assert reason in message
    assert list(world.namespace.rules) == ["root"]


@pytest.mark.parametrize("name", ["x" * 51, "-app", "app-", "%2e", "a~b", "a b", "ä"])
async def test_a_rule_is_not_called_so(name: str, ask: Ask, world: World) -> None:
    body = {"properties": {"rights": ["Send"]}}
    assert refusal(await ask("PUT", f"{NAMESPACE}/authorizationRules/{name}", body))[0] == 400
    assert list(world.namespace.rules) == ["root"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"keyType": "ThirdKey"},
        {"keyType": 1},
        {"keyType": "PrimaryKey", "key": ""},
        {"keyType": "PrimaryKey", "key": "a;b"},
        {"keyType": "PrimaryKey", "key": "a b"},
        {"keyType": "PrimaryKey", "key": "a\n"},
        {"keyType": "PrimaryKey", "key": "x" * 257},
        {"keyType": "PrimaryKey", "key": 7},
    ],
)
async def test_a_wrong_key_renews_nothing_and_is_not_repeated(body: Any, ask: Ask, world: World) -> None:
    """S70"""
    before = world.namespace.rules["root"]
    answer = await ask("POST", f"{NAMESPACE}/authorizationRules/root/regenerateKeys", body)
    assert refusal(answer)[:2] == (400, "InvalidRequestContent")
    assert "a;b" not in answer.text
    assert world.namespace.rules["root"] is before


async def test_there_are_at_most_twelve_rules(ask: Ask, world: World) -> None:
    body = {"properties": {"rights": ["Send"]}}
    for number in range(11):
        assert (await ask("PUT", f"{NAMESPACE}/authorizationRules/r{number}", body)).status_code == 200
    assert refusal(await ask("PUT", f"{NAMESPACE}/authorizationRules/more", body))[:2] == (403, "QuotaExceeded")
    assert (await ask("PUT", f"{NAMESPACE}/authorizationRules/r0", body)).status_code == 200
    assert len(world.namespace.rules) == 12
    first = (await ask("GET", f"{NAMESPACE}/authorizationRules")).json()
    assert len(first["value"]) == 3
    assert first["nextLink"]


async def test_rules_need_a_relay_that_can_have_them(ask: Ask, world: World) -> None:
    body = {"properties": {"rights": ["Send"]}}
    for scope in (f"{NAMESPACE}/hybridConnections/tcp", f"{NAMESPACE}/wcfRelays/none"):
        assert refusal(await ask("PUT", f"{scope}/authorizationRules/a", body))[:2] == (404, "ParentResourceNotFound")
        assert refusal(await ask("GET", f"{scope}/authorizationRules"))[0] == 404
