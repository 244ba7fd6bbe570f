"""Hybrid connections and WCF relays in Azure's management."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from arm_world import NAMESPACE, Ask, World, refusal

from app.namespace import Profile, Relay, RelayTerms, Right
from app.store.settings import RelaySettings

HYBRID = f"{NAMESPACE}/hybridConnections"
WCF = f"{NAMESPACE}/wcfRelays"
STAMP = "2023-11-14T22:13:20.5000000Z"


async def test_a_hybrid_connection_is_made_read_replaced_and_deleted(ask: Ask, world: World) -> None:
    body = {"properties": {"RequiresClientAuthorization": False, "userMetadata": "mine", "path": "ignored"}}
    made = await ask("PUT", f"{HYBRID}/hyco", body)
    assert made.status_code == 200
    assert made.json() == {
        "id": f"{NAMESPACE}/HybridConnections/hyco",
        "name": "hyco",
        "type": "Microsoft.Relay/Namespaces/HybridConnections",
        "location": "local",
        "systemData": {"createdAt": STAMP, "lastModifiedAt": STAMP},
        "properties": {
            "createdAt": STAMP,
            "updatedAt": STAMP,
            "listenerCount": 2,
            "requiresClientAuthorization": False,
            "userMetadata": "mine",
        },
    }
    assert (await ask("GET", f"{HYBRID}/HYCO")).json() == made.json()
    older = (await ask("GET", f"{HYBRID}/hyco", version="2017-04-01")).json()
    assert older.keys() == {"id", "name", "type", "properties"}
    assert world.namespace.relays["hyco"].profile is Profile.HYBRID_CONNECTION
    replaced = (await ask("PUT", f"{HYBRID}/hyco", {})).json()["properties"]
    assert replaced["requiresClientAuthorization"] is True
    assert "userMetadata" not in replaced
    assert (await ask("DELETE", f"{HYBRID}/hyco")).status_code == 200
    assert (await ask("DELETE", f"{HYBRID}/hyco")).status_code == 204
    assert refusal(await ask("GET", f"{HYBRID}/hyco"))[:2] == (404, "ResourceNotFound")


async def test_a_wcf_relay_is_made_read_replaced_and_deleted(ask: Ask, world: World) -> None:
    made = await ask("PUT", f"{WCF}/soap", {"properties": {"relayType": "http", "requiresTransportSecurity": False}})
    assert made.status_code == 200
    assert made.json()["id"] == f"{NAMESPACE}/WcfRelays/soap"
    assert made.json()["type"] == "Microsoft.Relay/Namespaces/WcfRelays"
    assert made.json()["properties"] == {
        "createdAt": STAMP,
        "updatedAt": STAMP,
        "listenerCount": 2,
        "requiresClientAuthorization": True,
        "isDynamic": False,
        "relayType": "Http",
        "requiresTransportSecurity": False,
    }
    kept = (await ask("PUT", f"{WCF}/soap", {"properties": {"userMetadata": "x"}})).json()["properties"]
    assert (kept["relayType"], kept["requiresTransportSecurity"]) == ("Http", True)
    assert (await ask("PUT", f"{WCF}/tcp", {})).json()["properties"]["relayType"] == "NetTcp"
    assert world.namespace.relays["tcp"].profile is Profile.NET_TCP
    assert (await ask("GET", f"{WCF}/none")).status_code == 204
    assert (await ask("DELETE", f"{WCF}/soap")).status_code == 200
    assert (await ask("DELETE", f"{WCF}/soap")).status_code == 204


async def test_dynamic_relays_show_and_cannot_be_made(ask: Ask, world: World) -> None:
    for name, profile in (("one", Profile.NET_ONEWAY), ("many", Profile.NET_EVENT)):
        world.registry.ensure_dynamic(world.namespace, name, RelayTerms(profile=profile))
    listed = (await ask("GET", WCF)).json()["value"]
    assert [(each["name"], each["properties"]["relayType"], each["properties"]["isDynamic"]) for each in listed] == [
        ("many", "NetEvent", True),
        ("one", "NetOneway", True),
    ]
    for kind in ("NetOneway", "NetEvent", "None"):
        assert refusal(await ask("PUT", f"{WCF}/new", {"properties": {"relayType": kind}}))[0] == 400
    assert (await ask("DELETE", f"{WCF}/one")).status_code == 200
    assert world.namespace.relays.keys() == {"many"}


async def test_a_kind_of_relay_never_becomes_another(ask: Ask, world: World) -> None:
    """What lives on a relay would end; our own relays are not ARM's to touch, the dynamic ones apart."""
    await world.registry.put_relay(world.namespace, "native", RelaySettings())
    await ask("PUT", f"{HYBRID}/hyco", {})
    await ask("PUT", f"{WCF}/tcp", {})
    for path, body in (
        (f"{HYBRID}/native", {}),
        (f"{HYBRID}/tcp", {}),
        (f"{WCF}/hyco", {}),
        (f"{WCF}/native", {}),
        (f"{WCF}/tcp", {"properties": {"relayType": "Http"}}),
    ):
        assert refusal(await ask("PUT", path, body))[:2] == (409, "Conflict")
    for path in (f"{HYBRID}/native", f"{HYBRID}/tcp"):
        assert (await ask("DELETE", path)).status_code == 204
        assert refusal(await ask("GET", path))[0] == 404
    assert (await ask("GET", f"{WCF}/hyco")).status_code == 204
    assert sorted(world.namespace.relays) == ["hyco", "native", "tcp"]
    world.registry.ensure_dynamic(world.namespace, "used")
    assert (await ask("PUT", f"{HYBRID}/used", {})).status_code == 200
    assert not world.namespace.relays["used"].is_dynamic


async def test_what_arm_has_no_name_for_stays(ask: Ask, world: World) -> None:
    settings = RelaySettings(profile=Profile.HYBRID_CONNECTION, max_listeners=3, display_name="Mine")
    await world.registry.put_relay(world.namespace, "hyco", settings)
    await world.registry.put_rule(world.namespace, world.namespace.relays["hyco"], "app", Right.SEND)
    await ask("PUT", f"{HYBRID}/hyco", {"properties": {"userMetadata": "x"}})
    relay = world.namespace.relays["hyco"]
    assert (relay.max_listeners, relay.display_name, relay.user_metadata) == (3, "Mine", "x")
    assert "app" in relay.rules


async def test_a_slash_in_a_name_is_sent_as_a_tilde_or_encoded(ask: Ask, world: World) -> None:
    made = (await ask("PUT", f"{HYBRID}/plants%2Foslo", {})).json()
    assert (made["name"], made["id"]) == ("plants/oslo", f"{NAMESPACE}/HybridConnections/plants~oslo")
    assert (await ask("GET", f"{HYBRID}/plants~oslo")).json() == made
    rule = f"{HYBRID}/plants~oslo/authorizationRules/app"
    ruled = (await ask("PUT", rule, {"properties": {"rights": ["Send"]}})).json()
    assert ruled["id"] == f"{NAMESPACE}/HybridConnections/plants~oslo/AuthorizationRules/app"
    keys = (await ask("POST", f"{rule}/listKeys")).json()
    assert keys["primaryConnectionString"].endswith(";EntityPath=plants/oslo")
    hybrid = RelaySettings(profile=Profile.HYBRID_CONNECTION)
    await world.registry.put_relay(world.namespace, "own~name", hybrid)
    assert (await ask("GET", f"{HYBRID}/own~name")).json()["name"] == "own~name"


@pytest.mark.parametrize(
    ("kind", "body", "place"),
    [
        (HYBRID, {"properties": []}, "properties"),
        (HYBRID, {"properties": {"requiresClientAuthorization": "yes"}}, "properties.requiresClientAuthorization"),
        (HYBRID, {"properties": {"requiresClientAuthorization": 1}}, "properties.requiresClientAuthorization"),
        (HYBRID, {"properties": {"userMetadata": "x" * 1025}}, "properties.userMetadata"),
        (HYBRID, {"properties": {"userMetadata": 1}}, "properties.userMetadata"),
        (WCF, {"properties": {"relayType": "NetPipe"}}, "properties.relayType"),
        (WCF, {"properties": {"relayType": 1}}, "properties.relayType"),
        (WCF, {"properties": {"requiresTransportSecurity": "no"}}, "properties.requiresTransportSecurity"),
        (WCF, {"properties": {}, "PROPERTIES": {}}, "'properties' is given twice"),
    ],
)
async def test_a_wrong_relay_is_refused_whole(kind: str, body: Any, place: str, ask: Ask, world: World) -> None:
    status, code, message = refusal(await ask("PUT", f"{kind}/new", body))
    assert (status, code) == (400, "InvalidRequestContent")
    assert place in message
    assert not world.namespace.relays


async def test_ten_thousand_relays_are_paged_whole(client: httpx.AsyncClient, world: World) -> None:
    """What goes between two pages hides no other, and what is garbage is no token."""
    world.arm = world.arm.model_copy(update={"page_items": 1000})
    for number in range(10_000):
        relay = Relay(f"r{number:05}", Profile.HYBRID_CONNECTION)
        world.namespace.relays[relay.key] = relay
    names: list[str] = []
    next_link: str | None = f"{HYBRID}?api-version=2026-01-01"
    while next_link:
        answer = (await client.get(next_link)).json()
        names += [each["name"] for each in answer["value"]]
        next_link = answer.get("nextLink")
        world.namespace.relays.pop(names[-1], None)
    assert names == [f"r{number:05}" for number in range(10_000)]
    for token in ("%25%25", "_w", "a"):
        wrong = await client.get(f"{HYBRID}?api-version=2026-01-01&$skiptoken={token}")
        assert refusal(wrong)[0] == 400
