"""hyco-https, unmodified, as listener and as sender of requests."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
import pytest
from programs import Door, Program, Served, StartNode
from websockets.asyncio.client import ClientConnection
from worlds import KEY, Listener, Request, World

MEGABYTE = 1 << 20
AROUND_64K = (65535, 65536, 65537)


def payload(size: int) -> bytes:
    """The same bytes that tests/node/peer.js makes."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def listener_at(node: StartNode, door: Door, path: str = "hyco") -> Program:
    """A hyco-https listener, registered."""
    program = await node("https_listener", ca=door.world.ca, uri=door.listen(path))
    await program.expect("listening")
    return program


async def sender_of(node: StartNode, door: Door, *requests: dict[str, Any], **options: Any) -> Program:
    """A sender that makes these requests."""
    uri = f"{door.http}/hyco"
    return await node("https_sender", ca=door.world.ca, uri=uri, requests=requests, **options)


async def test_every_method_goes_from_a_hyco_sender_to_a_hyco_listener_and_back(door: Door, node: StartNode) -> None:
    listener = await listener_at(node, door)
    methods = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]
    requests = [
        {
            "method": method,
            "path": f"/items/7?a=1&method={method}",
            "bytes": 1000 if method in ("POST", "PUT", "PATCH") else 0,
            "headers": {"X-Custom": method},
        }
        for method in methods
    ]
    sender = await sender_of(node, door, *requests)

    for method, request in zip(methods, requests, strict=True):
        heard = await listener.expect("request")
        assert (heard["method"], heard["url"]) == (method, f"/hyco/items/7?a=1&method={method}")
        assert heard["bytes"] == request["bytes"]
        assert heard["headers"]["x-custom"] == method
        assert "servicebusauthorization" not in heard["headers"]
        answer = await sender.expect("answered")
        assert (answer["status"], answer["reason"]) == (200, "OK")
        assert answer["headers"]["x-method"] == method
        assert answer["headers"]["x-received"] == answer["sent"]
        assert "via" in answer["headers"]
        assert answer["bytes"] == request["bytes"]


@pytest.mark.parametrize("is_chunked", [False, True], ids=["known length", "chunked"])
async def test_bodies_around_64_kb_and_of_5_mb_arrive_whole_both_ways(
    door: Door, node: StartNode, is_chunked: bool
) -> None:
    """P07: both modules switch to a rendezvous beyond 64 kB."""
    listener = await listener_at(node, door)
    sizes = (1, *AROUND_64K, 5 * MEGABYTE)
    requests = [{"method": "POST", "path": "", "bytes": size, "chunked": is_chunked} for size in sizes]
    sender = await sender_of(node, door, *requests)

    for size in sizes:
        assert (await listener.expect("request"))["bytes"] == size
        answer = await sender.expect("answered")
        assert (answer["status"], answer["bytes"]) == (200, size)
        assert answer["sent"] == answer["received"] == answer["headers"]["x-received"]


async def test_large_answers_to_requests_without_a_body_arrive_whole(door: Door, node: StartNode) -> None:
    """P07: answers that the module sends over a rendezvous of its own making."""
    await listener_at(node, door)
    sizes = (0, *AROUND_64K, 5 * MEGABYTE)
    sender = await sender_of(node, door, *({"method": "GET", "path": f"?bytes={size}"} for size in sizes))

    for size in sizes:
        answer = await sender.expect("answered")
        assert (answer["status"], answer["bytes"]) == (200, size)
        assert answer["received"] == answer["headers"]["x-sent"] == sha256(payload(size))


async def test_a_hundred_requests_in_parallel_each_get_their_own_answer(door: Door, node: StartNode) -> None:
    await listener_at(node, door)
    requests = [{"method": "POST", "path": f"/{number}", "bytes": 100 + number} for number in range(100)]
    sender = await sender_of(node, door, *requests, parallel=True)

    answers = await sender.gather("answered", 100)
    assert {answer["number"] for answer in answers} == set(range(100))
    for answer in answers:
        assert (answer["status"], answer["bytes"]) == (200, 100 + answer["number"])
        assert answer["received"] == answer["sent"]


async def test_hyco_listeners_are_asked_all_at_once(door: Door, node: StartNode) -> None:
    """W15: unmodified, they answer as they do any sender, whatever the size; one may be chosen by its name."""
    listeners = []
    for name in ("oslo", "bergen"):
        uri = f"{door.listen('hyco')}&sb-hc-instance={name}"
        listeners.append(await node("https_listener", ca=door.world.ca, uri=uri))
        await listeners[-1].expect("listening")
    verify = door.world.tls() if door.world.ca else True
    async with httpx.AsyncClient(base_url=door.http, verify=verify, headers=door.world.auth(), timeout=20) as client:
        for body in (b"", b"how?", payload(60_000)):
            answer = await client.post("/-/ask/hyco/**", content=body)
            *answers, last = [json.loads(line) for line in answer.text.splitlines()]
            assert {line["instance"] for line in answers} == {"oslo", "bergen"}
            assert [line.get("data", "").encode() for line in answers if "data_base64" not in line] in ([body] * 2, [])
            assert (last["asked"], last["answered"], last["why"]) == (2, 2, "all")
            for listener in listeners:
                heard = await listener.expect("request")
                assert (heard["url"], heard["bytes"], heard["method"]) == ("/hyco", len(body), "POST")
        for number, name in enumerate(("oslo", "bergen")):
            assert (await client.get("/hyco/one", headers={"Fanway-Instance": name})).status_code == 200
            assert (await listeners[number].expect("request"))["url"] == "/hyco/one"


async def test_a_streamed_answer_arrives_piece_by_piece(door: Door, node: StartNode) -> None:
    """P19: each piece goes on at once."""
    listener = await listener_at(node, door)
    sender = await sender_of(node, door, {"method": "GET", "path": "?pieces"}, pieces=True)
    await listener.expect("streaming")
    # The module holds an answer back until it exceeds 64 kB; from then on each piece must come through alone.
    await listener.tell(piece="x" * 65537)
    received = ""
    while len(received) < 65537:
        received += (await sender.expect("piece"))["text"]

    for piece in ("data: one\n\n", "data: two\n\n", "data: three\n\n"):
        await listener.tell(piece=piece)
        assert (await sender.expect("piece"))["text"] == piece
    await listener.tell(end=True)
    assert (await sender.expect("answered"))["bytes"] == 65537 + len("data: onedata: twodata: three\n\n\n\n\n\n")


@pytest.mark.parametrize("status", [201, 204, 304, 404, 418, 500, 502, 504])
async def test_a_hyco_listeners_status_comes_through(world: World, node: StartNode, status: int) -> None:
    await listener_at(node, Door(world, world.ws, world.url))
    sender = await node(
        "https_sender",
        uri=f"{world.url}/hyco",
        requests=[{"method": "GET", "path": f"?status={status}"}, {"method": "HEAD", "path": f"?status={status}"}],
    )
    for answer in await sender.gather("answered", 2):
        assert (answer["status"], answer["bytes"]) == (status, 0)


async def test_one_sender_connection_serves_small_and_large_requests_in_turn(world: World, node: StartNode) -> None:
    await listener_at(node, Door(world, world.ws, world.url))
    for size in (10, 100_000, 0, 70_000, 10):
        answer = await world.client.post("/hyco", content=payload(size), headers=world.auth())
        assert answer.content == payload(size)
        answer = await world.client.get(f"/hyco?bytes={size}", headers=world.auth())
        assert answer.content == payload(size)


async def test_a_listener_from_the_protocol_guide_answers_a_hyco_sender(door: Door, node: StartNode) -> None:
    async def answer(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        headers = {"X-Casing": "Kept", "Content-Type": "text/plain"}
        await listener.respond(request, socket, body[::-1], 299, "Very Fine, Indeed", headers)

    await door.world.listen("hyco", on_request=answer)
    sender = await sender_of(node, door, *({"method": "POST", "path": "", "bytes": size} for size in (10, 100_000)))

    for size in (10, 100_000):
        answered = await sender.expect("answered")
        assert (answered["status"], answered["reason"]) == (299, "Very Fine, Indeed")
        assert answered["received"] == sha256(payload(size)[::-1])
        assert answered["headers"]["x-casing"] == "Kept"


async def test_requests_without_a_listener_or_with_a_wrong_key_are_refused(world: World, node: StartNode) -> None:
    uri = f"{world.url}/hyco"
    lonely = await node("https_sender", uri=uri, requests=[{"method": "GET", "path": ""}])
    answer = await lonely.expect("answered")
    assert answer["status"] == 404
    assert "There are no listeners connected for the endpoint" in answer["reason"]
    assert "via" not in answer["headers"]

    stranger = await node("https_sender", uri=uri, key="not the key", requests=[{"method": "GET", "path": ""}])
    assert (await stranger.expect("answered"))["status"] == 401


async def test_a_hyco_https_listener_stays_by_renewing_and_returns_after_a_refused_renewal(
    world: World, node: StartNode
) -> None:
    uri = f"{world.ws}/$hc/hyco?sb-hc-action=listen"
    listener = await node("https_listener", uri=uri, hour=100, keys=[KEY, KEY, KEY, "not the key", KEY])
    await listener.expect("listening")
    await listener.expect("token", made=3)
    assert (await world.client.get("/hyco", headers=world.auth())).status_code == 200
    assert (await listener.expect("channel-closed"))["code"] == 1008
    await listener.expect("listening")
    assert (await world.client.get("/hyco", headers=world.auth())).status_code == 200


async def test_a_hyco_https_listener_comes_back_after_the_gateway_was_killed_and_started_again(
    served: Served, node: StartNode
) -> None:
    listener = await node("https_listener", uri=f"{served.ws}/$hc/hyco?sb-hc-action=listen")
    await listener.expect("listening")
    await served.program.kill()
    await served.again()
    await listener.expect("listening")

    requests = [{"method": "PUT", "path": "", "bytes": 10}]
    sender = await node("https_sender", uri=f"{served.url}/hyco", requests=requests)
    answer = await sender.expect("answered")
    assert (answer["status"], answer["received"]) == (200, answer["sent"])


async def test_repeated_headers_arrive_joined_with_the_host_and_without_hop_by_hop_ones(
    world: World, node: StartNode
) -> None:
    listener = await listener_at(node, Door(world, world.ws, world.url))
    headers = [*world.auth().items(), ("X-Twice", "one"), ("X-Twice", "two"), ("Connection", "X-Hop"), ("X-Hop", "1")]
    async with httpx.AsyncClient() as client:
        await client.get(f"{world.url}/hyco", headers=headers)
    heard = (await listener.expect("request"))["headers"]
    assert heard["x-twice"] == "one, two"
    assert heard["host"] == world.host
    assert "x-hop" not in json.dumps(heard)
