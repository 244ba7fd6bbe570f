"""Headless Chromium with its own WebSocket, EventSource and fetch, in a page of another origin."""

from __future__ import annotations

import asyncio
import functools
import http.server
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from chromium import Page, running_chromium
from programs import Served
from websockets.asyncio.client import ClientConnection, connect
from worlds import KEY, KEY_NAME, Listener, Request, World

from app.access.sas import make_token

PAGES = Path(__file__).parents[1] / "browser"


class QuietPages(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads the log of the page's own server."""


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Where the page comes from: another origin than the gateway's."""
    handler = functools.partial(QuietPages, directory=str(PAGES))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
async def page(tmp_path: Path, origin: str) -> AsyncIterator[Page]:
    """The page of tests/browser, open in a browser."""
    async with running_chromium(tmp_path / "profile") as browser:
        yield await browser.open(f"{origin}/page.html")


def in_query(world: World) -> str:
    return f"sb-hc-token={quote(world.token(), safe='')}"


async def hear(page: Page, name: str) -> Any:
    return await page.evaluate("hear", name)


async def test_a_page_opens_a_socket_to_a_hidden_listener(world: World, page: Page) -> None:
    async def accept(request: Request) -> None:
        first: Any = request["connectHeaders"]["Sec-WebSocket-Protocol"].split(", ")[0]
        async with connect(request["address"], subprotocols=[first], max_size=None) as socket:
            async for message in socket:
                await socket.send(message)

    listener = await world.listen("hyco", on_accept=accept)
    url = f"{world.ws}/$hc/hyco?sb-hc-action=connect&{in_query(world)}"
    assert await page.evaluate("open", "echo", url, ["chat", "talk"]) == {"event": "open", "protocol": "chat"}
    await page.evaluate("say", "echo", "grüß dich")
    assert await hear(page, "echo") == {"event": "text", "data": "grüß dich"}
    await page.evaluate("say", "echo", list(range(256)))
    assert await hear(page, "echo") == {"event": "binary", "data": list(range(256))}
    await page.evaluate("close", "echo", 3333, "done")
    assert await hear(page, "echo") == {"event": "close", "code": 3333, "reason": "done", "wasClean": True}
    assert listener.accepts[0]["connectHeaders"]["Origin"].startswith("http://127.0.0.1:")


async def test_a_page_hears_events_by_eventsource_that_it_published_by_fetch(world: World, page: Page) -> None:
    url = f"{world.url}/-/events/orders/eu/7"
    await page.evaluate("subscribe", "orders", f"{url}?{in_query(world)}")
    assert (await hear(page, "orders"))["event"] == "ready"

    # A header of ours makes the browser ask by OPTIONS first.
    headers = {**world.auth(), "Content-Type": "application/json"}
    published = await page.evaluate("request", url, {"method": "POST", "headers": headers, "body": '{"total": 42}'})
    assert published["status"] == 202
    receipt = json.loads(published["text"])
    assert (receipt["matched"], receipt["queued"]) == (1, 1)
    assert await hear(page, "orders") == {"event": "message", "data": '{"total": 42}', "id": receipt["cursor"]}


async def test_a_page_hears_events_on_a_bare_socket_and_publishes_on_it(world: World, page: Page) -> None:
    url = f"{world.ws}/-/events/orders/room?mode=both&{in_query(world)}"
    await page.evaluate("open", "one", url)
    await page.evaluate("open", "other", url)
    await page.evaluate("say", "one", "hello")
    for name in ("one", "other"):
        assert await hear(page, name) == {"event": "text", "data": "hello"}


async def test_a_page_reads_envelopes_as_a_stream_of_lines(world: World, page: Page) -> None:
    url = f"{world.url}/-/events/orders/**?{in_query(world)}"
    answer = await page.evaluate("stream", "lines", url, {"headers": {"Accept": "application/x-ndjson"}})
    assert answer["status"] == 200
    assert ":" in answer["headers"]["fanway-cursor"]  # exposed to other origins
    assert json.loads(await hear(page, "lines"))["type"] == "fanway.ready"
    await world.client.post("/-/events/orders/eu/7", content="words", headers=world.auth())
    assert json.loads(await hear(page, "lines"))["data"] == "words"


async def test_a_page_asks_all_by_eventsource_and_by_fetch(world: World, page: Page) -> None:
    """W15: an EventSource that nobody closes comes back by itself, and is told to stay away; nobody is asked again."""
    listeners = [await world.listen(f"shop/{place}") for place in "ab"]
    url = f"{world.url}/-/ask/shop/*?{in_query(world)}"
    await page.evaluate("subscribe", "asking", url)
    heard = [await hear(page, "asking") for _ in range(5)]
    assert [(each["event"], each.get("state")) for each in heard] == [
        ("answer", None),
        ("answer", None),
        ("summary", None),
        ("error", 0),  # it was at the end, and connects again
        ("error", 2),  # it has got 204, and is closed
    ]
    assert json.loads(heard[2]["data"])["why"] == "all"
    assert [len(listener.requests) for listener in listeners] == [1, 1]

    options = {"method": "POST", "headers": world.auth(), "body": "how?"}
    answer = await page.evaluate("request", f"{world.url}/-/ask/shop/*", options)
    assert [json.loads(line).get("data") for line in answer["text"].splitlines()] == ["how?", "how?", None]


async def test_a_page_asks_a_hidden_server_which_answers_cors_itself(world: World, page: Page) -> None:
    pieces: asyncio.Queue[str | None] = asyncio.Queue()

    async def answer(listener: Listener, request: Request, body: bytes, socket: ClientConnection) -> None:
        allow = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "PUT"}
        if request["method"] == "OPTIONS":
            await listener.respond(request, socket, None, 204, headers={**allow, "Access-Control-Allow-Headers": "*"})
            return
        head = {"requestId": request["id"], "statusCode": 200, "responseHeaders": allow, "body": True}
        await socket.send(json.dumps({"response": head}))

        async def body_pieces() -> AsyncIterator[bytes]:
            while (piece := await pieces.get()) is not None:
                yield piece.encode()

        await socket.send(body_pieces())

    listener = await world.listen("hyco", on_request=answer)
    url = f"{world.url}/hyco/items/7?a=1&{in_query(world)}"
    pieces.put_nowait("one")  # fetch resolves with the head, which Chromium shows with the first bytes
    options = {"method": "PUT", "headers": {"X-Custom": "yes"}, "body": "new"}
    assert (await page.evaluate("stream", "answer", url, options))["status"] == 200
    assert await hear(page, "answer") == "one"
    for piece in ("two", "three"):
        pieces.put_nowait(piece)
        assert await hear(page, "answer") == piece
    pieces.put_nowait(None)
    assert await hear(page, "answer") is None

    assert [request["method"] for request in listener.requests] == ["OPTIONS", "PUT"]
    assert listener.requests[1]["requestTarget"] == "/hyco/items/7?a=1"
    assert listener.bodies[1] == b"new"


async def test_eventsource_comes_back_by_itself_and_learns_what_a_restart_lost(served: Served, page: Page) -> None:
    """R04: the gap names the last event that the page saw."""
    token = make_token(served.url, KEY_NAME, KEY, 4_000_000_000)
    url = f"{served.url}/-/events/orders/eu/7?sb-hc-token={quote(token, safe='')}"
    await page.evaluate("subscribe", "orders", url)
    assert (await hear(page, "orders"))["event"] == "ready"
    await page.evaluate("request", url, {"method": "POST", "body": "before"})
    before = await hear(page, "orders")
    assert before["data"] == "before"

    await served.program.kill()
    await served.again()
    while (heard := await hear(page, "orders"))["event"] != "ready":
        assert heard == {"event": "error", "state": 0}  # connecting again
    gap = await hear(page, "orders")
    assert gap["event"] == "gap"
    assert json.loads(gap["data"])["from"] == before["id"]
    await page.evaluate("request", url, {"method": "POST", "body": "after"})
    assert (await hear(page, "orders"))["data"] == "after"


async def test_a_page_exchanges_its_token_for_a_ticket_that_stands_in_its_urls(world: World, page: Page) -> None:
    asked = {"method": "POST", "headers": {"Authorization": world.token("orders")}, "body": '{"seconds": 30}'}
    given = await page.evaluate("request", f"{world.url}/-/tickets", asked)
    assert given["status"] == 201
    ticket = json.loads(given["text"])["ticket"]
    await page.evaluate("subscribe", "orders", f"{world.url}/-/events/orders/a?sb-hc-token={ticket}")
    assert (await hear(page, "orders"))["event"] == "ready"
    await page.evaluate("open", "socket", f"{world.ws}/-/events/orders/a?mode=publish&sb-hc-token={ticket}")
    await page.evaluate("say", "socket", "hello")
    assert (await hear(page, "orders"))["data"] == "hello"


async def test_a_page_with_a_bad_token_is_refused_in_words_that_it_can_read(world: World, page: Page) -> None:
    url = f"{world.url}/-/events/orders/eu/7"
    refused = await page.evaluate("request", url, {"method": "POST", "body": "x"})
    assert refused["status"] == 401
    assert json.loads(refused["text"])["error"]["message"]
    closed = await page.evaluate("open", "socket", f"{world.ws}/-/events/orders/eu/7")
    assert (closed["event"], closed["wasClean"]) == ("close", False)
