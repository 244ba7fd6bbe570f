"""hyco-ws, unmodified, as listener and as sender."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from programs import Door, Program, Served, StartNode
from websockets.asyncio.client import connect
from worlds import KEY, Listener, Request, World, rejection, running_gateway

MEGABYTE = 1 << 20


async def listener_at(node: StartNode, door: Door, path: str, **options: object) -> Program:
    """A hyco-ws listener, registered."""
    program = await node("ws_listener", ca=door.world.ca, uri=door.listen(path), **options)
    await program.expect("listening")
    return program


async def test_text_and_binary_messages_come_back_from_a_hyco_listener_to_a_hyco_sender(
    door: Door, node: StartNode
) -> None:
    """P16: every size around the frame formats' borders, in both types."""
    messages = [
        {"type": kind, "bytes": size}
        for size in (0, 1, 125, 126, 65535, 65536, MEGABYTE)
        for kind in ("text", "binary")
    ]
    listener = await listener_at(node, door, "hyco")
    sender = await node(
        "ws_sender",
        ca=door.world.ca,
        uri=door.connect("hyco"),
        senders=1,
        messages=messages,
        close=[1000, "all said"],
    )

    for message in messages:
        echoed = await sender.expect("echoed")
        assert (echoed["bytes"], echoed["same"]) == (message["bytes"], True)
    assert await sender.expect("closed") == {"event": "closed", "sender": 0, "code": 1000, "reason": "all said"}
    assert await listener.expect("closed") == {"event": "closed", "code": 1000, "reason": "all said"}


async def test_a_message_of_fifty_megabytes_comes_back_whole(door: Door, node: StartNode) -> None:
    """P16: the module sends it as one frame."""
    await listener_at(node, door, "hyco")
    big = [{"type": "binary", "bytes": 50 * MEGABYTE}]
    uri = door.connect("hyco")
    sender = await node("ws_sender", ca=door.world.ca, uri=uri, senders=1, messages=big, close=[1000])

    assert (await sender.expect("echoed"))["same"]
    await sender.expect("closed", code=1000)


async def test_a_hundred_senders_at_once_each_reach_the_hyco_listener(door: Door, node: StartNode) -> None:
    await listener_at(node, door, "hyco")
    messages = [{"type": "text", "bytes": 100}, {"type": "binary", "bytes": 5000}]
    uri = door.connect("hyco")
    sender = await node("ws_sender", ca=door.world.ca, uri=uri, senders=100, messages=messages, close=[1000])

    echoed: list[tuple[int, int]] = []
    closed: set[int] = set()
    while len(closed) < 100:
        line = await sender.line()
        assert line["event"] in ("opened", "echoed", "closed"), line
        if line["event"] == "echoed":
            assert line["same"]
            echoed.append((line["sender"], line["bytes"]))
        elif line["event"] == "closed":
            assert line["code"] == 1000
            closed.add(line["sender"])
    assert sorted(echoed) == [(sender, size) for sender in range(100) for size in (100, 5000)]


async def test_hyco_clients_agree_on_the_first_sub_protocol_and_no_extension(door: Door, node: StartNode) -> None:
    """P17: the listener takes the sender's first offer; both sides offer compression and neither gets it."""
    listener = await listener_at(node, door, "hyco")
    async with door.world.connect("hyco", subprotocols=["chat", "superchat"]) as sender:
        assert sender.subprotocol == "chat"
        assert "Sec-WebSocket-Extensions" not in sender.response.headers
        await sender.send("hello")
        assert await sender.recv() == "hello"
    await listener.expect("closed")

    messages = [{"type": "text", "bytes": 10}]
    options = {"senders": 1, "messages": messages, "close": [1000], "protocol": "mqtt"}
    hyco = await node("ws_sender", ca=door.world.ca, uri=door.connect("hyco"), **options)
    assert (await hyco.expect("opened"))["protocol"] == "mqtt"
    assert (await hyco.expect("echoed"))["same"]


async def test_a_hyco_socket_listener_survives_a_request_that_it_does_not_know(tmp_path: Path, node: StartNode) -> None:
    async with running_gateway(tmp_path, deadlines={"response_seconds": 0.2}) as world:
        door = Door(world, world.ws, world.url)
        await listener_at(node, door, "hyco")
        answer = await world.client.get("/hyco", headers=world.auth())
        assert answer.status_code == 504
        async with world.connect("hyco") as sender:
            await sender.send("still here")
            assert await sender.recv() == "still here"


async def test_a_hyco_sender_sees_the_status_and_words_of_a_rejection(door: Door, node: StartNode) -> None:
    """P06: as the documentation spells a rejection."""

    async def reject(accept: Request) -> None:
        with pytest.raises(Exception, match="410"):
            await connect(rejection(accept["address"], 418, "no tea today, sorry"))

    await door.world.listen("hyco", on_accept=reject)
    sender = await node("ws_sender", ca=door.world.ca, uri=door.connect("hyco"), senders=1, messages=[], close=[1000])

    refused = await sender.expect("refused")
    assert (refused["status"], refused["reason"]) == (418, "no tea today, sorry")


async def test_the_node_spelling_of_a_rejection_works_too(world: World, node: StartNode) -> None:
    """P06: as the Node modules spell a rejection. (C10)"""

    async def reject(accept: Request) -> None:
        with pytest.raises(Exception, match="410"):
            await connect(accept["address"] + "&statusCode=401&statusDescription=Not%20you")

    await world.listen("hyco", on_accept=reject)
    uri = f"{world.ws}/$hc/hyco?sb-hc-action=connect"
    sender = await node("ws_sender", uri=uri, senders=1, messages=[], close=[1000])

    refused = await sender.expect("refused")
    assert (refused["status"], refused["reason"]) == (401, "Not you")


async def test_a_hyco_sender_without_a_listener_or_with_a_wrong_key_is_refused(world: World, node: StartNode) -> None:
    uri = f"{world.ws}/$hc/hyco?sb-hc-action=connect"
    lonely = await node("ws_sender", uri=uri, senders=1, messages=[], close=[1000])
    refused = await lonely.expect("refused")
    assert refused["status"] == 404
    assert "There are no listeners connected for the endpoint" in refused["reason"]

    stranger = await node("ws_sender", uri=uri, key="not the key", senders=1, messages=[], close=[1000])
    assert (await stranger.expect("refused"))["status"] == 401


async def test_a_hyco_listener_outlives_its_first_token_by_renewing_it(tmp_path: Path, node: StartNode) -> None:
    """P13: hyco-ws renews every hour; here an hour is 150 ms."""
    async with running_gateway(tmp_path, deadlines={"token_grace_seconds": 0}) as world:
        uri = f"{world.ws}/$hc/hyco?sb-hc-action=listen"
        listener = await node("ws_listener", uri=uri, seconds=2, hour=150)
        await listener.expect("listening")
        await listener.expect("token", made=16)  # 2.25 s later
        async with world.connect("hyco?sb-hc-action=connect") as sender:
            await sender.send(b"still here")
            assert await sender.recv() == b"still here"
        while (line := await listener.line())["event"] != "connection":
            assert line["event"] == "token"  # the first channel still stands


async def test_a_refused_renewal_closes_the_channel_with_1008_and_the_hyco_listener_comes_back(
    world: World, node: StartNode
) -> None:
    """P13: hyco-ws reconnects on its own."""
    uri = f"{world.ws}/$hc/hyco?sb-hc-action=listen"
    listener = await node("ws_listener", uri=uri, hour=100, keys=[KEY, "not the key", KEY])
    await listener.expect("listening")
    assert (await listener.expect("channel-closed"))["code"] == 1008
    await listener.expect("listening")


async def test_a_hyco_listener_comes_back_after_the_gateway_was_killed_and_started_again(
    served: Served, node: StartNode
) -> None:
    """The module retries without a pause and twice for each failure; the gateway takes the storm."""
    listener = await node("ws_listener", uri=f"{served.ws}/$hc/hyco?sb-hc-action=listen")
    await listener.expect("listening")
    await served.program.kill()
    await served.again()

    await listener.expect("listening")
    uri = f"{served.ws}/$hc/hyco?sb-hc-action=connect"
    messages = [{"type": "text", "bytes": 10}]
    sender = await node("ws_sender", uri=uri, senders=1, messages=messages, close=[1000])
    assert (await sender.expect("echoed"))["same"]


async def test_a_listener_from_the_protocol_guide_serves_a_hyco_sender(door: Door, node: StartNode) -> None:
    listener: Listener = await door.world.listen("hyco")
    messages = [{"type": "text", "bytes": 10}, {"type": "binary", "bytes": MEGABYTE}]
    uri = door.connect("hyco/suffix").replace("?", "?a=1&")
    sender = await node("ws_sender", ca=door.world.ca, uri=uri, senders=1, messages=messages, close=[4001, "bye"])

    assert [line["same"] for line in await sender.gather("echoed", 2)] == [True, True]
    await sender.expect("closed", code=4001, reason="bye")
    [accept] = listener.accepts
    assert "/$hc/hyco/suffix?a=1&sb-hc-action=accept" in accept["address"]
    assert "Sec-WebSocket-Key" in accept["connectHeaders"]
    assert "ServiceBusAuthorization" not in json.dumps(accept)
