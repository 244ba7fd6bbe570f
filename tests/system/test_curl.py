"""curl as publisher, as subscriber of server-sent events, and as sender of requests."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from programs import Door, Program, require, running
from websockets.asyncio.client import ClientConnection
from worlds import Listener, Request, World


async def curl(*arguments: str | Path, body: bytes = b"") -> bytes:
    """What curl writes to stdout. Raises `AssertionError` when it fails."""
    async with running(require("curl"), "-sS", *arguments) as program:
        output, _ = await program.process.communicate(body)
        assert program.process.returncode == 0
        return output


def authorized(world: World) -> list[str]:
    return ["-H", f"ServiceBusAuthorization: {world.token()}"]


async def publish(world: World, address: str, text: str, *arguments: str) -> Any:
    url = f"{world.url}/-/events/{address}"
    return json.loads(await curl(*authorized(world), "-d", text, *arguments, url))


async def block(program: Program) -> dict[str, str]:
    """The next block of a stream of server-sent events, passing over heartbeats."""
    fields: dict[str, str] = {}
    while line := await program.text():
        name, _, value = line.partition(": ")
        fields[name] = f"{fields[name]}\n{value}" if name in fields else value
    return fields


async def test_curl_publishes_to_a_curl_subscriber_and_sees_the_receipt(world: World) -> None:
    subscribe = [require("curl"), "-sSN", *authorized(world), "-H", "Accept: text/event-stream"]
    async with running(*subscribe, f"{world.url}/-/events/orders/eu/7") as subscriber:
        ready = await block(subscriber)
        assert ready["event"] == "ready"

        first = await publish(world, "orders/eu/7", '{"total": 42}', "-H", "Content-Type: application/json")
        assert (first["matched"], first["queued"], first["behind"], first["dropped"]) == (1, 1, 0, 0)
        assert await block(subscriber) == {"id": first["cursor"], "data": '{"total": 42}'}

        elsewhere = await publish(world, "orders/eu/8", "not for it")
        assert elsewhere["matched"] == 0
        second = await publish(world, "orders/eu/7", "two\nlines")
        assert await block(subscriber) == {"id": second["cursor"], "data": "two\nlines"}


async def test_curl_subscribes_to_a_pattern_and_gets_envelopes(world: World) -> None:
    subscribe = [require("curl"), "-sSN", *authorized(world), "-H", "Accept: text/event-stream"]
    async with running(*subscribe, f"{world.url}/-/events/orders/**") as subscriber:
        await block(subscriber)
        receipt = await publish(world, "orders/eu/7", '{"total": 42}', "-H", "Content-Type: application/json")
        found = await block(subscriber)
        assert found["id"] == receipt["cursor"]
        envelope = json.loads(found["data"])
        assert envelope["id"] == receipt["id"]
        assert envelope["fanwaycursor"] == receipt["cursor"]
        assert envelope["data"] == {"total": 42}


async def test_curl_resumes_after_the_last_event_it_saw(world: World) -> None:
    """R01: by Last-Event-ID, as EventSource does."""
    receipts = [await publish(world, "orders/eu/7", str(number)) for number in range(3)]
    resume = ["-H", "Accept: text/event-stream", "-H", f"Last-Event-ID: {receipts[0]['cursor']}"]
    url = f"{world.url}/-/events/orders/eu/7"
    async with running(require("curl"), "-sSN", *authorized(world), *resume, url) as subscriber:
        assert (await block(subscriber))["event"] == "ready"
        for number in (1, 2):
            assert await block(subscriber) == {"id": receipts[number]["cursor"], "data": str(number)}


async def test_curl_reads_events_as_lines_of_json(world: World) -> None:
    url = f"{world.url}/-/events/orders/*/7"
    accept = ["-H", "Accept: application/x-ndjson"]
    async with running(require("curl"), "-sSN", *authorized(world), *accept, url) as subscriber:
        assert (await subscriber.line())["type"] == "fanway.ready"
        receipt = await publish(world, "orders/eu/7", "plain words", "-H", "Content-Type: text/plain")
        envelope = await subscriber.line()
        assert (envelope["id"], envelope["data"]) == (receipt["id"], "plain words")


async def test_curl_publishes_a_batch_and_gets_a_receipt_for_each_line(world: World) -> None:
    lines = b'{"type":"a","data":1}\n{"type":"b","data":{"two":2}}\n'
    kind = ["-H", "Content-Type: application/x-ndjson", "--data-binary", "@-"]
    url = f"{world.url}/-/events/orders/batch"
    receipts = json.loads(await curl(*authorized(world), *kind, url, body=lines))
    assert [receipt["matched"] for receipt in receipts] == [0, 0]


async def test_curl_is_told_why_it_may_not_publish(world: World) -> None:
    output = await curl("-d", "x", "-w", "\n%{http_code}", f"{world.url}/-/events/orders/eu/7")
    body, _, status = output.decode().rpartition("\n")
    assert status == "401"
    assert json.loads(body)["error"]["tracking_id"]


async def test_curl_sends_requests_over_both_doors(door: Door) -> None:
    world = door.world
    trust = ["--cacert", str(world.ca)] if world.ca else []

    async def answer(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        await listener.respond(request, socket, body.upper(), 203, "As You Like It", {"X-Kept-Casing": "yes"})

    listener = await world.listen("hyco", on_request=answer)
    url = f"{door.http}/hyco/a%20b?x=1"
    output = await curl(*authorized(world), *trust, "-i", "-X", "PUT", "-d", "hello", url)
    head, _, body = output.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 203 As You Like It\r\n")
    assert "\r\nX-Kept-Casing: yes" in head
    assert "\r\nVia: 1.1 " in head
    assert body == "HELLO"
    assert (listener.requests[0]["method"], listener.requests[0]["requestTarget"]) == ("PUT", "/hyco/a b?x=1")


@pytest.mark.parametrize("framing", ["known length", "chunked"])
async def test_curl_uploads_and_downloads_megabytes(world: World, tmp_path: Path, framing: str) -> None:
    """curl asks `Expect: 100-continue` first when a body is that large."""
    await world.listen("hyco")
    upload, download = tmp_path / "up", tmp_path / "down"
    upload.write_bytes(bytes(range(251)) * 20_000)
    chunked = ["-H", "Transfer-Encoding: chunked"] if framing == "chunked" else []
    expect = ["-H", "Expect: 100-continue"]
    await curl(*authorized(world), *chunked, *expect, "-T", upload, "-X", "POST", "-o", download, f"{world.url}/hyco")
    assert hashlib.sha256(download.read_bytes()).digest() == hashlib.sha256(upload.read_bytes()).digest()


async def test_curl_sees_a_streamed_answer_piece_by_piece(world: World) -> None:
    """P19: each piece goes on at once."""
    pieces: asyncio.Queue[str | None] = asyncio.Queue()

    async def answer(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        head = {"requestId": request["id"], "statusCode": 200, "responseHeaders": {}, "body": True}
        await socket.send(json.dumps({"response": head}))

        async def body_pieces() -> Any:
            while (piece := await pieces.get()) is not None:
                yield piece.encode()

        await socket.send(body_pieces())

    await world.listen("hyco", on_request=answer)
    async with running(require("curl"), "-sSN", *authorized(world), f"{world.url}/hyco") as client:
        for piece in ("one", "two", "three"):
            await pieces.put(piece + "\n")
            assert await client.text() == piece
        await pieces.put(None)
        assert await client.process.wait() == 0


async def test_curl_sees_a_head_without_a_body_and_the_reason_of_a_refusal(world: World) -> None:
    await world.listen("hyco")
    head = await curl(*authorized(world), "-I", f"{world.url}/hyco")
    assert head.startswith(b"HTTP/1.1 200 ")
    refusal = await curl("-i", f"{world.url}/hyco")
    assert refusal.startswith(b"HTTP/1.1 401 ")
    assert b"TrackingId:" in refusal.partition(b"\r\n")[0]
    nowhere = await curl(*authorized(world), "-i", f"{world.url}/never/heard/of")
    assert nowhere.startswith(b"HTTP/1.1 404 ")
