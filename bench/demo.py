"""`make demo`: the main job alive, with no typing. Starts a gateway of its own and lets clients meet there.

Every step is checked; the first that fails is named, and the program ends with 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import httpx
from websockets.asyncio.client import connect as connect_websocket

import fanway
from fanway.targets import parse_target

SECONDS_ALLOWED = 30.0
ADDRESS = "orders/eu/7"
PATTERNS = ("orders/**", "orders/*/7", "orders/eu/7")
SUBSCRIBERS_OF_EACH_KIND = 20
PAYLOAD = {"total": 42}


class DemoError(Exception):
    """A step did not do what it shows."""


def check(is_right: object, what: str) -> None:
    """Raises DemoError naming what is wrong."""
    if not is_right:
        raise DemoError(what)


def say(text: str = "") -> None:
    print(text, flush=True)


# --- the gateway ---


@contextlib.asynccontextmanager
async def own_gateway(data: Path) -> AsyncIterator[str]:
    """`fanway serve` in a process of its own, on a free port, with a fresh data folder; its URL."""
    program = Path(sys.executable).with_name("fanway")
    options = ["--listen", "127.0.0.1:0", "--json", "--data", str(data), "--log-level", "warning"]
    process = await asyncio.create_subprocess_exec(program, "serve", *options, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
        check(line, "the gateway did not start; its errors are above")
        yield json.loads(line)["url"]
    finally:
        if process.returncode is None:
            process.terminate()
        code = await process.wait()
    check(code == 0, f"the gateway ended with {code}")


# --- a socket ---


async def show_socket(one: fanway.Relay, other: fanway.Relay) -> None:
    """Two clients, both dialled out; what one says the other echoes."""
    ended_with: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    @one.listen("echo", sockets=True)
    async def echo(socket: fanway.Socket) -> None:
        async for message in socket:
            await socket.send(message)
        ended_with.set_result(socket.close_code)

    await one.listening()
    say("  listener   dialled out and waits at 'echo'")
    async with other.open("echo") as socket:
        say("  sender     dialled out and opened a socket to 'echo'; the gateway joined the two")
        for message in ("grüß dich", bytes(range(256)) * 400):
            await socket.send(message)
            answer = await socket.recv()
            check(answer == message, f"the echo came back changed: {answer[:40]!r}")
            shown = f"text {message!r}" if isinstance(message, str) else f"{len(message):,} bytes, binary"
            say(f"  sender     {shown}: came back the same, and of the same type")
    code = await ended_with
    check(code == 1000, f"the listener saw the close code {code}")
    say("  listener   saw the socket end in good order, code 1000")


# --- a request ---


@contextlib.contextmanager
def hidden_server() -> Iterator[tuple[str, list[str]]]:
    """An ordinary HTTP server on a loopback port; its URL, and the request lines that it got."""
    heard: list[str] = []

    class Shop(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"eur": 3, "asked": self.path}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            heard.append(self.requestline)
            say(f"  server     got {self.requestline!r}")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        server.server_close()


async def show_request(one: fanway.Relay, url: str) -> None:
    """A plain HTTP client reaches a server that it cannot see."""
    with hidden_server() as (target_url, heard):
        target = parse_target(target_url, "shop")
        one.listen_with("shop", target.handlers())
        await one.listening()
        say(f"  listener   as `fanway listen shop --to {target_url}`")
        token = one.gateway.token("shop")
        async with httpx.AsyncClient(trust_env=False) as client:
            say(f"  client     GET {url}/shop/price?sku=7")
            answer = await client.get(f"{url}/shop/price?sku=7", headers={"ServiceBusAuthorization": token})
            refused = await client.get(f"{url}/shop/price?sku=7")
        await target.close()
    check(answer.status_code == 200, f"the request was answered {answer.status_code} {answer.reason_phrase}")
    check(answer.json() == {"eur": 3, "asked": "/price?sku=7"}, f"the answer is not the server's: {answer.text}")
    say(f"  client     {answer.status_code} {answer.reason_phrase} {answer.text}")
    check(refused.status_code == 401, f"without a token the answer was {refused.status_code}, not 401")
    check(len(heard) == 1, f"the server got {len(heard)} requests, not 1: {heard}")
    say("  client     the same without a token: 401, and the server never heard of it")


# --- an event ---


class Audience:
    """Subscribers of several kinds. Each sets its flag once it listens, then counts the event it got."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.headers = {"ServiceBusAuthorization": token}
        self.heard: Counter[tuple[str, str]] = Counter()
        self.listening: Counter[str] = Counter()
        self.changed = asyncio.Condition()

    def door(self, pattern: str) -> str:
        return f"/-/events/{quote(pattern, safe='/*')}"

    async def websocket(self, pattern: str) -> None:
        """A bare WebSocket: each event is one message, as it was published."""
        url = f"ws{self.url.removeprefix('http')}{self.door(pattern)}"
        async with connect_websocket(url, additional_headers=self.headers) as socket:
            await self._is_listening("WebSocket")
            await self._hear("WebSocket", pattern, json.loads(await socket.recv()))

    async def sse(self, client: httpx.AsyncClient, pattern: str) -> None:
        """Server-sent events, as a browser's EventSource reads them."""
        headers = {**self.headers, "Accept": "text/event-stream"}
        async with client.stream("GET", self.door(pattern), headers=headers, params={"as": "data"}) as answer:
            await self._check_status(answer)
            name = ""
            async for line in answer.aiter_lines():
                if line.startswith("event:"):
                    name = line[6:].strip()
                elif line.startswith("data:") and name == "ready":
                    await self._is_listening("SSE")
                elif line.startswith("data:"):
                    await self._hear("SSE", pattern, json.loads(line[5:]))
                    return
                elif not line:
                    name = ""
        raise DemoError("a server-sent event stream ended early")

    async def ndjson(self, client: httpx.AsyncClient, pattern: str) -> None:
        """One CloudEvent a line, as a script reads them."""
        headers = {**self.headers, "Accept": "application/x-ndjson"}
        async with client.stream("GET", self.door(pattern), headers=headers) as answer:
            await self._check_status(answer)
            async for line in answer.aiter_lines():
                event = json.loads(line)
                if event["type"] == "fanway.ready":
                    await self._is_listening("NDJSON")
                elif not event["type"].startswith("fanway.cursor"):
                    await self._hear("NDJSON", pattern, event["data"])
                    return
        raise DemoError("an NDJSON stream ended early")

    async def until(self, listening: int) -> None:
        """Wait for so many subscribers to listen."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.listening.total() >= listening)

    async def _is_listening(self, kind: str) -> None:
        async with self.changed:
            self.listening[kind] += 1
            self.changed.notify_all()

    async def _hear(self, kind: str, pattern: str, payload: object) -> None:
        check(payload == PAYLOAD, f"{kind} on {pattern} got {payload!r}")
        self.heard[kind, pattern] += 1

    async def _check_status(self, answer: httpx.Response) -> None:
        if answer.status_code != 200:
            await answer.aread()
            raise DemoError(f"a subscription was answered {answer.status_code}: {answer.text}")


async def show_event(publisher: fanway.Relay, url: str) -> None:
    """One event, many subscribers of three kinds, each through a pattern."""
    audience = Audience(url, publisher.gateway.token("orders"))
    kinds = SUBSCRIBERS_OF_EACH_KIND
    patterns = [PATTERNS[number % len(PATTERNS)] for number in range(kinds)]
    limits = httpx.Limits(max_connections=None)
    async with (
        httpx.AsyncClient(base_url=url, limits=limits, timeout=SECONDS_ALLOWED, trust_env=False) as client,
        publisher.subscribe("orders/us/**") as elsewhere,
        asyncio.TaskGroup() as group,
    ):
        await elsewhere.ready()
        for pattern in patterns:
            group.create_task(audience.websocket(pattern))
            group.create_task(audience.sse(client, pattern))
            group.create_task(audience.ndjson(client, pattern))
        await audience.until(3 * kinds)
        say(f"  audience   {kinds} each by WebSocket, SSE and NDJSON, on {', '.join(PATTERNS)}; one on orders/us/**")
        receipt = await publisher.publish(ADDRESS, PAYLOAD)
        say(f"  publisher  {json.dumps(PAYLOAD)} to {ADDRESS}, once")
        await publisher.publish("orders/us/1", "hello")
        first = await anext(elsewhere)
        check(first.address == "orders/us/1", f"a subscription to orders/us/** got an event of {first.address}")
    for (kind, pattern), count in sorted(audience.heard.items()):
        say(f"  {kind:<9}  {count} got it on {pattern}")
    heard = audience.heard.total()
    check(heard == 3 * kinds, f"{heard} of {3 * kinds} subscribers got the event")
    say("  SDK        0 got it on orders/us/**, which does not match")
    say(f"  receipt    {json.dumps(receipt._asdict())}")
    check(
        (receipt.matched, receipt.queued, receipt.behind, receipt.dropped) == (heard, heard, 0, 0),
        f"the receipt does not say what happened: {heard} subscribers got the event",
    )


# --- all of it ---


async def demonstrate() -> None:
    """All steps. Raises DemoError, or whatever went wrong."""
    with tempfile.TemporaryDirectory(prefix="fanway-demo-") as folder:
        data = Path(folder) / "data"
        say("A gateway starts, with a fresh data folder and key:")
        async with own_gateway(data) as url:
            say(f"  {url}")
            async with fanway.connect(url, data=data) as one, fanway.connect(url, data=data) as other:
                say("\n1. A SOCKET between two clients that both only dialled out")
                await show_socket(one, other)
                say("\n2. A REQUEST answered by a web server that nobody can reach from outside")
                await show_request(one, url)
                say("\n3. AN EVENT, published once, reaches everybody whose pattern matches")
                await show_event(other, url)
        say("\nThe gateway drained its connections and ended with 0.")


def main() -> int:
    """Run the demonstration; the exit code."""
    for name in [name for name in os.environ if name.startswith("FANWAY_")]:
        del os.environ[name]  # this gateway and its key, not the user's
    started = time.monotonic()

    async def in_time() -> None:
        async with asyncio.timeout(SECONDS_ALLOWED):
            await demonstrate()

    try:
        asyncio.run(in_time())
    except TimeoutError:
        say(f"\nFAILED: not done after {SECONDS_ALLOWED:g} s")
        return 1
    except Exception as error:
        for cause in _causes(error):
            say(f"\nFAILED: {cause if isinstance(cause, DemoError) else f'{type(cause).__name__}: {cause}'}")
        return 1
    say(f"All of it worked, in {time.monotonic() - started:.1f} s. Now yours: make run")
    return 0


def _causes(error: Exception) -> list[Exception]:
    """What lies behind a group of errors, each once."""
    if isinstance(error, ExceptionGroup):
        return [cause for inner in error.exceptions for cause in _causes(inner)][:3]
    return [error]


if __name__ == "__main__":
    sys.exit(main())
