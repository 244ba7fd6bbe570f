"""A listener's control channel: who may open it, what it understands, when it ends."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from wires import closed, frame, masked, small_window, until, upgraded
from worlds import KEY, KEY_NAME, Listener, Request, World, running_gateway

from app.config import Deadlines
from app.edge.control import ControlChannel
from app.namespace import Right
from app.wire.frames import BINARY, PING, TEXT

LISTEN = "/$hc/hyco?sb-hc-action=listen"
NO_COMMANDS = ('{"message": "hello"}', "no json", "[]", '{"a":1,"b":2}', '{"response":{}}', '{"renewToken":{}}')
FAULT = '{"injectFault":{"delay":"00:00:01"}}'  # which one SDK knows; nobody may use it from afar
SENTENCE = re.compile(
    r"(.+\.) TrackingId:[0-9a-f-]{36}_G0, SystemTracker:sb://127\.0\.0\.1:\d+(/[^,]+), "
    r"Timestamp:\d{4}-\d\d-\d\dT[\d:]{8}"
)


async def refused(world: World, path: str, headers: dict[str, str], query: str = "") -> tuple[int, str]:
    """Status and reason phrase of a listener's handshake."""
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"{world.ws}/$hc/{path}?sb-hc-action=listen{query}", additional_headers=headers)
    response = caught.value.response
    assert response.headers["TrackingId"] in response.reason_phrase
    return response.status_code, response.reason_phrase


async def test_a_listener_with_a_good_token_is_registered(world: World) -> None:
    """P01."""
    realm = world.gateway.context.realms[world.namespace]
    await world.listen("hyco/")
    assert realm.roster.count("hyco") == 1
    await world.listen("HYCO", headers={}, query=f"&sb-hc-token={quote_plus(world.token('hyco'))}")
    assert realm.roster.count("hyco") == 2


async def test_a_listener_without_right_is_told_what_is_wrong(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """P02: the sentence stands in the reason phrase; neither it nor a log names the secret."""
    caplog.set_level(logging.DEBUG, "fanway")
    good = world.auth()
    cases: list[tuple[str, dict[str, str], int, str]] = [
        ("hyco", {}, 401, "MissingToken"),
        ("hyco", {"ServiceBusAuthorization": "nonsense"}, 401, "MalformedToken"),
        ("hyco", world.auth(key="wrong"), 401, "The token has an invalid signature."),
        ("hyco", world.auth(rule="nobody"), 401, "The token has an invalid signature."),
        ("hyco", world.auth(seconds=-400), 401, "ExpiredToken"),
        ("hyco", world.auth("other"), 401, "InvalidAudience"),
        ("ruled", world.auth("ruled", rule="sender", key="sender-key"), 403, "'Listen' claim"),
        ("hyco", world.auth("ruled", rule="listener", key="listener-key"), 401, "invalid signature"),
        ("hyco", {"Authorization": "Basic abc"}, 401, "MalformedToken"),
    ]
    for path, headers, status, words in cases:
        got, reason = await refused(world, path, headers)
        match = SENTENCE.fullmatch(reason)
        assert match, reason
        assert (got, match[2].lower()) == (status, f"/{path}"), reason
        assert words in match[1]
    assert (await refused(world, "a/../b", good))[0] == 400
    assert "sig=" not in caplog.text
    assert KEY not in caplog.text


async def test_a_token_that_is_a_little_off_is_worth_nothing(world: World) -> None:
    """S12: each alike 401."""
    token = world.token("hyco")
    expiry = re.search(r"se=(\d+)", token)
    assert expiry
    spoiled = [
        token.replace(expiry[0], f"se={value}") for value in ("", "-1", "1" + "0" * 30, "9" * 400, "nan", "inf", "1e9")
    ]
    spoiled += [token.replace(f"&{expiry[0]}", ""), token.replace("%3D", ""), token.replace("%3D", "%3D%3D")]
    spoiled += [token.replace(KEY_NAME, "Nobody"), token.replace("sig=", "sig=A"), token[:-1], token.split(" ")[1]]
    for wrong in spoiled:
        assert (await refused(world, "hyco", {"ServiceBusAuthorization": wrong}))[0] == 401, wrong
    await world.listen("hyco", headers={"ServiceBusAuthorization": token})


async def test_an_unknown_path_is_404_only_for_holders_of_a_token(tmp_path: Path) -> None:
    """P02."""
    async with running_gateway(tmp_path, dynamic_relays=False) as world:
        status, reason = await refused(world, "nowhere", world.auth())
        assert status == 404
        assert reason.startswith("Endpoint does not exist. TrackingId:")
        assert (await refused(world, "nowhere", {}))[0] == 401
        elsewhere = world.auth("hyco")  # a good token, but not for there: no relay can be found out by it
        assert (await refused(world, "nowhere", elsewhere))[0] == 401
        assert (await world.client.get("/nowhere", headers=elsewhere)).status_code == 401
        assert (await world.client.post("/-/events/nowhere", headers=elsewhere)).status_code == 401


async def test_an_unknown_action_is_refused(world: World) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"{world.ws}/$hc/hyco?sb-hc-action=dance", additional_headers=world.auth())
    assert caught.value.response.status_code == 400


async def test_a_grant_for_one_path_is_none_for_its_neighbours(world: World) -> None:
    """W04."""
    headers = world.auth("shop")
    assert (await refused(world, "shop-admin", headers))[0] == 401
    assert (await refused(world, "shop/../admin", headers))[0] == 400
    assert (await refused(world, "shop/%2e%2e/admin", headers))[0] == 400
    assert (await refused(world, "shop%2fadmin", headers))[0] == 400
    await world.listen("shop/desk", headers=headers)


async def test_names_that_look_like_patterns_are_only_text(world: World) -> None:
    """S02: no wildcard in a token's rule or audience reaches anything."""
    for rule in ("*", "**", "#", "a/b", ""):
        assert (await refused(world, "hyco", world.auth(rule=rule)))[0] == 401
    for audience in ("*", "**", "h*", "+"):
        assert (await refused(world, "hyco", world.auth(audience)))[0] == 401
    assert (await refused(world, "shop/*", world.auth()))[0] == 400


async def test_a_listener_makes_a_dynamic_relay(world: World) -> None:
    listener = await world.listen("fresh/desk")
    relay = world.namespace.find("fresh/desk")
    assert relay is not None
    assert (relay.name, relay.is_dynamic) == ("fresh", True)
    answer = await world.client.get("/fresh/desk/1", headers=world.auth())
    assert (answer.status_code, len(listener.requests)) == (200, 1)
    assert (await refused(world, "other", world.auth("fresh")))[0] == 401
    assert world.namespace.find("other") is None


async def test_unknown_messages_are_ignored(world: World) -> None:
    listener = await world.listen("hyco")
    for text in (*NO_COMMANDS, FAULT):
        await listener.socket.send(text)
    await listener.socket.send(b"a stray body")
    await listener.socket.send(b"")
    assert (await world.client.get("/hyco", headers=world.auth())).status_code == 200


async def test_a_renewed_token_counts_from_its_arrival(world: World) -> None:
    """P13: valid; the old expiry, grace included, passes without harm."""
    listener = await world.listen("hyco", headers=world.auth("hyco", seconds=60))
    await listener.socket.send(json.dumps({"renewToken": {"token": world.token("hyco", seconds=7200)}}))
    await (await listener.socket.ping())
    world.clock.offset = 3600
    for live in world.gateway.context.lives:
        live.review()
    assert (await world.client.get("/hyco", headers=world.auth())).status_code == 200


async def test_a_renewal_that_is_refused_ends_the_channel_but_no_socket(world: World) -> None:
    """P13: expired, for another path, with the Send right only."""
    tokens = {
        "expired": world.token("ruled", seconds=-400),
        "other path": world.token("hyco"),
        "Send only": world.token("ruled", rule="sender", key="sender-key"),
        "bad": "x",
    }
    listeners: list[Listener] = []
    for token in tokens.values():
        listener = await world.listen("ruled", headers=world.auth("ruled", rule="listener", key="listener-key"))
        async with world.connect("ruled") as sender:
            await listener.socket.send(json.dumps({"renewToken": {"token": token}}))
            code, reason = await listener.closed()
            assert code == 1008
            assert reason
            assert token not in reason
            await sender.send("still here")
            assert await sender.recv() == "still here"
            listeners.append(listener)


async def test_a_token_ends_its_channel_after_the_grace_and_no_socket(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, deadlines=Deadlines(token_grace_seconds=0)) as world:
        listener = await world.listen("hyco", headers=world.auth("hyco", seconds=2))
        async with world.connect("hyco") as sender:
            code, reason = await listener.closed()
            assert (code, reason.split(".")[0] if reason else "") == (1008, "ExpiredToken: The token is expired")
            await sender.send("still here")
            assert await sender.recv() == "still here"
        assert (await world.client.get("/hyco", headers=world.auth())).status_code == 404


async def test_the_grace_is_granted_at_the_handshake_too(world: World) -> None:
    """C02"""
    await world.listen("hyco", headers=world.auth("hyco", seconds=-290))


async def test_a_rotated_key_ends_what_lived_on_it(world: World) -> None:
    """Control channel and spliced sockets; what lives on the other key stays."""
    registry, namespace = world.gateway.registry, world.namespace
    ruled = namespace.find("ruled")
    rule = ruled.rules["listener"]
    first = await world.listen("ruled", headers=world.auth("ruled", rule="listener", key="listener-key"))
    async with world.connect("ruled") as sender:
        second = await world.listen("ruled", headers=world.auth("ruled", rule="listener", key=rule.secondary_key))
        await registry.rotate_key(namespace, ruled, "listener", "primary")
        assert (await first.closed())[0] == 1008
        await sender.wait_closed()
        assert sender.close_code == 1008
    await (await second.socket.ping())
    await registry.delete_rule(namespace, ruled, "listener")
    assert (await second.closed())[0] == 1008


async def test_narrowed_rights_end_what_lived_on_them(world: World) -> None:
    registry, namespace = world.gateway.registry, world.namespace
    listener = await world.listen("ruled", headers=world.auth("ruled", rule="listener", key="listener-key"))
    await registry.put_rule(namespace, namespace.find("ruled"), "listener", Right.SEND, "listener-key")
    assert (await listener.closed())[0] == 1008


async def test_a_deleted_relay_ends_its_channels_and_sockets(world: World) -> None:
    listener = await world.listen("hyco")
    async with world.connect("hyco") as sender:
        await world.gateway.registry.delete_relay(world.namespace, world.namespace.find("hyco"))
        assert (await listener.closed())[0] == 1001
        await sender.wait_closed()
        assert sender.close_code == 1001


async def test_a_key_that_goes_while_a_sender_waits_turns_it_away(world: World) -> None:
    async def on_accept(accept: Request) -> None:
        await world.gateway.registry.delete_rule(world.namespace, world.namespace.find("ruled"), "sender")

    await world.listen("ruled", on_accept=on_accept)
    with pytest.raises(InvalidStatus) as caught:
        await world.connect("ruled", additional_headers=world.auth("ruled", rule="sender", key="sender-key"))
    assert caught.value.response.status_code == 401


async def test_a_listeners_key_that_goes_while_a_sender_waits_ends_the_socket_as_it_begins(world: World) -> None:
    async def on_accept(accept: Request) -> None:
        await world.gateway.registry.delete_rule(world.namespace, world.namespace.find("ruled"), "listener")
        await listener.echo(accept)

    headers = world.auth("ruled", rule="listener", key="listener-key")
    listener = await world.listen("ruled", headers=headers, on_accept=on_accept)
    async with world.connect("ruled") as socket:
        await socket.wait_closed()
        assert socket.close_code == 1008


async def test_a_listener_that_answers_no_ping_is_removed(tmp_path: Path) -> None:
    """R11: requests under way fail at once; a listener that answers stays. (C15)"""
    async with running_gateway(tmp_path, deadlines=Deadlines(ping_seconds=0.1, close_seconds=0.2)) as world:
        lively = await world.listen("shop")
        dead = await upgraded(world, LISTEN)
        pending = asyncio.create_task(world.client.get("/hyco", headers=world.auth()))
        assert (await frame(dead))[0] in (TEXT, PING)
        assert (await pending).status_code == 502
        assert (await world.client.get("/hyco", headers=world.auth())).status_code == 404
        assert (await world.client.get("/shop", headers=world.auth())).status_code == 200
        assert lively.socket.close_code is None


async def test_a_listener_that_closes_gets_nothing_more(world: World) -> None:
    wire = await upgraded(world, LISTEN)
    await wire.send(b"\x88\x80mask")
    assert await closed(wire) == (1005, "")
    assert (await world.client.get("/hyco", headers=world.auth())).status_code == 404


async def test_requests_are_spread_over_listeners_and_prefer_the_nearest(world: World) -> None:
    listeners = [await world.listen("hyco") for _ in range(2)]
    shop, desk = await world.listen("shop"), await world.listen("shop/desk")
    for _ in range(100):
        await world.client.get("/hyco", headers=world.auth())
    assert all(listener.requests for listener in listeners)
    for path in ("/shop/x", "/shop/desk", "/shop/desk/1", "/shop/desks"):
        await world.client.get(path, headers=world.auth())
    assert (len(shop.requests), len(desk.requests)) == (2, 2)


async def test_what_becomes_due_in_one_turn_leaves_in_one_write(world: World) -> None:
    """A command and its body stay adjacent, whatever else is due."""
    wire = await upgraded(world, LISTEN)
    written: list[bytes] = []
    [channel] = [live for live in world.gateway.context.lives if isinstance(live, ControlChannel)]
    write = channel.outflow.write
    channel.outflow.write = lambda data: (written.append(data), write(data))  # type: ignore[func-returns-value]
    post = f"POST /hyco HTTP/1.1\r\nHost: {world.host}\r\nServiceBusAuthorization: {world.token()}\r\n"
    (await world.raw()).writer.write((post + "Content-Length: 4\r\n\r\nbody").encode())
    (await world.raw()).writer.write((post + "Content-Length: 4\r\n\r\nbody").encode())
    for _ in range(4):
        opcode, _, payload = await frame(wire)
        if opcode == BINARY:
            assert payload == b"body"
    commands = [data for data in written if b'"request"' in data]
    assert all(data.count(b"\x82\x04body") == data.count(b'"request"') for data in commands)


async def test_a_listener_that_does_not_read_is_no_listener(world: World) -> None:
    """S42: what it is owed is bounded; senders are told to come back."""
    await upgraded(world, LISTEN, wire=await small_window(world))
    answers: list[asyncio.Task[Any]] = []
    wires = [await world.raw() for _ in range(300)]
    post = f"POST /hyco HTTP/1.1\r\nHost: {world.host}\r\nServiceBusAuthorization: {world.token()}\r\n"
    for wire in wires:
        await wire.send(post + "Content-Length: 50000\r\n\r\n" + "a" * 50000)
        answers.append(asyncio.create_task(wire.answer()))
    done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    assert done.pop().result()[0] == 503
    for wire in wires:
        wire.abort()
    await asyncio.gather(*answers, return_exceptions=True)


async def test_no_log_holds_a_token_or_a_key(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """P02, S35: not in a query, not in a header, not at any level."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets").setLevel(logging.WARNING)
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    token = quote_plus(world.token())
    listener = await world.listen("hyco", headers={}, query=f"&sb-hc-token={token}")
    async with world.connect(f"hyco?sb-hc-token={token}", additional_headers={}) as socket:
        await socket.send("hi")
        await socket.recv()
    await world.client.get(f"/nowhere/%1b[31m?sb-hc-token={token}", headers={"User-Agent": "\x1b[31m"})
    await listener.socket.send(json.dumps({"renewToken": {"token": "SharedAccessSignature sr=x&sig=y&se=1&skn=z"}}))
    await listener.closed()
    secret = next(iter(listener.accepts))["address"].rpartition("=")[2]
    for private in ("sig=", KEY, secret, "\x1b"):
        assert private not in caplog.text, private
    assert KEY_NAME not in caplog.text


async def test_a_body_without_a_waiting_answer_is_read_past(world: World) -> None:
    """A late answer takes its body with it, and never lands in another's."""
    wire = await upgraded(world, LISTEN)
    pending = asyncio.create_task(world.client.get("/hyco", headers=world.auth()))
    _, _, text = await frame(wire)
    request = json.loads(text)["request"]
    late = {"response": {"requestId": "00000000-0000-0000-0000-000000000000_G0", "statusCode": 200, "body": True}}
    mine = {"response": {"requestId": request["id"], "statusCode": 200, "body": True}}
    await wire.send(masked(TEXT, json.dumps(late).encode()) + masked(BINARY, b"not mine"))
    await wire.send(masked(TEXT, json.dumps(mine).encode()) + masked(BINARY, b"mine"))
    assert (await pending).content == b"mine"
    await until(lambda: world.gateway.context.counters["late_answers"] == 1)
