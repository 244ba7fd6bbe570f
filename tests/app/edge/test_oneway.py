"""One-way messages: 202 at once, to one listener or to all, at most once, at most 64 KiB."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from wires import ask, frame, masked, until, upgrade_head, upgraded
from worlds import Listener, World, running_gateway

from app.edge import sockets
from app.edge.control import MAX_OWED_BYTES, ControlChannel
from app.edge.oneway import MAX_BODY_BYTES
from app.wire.frames import BINARY, TEXT

PROFILE = {"netOneway": "&sb-hc-profile=netOneway", "netEvent": "&sb-hc-profile=netEvent"}


async def listening(world: World, profile: str, *, path: str = "alarms", **kwargs: Any) -> Listener:
    return await world.listen(path, query=PROFILE[profile] + kwargs.pop("more", ""), **kwargs)


async def received(listener: Listener, count: int = 1) -> list[bytes]:
    await until(lambda: len(listener.bodies) >= count)
    return listener.bodies


async def test_a_message_goes_to_one_listener_and_is_answered_at_once(world: World) -> None:
    """The listener gets an ordinary request; its own answer is read past."""
    listeners = [await listening(world, "netOneway") for _ in range(3)]
    for number in range(20):
        answer = await world.client.post(
            "/alarms/x?a=1", content=b"%d" % number, headers={**world.auth(), "SOAPAction": "urn:fire", "X-A": "b"}
        )
        assert (answer.status_code, answer.content, "via" in answer.headers) == (202, b"", False)
    await until(lambda: sum(len(listener.bodies) for listener in listeners) == 20)
    assert sorted(int(body) for listener in listeners for body in listener.bodies) == list(range(20))
    request = next(listener.requests[0] for listener in listeners if listener.requests)
    assert (request["method"], request["requestTarget"], request["body"]) == ("POST", "/alarms/x?a=1", True)
    sent = request["requestHeaders"]
    assert (sent["SOAPAction"], sent["X-A"], sent["Via"]) == ("urn:fire", "b", "1.1 127.0.0.1")
    assert "ServiceBusAuthorization" not in sent


async def test_a_message_for_one_passes_by_a_listener_that_takes_nothing_more(world: World) -> None:
    """When no other is left it is lost, which nobody is told."""
    listeners = [await listening(world, "netOneway") for _ in range(3)]
    context = world.gateway.context
    channels = [live for live in context.lives if isinstance(live, ControlChannel)]
    for clogged in (channels[1:], channels):
        for channel in clogged:
            channel._due_bytes = 1 << 30
        for number in range(6):
            answer = await world.client.post("/alarms", content=b"%d" % number, headers=world.auth())
            assert answer.status_code == 202
    await until(lambda: sum(len(listener.bodies) for listener in listeners) == 6)
    assert len([listener for listener in listeners if listener.bodies]) == 1
    assert context.counters["one_way_losses"] == 6


async def test_an_event_goes_to_every_listener(world: World) -> None:
    listeners = [await listening(world, "netEvent") for _ in range(5)]
    for number in range(3):
        answer = await world.client.post("/alarms", content=b"%d" % number, headers=world.auth())
        assert answer.status_code == 202
    for listener in listeners:
        assert await received(listener, 3) == [b"0", b"1", b"2"]


async def test_a_message_without_a_body_is_one_too(world: World) -> None:
    listener = await listening(world, "netEvent")
    assert (await world.client.post("/alarms", headers=world.auth())).status_code == 202
    await received(listener)
    assert listener.requests[0]["body"] is False


@pytest.mark.parametrize("profile", PROFILE)
async def test_a_message_holds_64_kib_and_no_byte_more(world: World, profile: str) -> None:
    listener = await listening(world, profile)
    most = b"x" * MAX_BODY_BYTES

    async def pieces() -> Any:
        yield most
        yield b"y"

    assert (await world.client.post("/alarms", content=most, headers=world.auth())).status_code == 202
    assert await received(listener) == [most]
    for body in (most + b"y", pieces()):
        answer = await world.client.post("/alarms", content=body, headers=world.auth())
        assert answer.status_code == 413
        assert "65536 bytes" in answer.text
    assert (await world.client.post("/alarms", content=b"next", headers=world.auth())).status_code == 202
    assert await received(listener, 2) == [most, b"next"]


@pytest.mark.parametrize("profile", PROFILE)
async def test_only_posts_of_those_who_may_send_are_messages(world: World, profile: str) -> None:
    await listening(world, profile)
    assert (await world.client.get("/alarms", headers=world.auth())).status_code == 405
    assert (await world.client.post("/alarms", content=b"x")).status_code == 401
    assert (await world.client.post("/alarms", content=b"x", headers=world.auth(key="wrong"))).status_code == 401
    world_wide = await world.client.put(
        "/-/api/rules/listener", json={"rights": ["Listen"], "primaryKey": "listener"}, headers=world.auth()
    )
    assert world_wide.status_code == 201
    listener = world.auth(rule="listener", key="listener")
    assert (await world.client.post("/alarms", content=b"x", headers=listener)).status_code == 403


@pytest.mark.parametrize("profile", PROFILE)
async def test_the_relay_goes_with_its_last_listener(world: World, profile: str) -> None:
    """So a sender learns that there is nobody: 404. In between it is listed as dynamic."""
    first, second = await listening(world, profile), await listening(world, profile)
    shown = (await world.client.get("/-/api/relays/alarms", headers=world.auth())).json()
    assert (shown["profile"], shown["isDynamic"], shown["listenerCount"]) == (profile, True, 2)
    await first.socket.close()
    assert (await world.client.post("/alarms", content=b"x", headers=world.auth())).status_code == 202
    await second.socket.close()
    await until(lambda: "alarms" not in world.namespace.relays)
    answer = await world.client.post("/alarms", content=b"x", headers=world.auth())
    assert answer.status_code == 404
    assert not world.gateway.context.has_wcf_relays


async def test_a_sender_may_narrow_who_gets_an_event(world: World) -> None:
    ids = [f"6bb2b6f9-4c2e-4a2a-9a25-0e4d1a6d1f1{number}" for number in range(3)]
    listeners = [await listening(world, "netEvent", more=f"&sb-hc-id={id}") for id in ids]
    headers = {**world.auth(), "Microsoft-Relay-DisallowedListeners": ids[1]}
    assert (await world.client.post("/alarms", content=b"some", headers=headers)).status_code == 202
    headers = {**world.auth(), "Microsoft-Relay-AllowedListeners": "6bb2b6f9-4c2e-4a2a-9a25-0e4d1a6d1f99"}
    assert (await world.client.post("/alarms", content=b"none", headers=headers)).status_code == 404
    assert (await world.client.post("/alarms", content=b"all", headers=world.auth())).status_code == 202
    for listener, expected in zip(listeners, ([b"some", b"all"], [b"all"], [b"some", b"all"]), strict=True):
        assert await received(listener, len(expected)) == expected


async def test_a_listener_that_takes_its_own_place_again_keeps_the_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the relay is full it is put in the place of the one that it was, and nobody else gets in between."""
    monkeypatch.setattr(sockets, "SETTLED_SECONDS", 0.0)
    async with running_gateway(tmp_path, limits={"listeners": 1}) as world:
        id = "&sb-hc-id=6bb2b6f9-4c2e-4a2a-9a25-0e4d1a6d1f11"
        await listening(world, "netEvent", more=id)
        again = await listening(world, "netEvent", more=id)
        assert (await world.client.post("/alarms", content=b"x", headers=world.auth())).status_code == 202
        assert await received(again) == [b"x"]


async def test_a_listener_whose_key_is_gone_gets_nothing_more(world: World) -> None:
    """S03: multicast asks nobody anew, since who may not listen any more is off the roster at once."""
    body = {"rights": ["Listen"], "primaryKey": "gone"}
    await world.client.put("/-/api/rules/gone", json=body, headers=world.auth())
    kept = await listening(world, "netEvent")
    lost = await listening(world, "netEvent", headers=world.auth(rule="gone", key="gone"))
    await world.client.delete("/-/api/rules/gone", headers=world.auth())
    assert (await world.client.post("/alarms", content=b"x", headers=world.auth())).status_code == 202
    assert await received(kept) == [b"x"]
    assert (await lost.closed())[0] == 1008
    assert not lost.bodies


async def test_a_listener_that_does_not_read_holds_up_nobody(world: World) -> None:
    """It loses what it cannot take; the sender is not told, the others have everything."""
    stalled = await upgraded(world, "/$hc/alarms?sb-hc-action=listen&sb-hc-profile=netEvent")
    stalled.writer.transport.pause_reading()  # type: ignore[attr-defined]
    healthy = await listening(world, "netEvent")
    body = b"x" * MAX_BODY_BYTES
    counters = world.gateway.context.counters
    sent = 0
    while not counters["one_way_losses"]:
        assert (await world.client.post("/alarms", content=body, headers=world.auth())).status_code == 202
        sent += 1
        assert sent < 20 * MAX_OWED_BYTES // MAX_BODY_BYTES
    assert (await world.client.post("/alarms", content=b"last", headers=world.auth())).status_code == 202
    assert (await received(healthy, sent + 1))[-1] == b"last"


async def test_a_26th_listener_is_refused(world: World) -> None:
    """Also of a relay that came into being by use."""
    listeners = [await listening(world, "netEvent") for _ in range(25)]
    wire = await world.raw()
    await wire.send(upgrade_head(world, "/$hc/alarms?sb-hc-action=listen"))
    assert (await wire.head()).startswith("HTTP/1.1 403 ")
    assert (await world.client.post("/alarms", content=b"x", headers=world.auth())).status_code == 202
    for listener in listeners:
        assert await received(listener) == [b"x"]


async def test_subscribers_of_our_own_door_get_what_is_sent_to_all(world: World) -> None:
    """They count as receivers: the relay stays for them. Nothing is stored, so nothing is replayed."""
    listener = await listening(world, "netEvent")
    await world.client.post("/alarms", content=b"before", headers=world.auth())
    async with world.client.stream(
        "GET", "/-/events/alarms?from=start", headers={**world.auth(), "Accept": "text/event-stream"}
    ) as stream:
        lines = stream.aiter_lines()
        async for line in lines:
            if line.startswith("data:"):
                break
        await world.client.post(
            "/alarms", content="<x>é</x>".encode(), headers={**world.auth(), "Content-Type": "text/xml"}
        )
        async for line in lines:
            if line.startswith("data:"):
                assert line == "data: <x>é</x>"
                break
        await listener.socket.close()
        await until(lambda: not world.gateway.context.realms[world.namespace].roster.count("alarms"))
        assert (await world.client.post("/alarms", content=b"x", headers=world.auth())).status_code == 202
    await until(lambda: "alarms" not in world.namespace.relays)


async def test_events_have_addresses_even_where_messages_have_none(world: World) -> None:
    """What follows the relay's path may be anything; what no event can have is seen at the relay itself, and once."""
    await listening(world, "netEvent")
    seen: list[str] = []

    async def follow() -> None:
        headers = {**world.auth(), "Accept": "application/x-ndjson"}
        async with world.client.stream("GET", "/-/events/alarms/**", headers=headers) as stream:
            async for line in stream.aiter_lines():
                event = json.loads(line)
                seen.append(event["fanwayaddress"] if event["type"] == "fanway.event" else event["type"])

    following = asyncio.create_task(follow())
    await until(lambda: seen == ["fanway.ready"])
    odd = ["*", "**", "a//b", "%2e%2e/x", "a%2Fb", "%00", "a" * 200]
    for path in ["ALARMS/fire/7", *[f"alarms/{suffix}" for suffix in odd], "alarms/%C3%A9"]:
        wire = await ask(world, f"/{path}", f"ServiceBusAuthorization: {world.token()}", method="POST")
        assert (await wire.answer())[0] == 202, path
    await until(lambda: len(seen) == 3 + len(odd))
    assert seen[1:] == ["alarms/fire/7", *["alarms"] * len(odd), "alarms/é"]
    following.cancel()


async def test_other_doors_say_where_messages_go(world: World) -> None:
    await listening(world, "netOneway")
    await listening(world, "netEvent", path="news")
    for path in ("alarms", "news"):
        answer = await world.client.post(f"/-/events/{path}", content=b"x", headers=world.auth())
        assert answer.status_code == 400
        assert "goes to /{address}" in answer.text
    answer = await world.client.get("/-/events/alarms?wait=0", headers=world.auth())
    assert (answer.status_code, "no events" in answer.text) == (400, True)
    wire = await world.raw()
    await wire.send(upgrade_head(world, "/$hc/alarms"))
    assert (await wire.head()).startswith("HTTP/1.1 400 A relay of the profile 'netOneway' carries requests only")


async def test_what_a_listener_answers_is_read_past(world: World) -> None:
    """Also a broken answer, and one with a body."""
    control = await upgraded(world, "/$hc/alarms?sb-hc-action=listen&sb-hc-profile=netOneway")
    (channel,) = (live for live in world.gateway.context.lives if isinstance(live, ControlChannel))
    for _ in range(2):
        assert (await world.client.post("/alarms", content=b"x", headers=world.auth())).status_code == 202
        opcode, _, command = await frame(control)
        assert opcode == TEXT
        assert (await frame(control))[0] == BINARY
        id = command.split(b'"id":"')[1].split(b'"')[0].decode()
        answer = f'{{"response":{{"requestId":"{id}","statusCode":500,"body":true}}}}'
        await control.send(masked(TEXT, answer.encode()) + masked(BINARY, b"body"))
    await until(lambda: world.gateway.context.counters["late_answers"] == 2)
    assert not channel.is_ending


async def test_a_body_that_stops_is_refused(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, deadlines={"idle_seconds": 0.2}) as world:
        listener = await listening(world, "netOneway")
        wire = await world.raw()
        await wire.send(
            f"POST /alarms HTTP/1.1\r\nHost: {world.host}\r\nContent-Length: 10\r\n"
            f"ServiceBusAuthorization: {world.token()}\r\n\r\nhalf"
        )
        assert (await wire.answer())[0] == 408
        assert await wire.rest() == b""
        assert not listener.requests
        left = await world.raw()
        await left.send(
            f"POST /alarms HTTP/1.1\r\nHost: {world.host}\r\nContent-Length: 10\r\n"
            f"ServiceBusAuthorization: {world.token()}\r\n\r\nhalf"
        )
        left.abort()
        await asyncio.sleep(0)
        assert (await world.client.post("/alarms", content=b"whole", headers=world.auth())).status_code == 202
        assert await received(listener) == [b"whole"]


@pytest.mark.parametrize("profile", PROFILE)
async def test_a_ticket_that_ends_while_its_message_comes_sends_nothing(world: World, profile: str) -> None:
    """A body may take as long as it likes; what it was admitted by may not be over when it is handed on."""
    listener = await listening(world, profile)
    asked = await world.client.post("/-/tickets", headers=world.auth(), json={"once": True})
    wire = await world.raw()
    await wire.send(
        f"POST /alarms?sb-hc-token={asked.json()['ticket']} HTTP/1.1\r\nHost: {world.host}\r\n"
        "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n"
    )
    assert "100 Continue" in await wire.head()
    await wire.send("first")
    digest = hashlib.sha256(asked.json()["ticket"].encode()).hexdigest()
    revoked = await world.client.post("/-/api/revocations", headers=world.auth(), json={"token": digest})
    assert revoked.status_code == 201
    await wire.send("later")
    status, _, body = await wire.answer()
    assert (status, b"revoked" in body) == (401, True)
    assert not listener.requests
