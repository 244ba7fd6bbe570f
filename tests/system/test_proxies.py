"""The recipes of docs/proxies, each with the real proxy before a gateway: TLS and HTTP/2 outside, all of it through."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from certificates import make_pair
from programs import require
from worlds import KEY, KEY_NAME, World, running_gateway

import fanway

RECIPES = Path(__file__).parents[2] / "docs" / "proxies"
NAME = "relay.localhost"  # which the SDK and curl find without a resolver
BIG = os.urandom(300_000)


# Whether the reason phrase is kept on HTTP/1.1, and how a header's name is spelled there.
SPOKEN = {"nginx": (True, "TrackingId"), "haproxy": (True, "trackingid"), "caddy": (False, "Trackingid")}


@dataclass
class Proxied:
    """A gateway behind a proxy, at https://relay.localhost:PORT."""

    kind: str
    world: World
    port: int
    certificate: Path

    @property
    def url(self) -> str:
        return f"https://{NAME}:{self.port}"

    def relay(self) -> fanway.Relay:
        return fanway.connect(self.url, key_name=KEY_NAME, key=KEY, ca=self.certificate)

    async def curl(self, path: str, *arguments: str) -> asyncio.subprocess.Process:
        """curl over HTTP/2, its output a pipe."""
        token = f"ServiceBusAuthorization: {self.world.token()}"
        where = ["--resolve", f"{NAME}:{self.port}:127.0.0.1", "--cacert", str(self.certificate)]
        command = [require("curl"), "-sN", "--http2", *where, "-H", token, *arguments, f"{self.url}{path}"]
        return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)


def recipe(kind: str, folder: Path, port: int, gateway_port: int) -> tuple[list[str], Path]:
    """The command that runs the documented file with this test's ports and certificate, and that certificate."""
    pair = make_pair(folder, NAME)
    whole = folder / "relay.pem"
    whole.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    name = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "caddy": "Caddyfile"}[kind]
    text = (RECIPES / name).read_text("utf-8")
    replaced = {
        "127.0.0.1:8480": f"127.0.0.1:{gateway_port}",
        "listen 443 ": f"listen 127.0.0.1:{port} ",
        "bind :443 ": f"bind 127.0.0.1:{port} ",
        "relay.example.org:443": f"{NAME}:{port}",
        "relay.example.org": NAME,
        f"/etc/{kind}/relay.key": str(pair.key),
        f"/etc/{kind}/relay.pem": str(whole),
    }
    for old, new in replaced.items():
        text = text.replace(old, new)
    assert re.search(r"\b443\b", text) is None
    assert "/etc/" not in text.partition("\n")[2]
    if kind == "nginx":
        text = f"user root; events {{}} http {{\nclient_body_temp_path {folder}; proxy_temp_path {folder};\n{text}\n}}"
    elif kind == "caddy":
        text = text.replace("{\n", "{\n\tadmin off\n\tauto_https disable_redirects\n", 1)
    file = folder / name
    file.write_text(text, "utf-8")
    executable = require(kind, f"/usr/sbin/{kind}")
    commands = {
        "nginx": ["-p", str(folder), "-c", str(file), "-e", "stderr", "-g", f"daemon off; pid {folder}/pid;"],
        "haproxy": ["-db", "-f", str(file)],
        "caddy": ["run", "--adapter", "caddyfile", "--config", str(file)],
    }
    return [executable, *commands[kind]], pair.certificate


@pytest.fixture(params=["nginx", "haproxy", "caddy"])
async def proxied(request: pytest.FixtureRequest, tmp_path: Path, free_port: int) -> AsyncIterator[Proxied]:
    async with running_gateway(tmp_path, trusted_proxies=("127.0.0.1",)) as world:
        command, certificate = recipe(request.param, tmp_path / "proxy", free_port, world.port)
        homes = {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        with (tmp_path / "proxy.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *command, env={**os.environ, **homes}, stdout=log, stderr=log, start_new_session=True
            )
        try:
            await answering(free_port, process)
            yield Proxied(request.param, world, free_port, certificate)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its workers too
            await process.wait()
            print((tmp_path / "proxy.log").read_text(errors="replace"))


async def answering(port: int, process: asyncio.subprocess.Process) -> None:
    """Wait until the proxy accepts connections."""
    async with asyncio.timeout(20):
        while True:
            assert process.returncode is None, "the proxy ended at once"
            with contextlib.suppress(ConnectionError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


async def test_everything_passes(proxied: Proxied) -> None:
    go_on = asyncio.Event()
    remotes: list[str] = []

    async def answer(request: fanway.Request) -> Any:
        remotes.append(request.remote)
        if request.path.endswith("/stream"):

            async def pieces() -> AsyncIterator[bytes]:
                yield b"one\n"
                await go_on.wait()
                yield b"two\n"

            return fanway.Response(pieces())
        return fanway.Response(await request.read() or request.headers["host"])

    async with proxied.relay() as relay:
        relay.listen("shop")(answer)
        relay.listen("shop/echo", sockets=True)(echo)
        await relay.listening()

        # The addresses that the listener is called to are the proxy's.
        realm = proxied.world.gateway.context.realms[proxied.world.namespace]
        listener = realm.roster.choose("shop", "shop")
        assert listener is not None
        assert listener.base == f"wss://{NAME}:{proxied.port}"

        # Requests: small, and large enough to be fetched at such an address; both ways.
        assert (await relay.ask("shop", timeout=10)).text == f"{NAME}:{proxied.port}"
        assert (await relay.ask("shop", BIG, timeout=10)).content == BIG

        # A socket, both ways, with a large message and its Close.
        async with relay.open("shop/echo") as socket:
            for message in ("ping", BIG):
                await socket.send(message)
                assert await socket.recv() == message

        # HTTP/2 outside, and the peer is who came to the proxy.
        asked = await proxied.curl("/shop/x", "--interface", "127.0.0.9", "-w", " %{http_version}")
        output, _ = await asked.communicate()
        assert output.decode() == f"{NAME}:{proxied.port} 2"
        assert remotes[-1] == "127.0.0.9:0"

        # A streamed answer comes piece by piece.
        streaming = await proxied.curl("/shop/stream")
        assert streaming.stdout is not None
        async with asyncio.timeout(10):
            assert await streaming.stdout.readline() == b"one\n"
            go_on.set()
            assert await streaming.stdout.read() == b"two\n"
        await streaming.wait()

        # So do events.
        hearing = await proxied.curl("/-/events/orders/7", "-H", "Accept: text/event-stream")
        assert hearing.stdout is not None
        async with asyncio.timeout(10):
            assert await hearing.stdout.readline() == b"event: ready\n"
            receipt = await relay.publish("orders/7", "hello")
            assert receipt.matched == 1
            while (line := await hearing.stdout.readline()) != b"data: hello\n":
                assert line
        hearing.kill()
        await hearing.communicate()


async def echo(socket: fanway.Socket) -> None:
    async for message in socket:
        await socket.send(message)


async def test_a_refusal_of_the_gateway_comes_through_with_its_tracking_id(proxied: Proxied) -> None:
    async with proxied.relay() as relay:
        with pytest.raises(fanway.RelayError) as refused:
            async with relay.open("hyco"):
                pass
        assert refused.value.status == 404
    reason_is_kept, spelling = SPOKEN[proxied.kind]
    for version in ("--http2", "--http1.1"):
        asked = await proxied.curl("/hyco", "-i", version, "-H", "X-None: 1")
        output, _ = await asked.communicate()
        status, _, rest = output.decode().partition("\r\n")
        head, _, body = rest.partition("\r\n\r\n")
        name, tracking = re.search(r"^(trackingid): (.*?)\r?$", head, re.MULTILINE | re.IGNORECASE).groups()  # type: ignore[union-attr]
        assert tracking in body
        if version == "--http1.1":
            assert status.startswith("HTTP/1.1 404 ")
            assert (tracking in status) == reason_is_kept
            assert name == spelling
