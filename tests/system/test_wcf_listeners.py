"""Listeners of one-way relays that know nothing of WCF: an unmodified SDK, and the command beside a web server."""

from __future__ import annotations

import httpx
from programs import FANWAY, Door, StartNode, running
from soap_service import SOAP_11, TNS, running_calculator
from wires import until
from worlds import KEY, KEY_NAME

from app.edge.oneway import MAX_BODY_BYTES


async def test_hyco_listeners_all_get_what_is_sent_to_a_net_event_relay(door: Door, node: StartNode) -> None:
    """The largest message too; what they answer goes nowhere."""
    uri = f"{door.listen('alarms')}&sb-hc-profile=netEvent"
    listeners = [await node("https_listener", ca=door.world.ca, uri=uri) for _ in range(3)]
    for listener in listeners:
        await listener.expect("listening")
    verify = door.world.tls() if door.world.ca else True
    async with httpx.AsyncClient(verify=verify, headers=door.world.auth()) as client:
        for path, size in (("alarms", 3), ("alarms/deep?bytes=100000", MAX_BODY_BYTES), ("alarms?status=500", 1)):
            answer = await client.post(f"{door.http}/{path}", content=b"x" * size)
            assert (answer.status_code, answer.content) == (202, b"")
            for listener in listeners:
                heard = await listener.expect("request")
                assert (heard["url"], heard["bytes"]) == (f"/{path}", size)


async def test_a_hyco_listener_is_one_of_several_on_a_net_oneway_relay(door: Door, node: StartNode) -> None:
    uri = f"{door.listen('tasks')}&sb-hc-profile=netOneway"
    listener = await node("https_listener", ca=door.world.ca, uri=uri)
    await listener.expect("listening")
    verify = door.world.tls() if door.world.ca else True
    async with httpx.AsyncClient(verify=verify, headers=door.world.auth()) as client:
        for number in range(5):
            assert (await client.post(f"{door.http}/tasks", content=b"x" * number)).status_code == 202
        assert [(await listener.expect("request"))["bytes"] for _ in range(5)] == list(range(5))


async def test_a_soap_service_gets_events_through_the_command(door: Door) -> None:
    world = door.world
    env = {"FANWAY_URL": world.url, "FANWAY_KEY_NAME": KEY_NAME, "FANWAY_KEY": KEY}
    with running_calculator() as first, running_calculator() as second:
        commands = [
            [FANWAY, "listen", "notes/all", "--to", f"localhost:{service.port}/svc", "--profile", "netEvent"]
            for service in (first, second)
        ]
        async with running(*commands[0], env=env), running(*commands[1], env=env):
            realm = world.gateway.context.realms[world.namespace]
            await until(lambda: realm.roster.count("notes/all") == 2)
            note = f'<s:Body><Note xmlns="{TNS}"><text>hi</text></Note></s:Body>'
            note = f'<s:Envelope xmlns:s="{SOAP_11}">{note}</s:Envelope>'
            headers = {**world.auth(), "Content-Type": "text/xml", "SOAPAction": '"urn:calculator#Note"'}
            assert (await world.client.post("/notes/all", content=note, headers=headers)).status_code == 202
            await until(lambda: first.notes == second.notes == ["hi"])
            assert [service.received[0][0]["SOAPAction"] for service in (first, second)] == [
                '"urn:calculator#Note"'
            ] * 2
        await until(lambda: "notes/all" not in world.namespace.relays)
