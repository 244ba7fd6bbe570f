"""The connection string that a first start prints, given to each kind of client as it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from dotnet import ConnectionString
from dotnet_world import check_meeting
from programs import FANWAY, StartNode, StartPeer, running
from websockets.asyncio.client import connect

from app.access.sas import make_token


@dataclass
class FirstStart:
    """What `fanway serve` printed, and the authority to trust."""

    printed: str
    ca: Path

    @property
    def string(self) -> ConnectionString:
        return ConnectionString.parse(self.printed)

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


@pytest.fixture
async def first_start(tmp_path: Path) -> AsyncIterator[FirstStart]:
    """A gateway in a process of its own, with the relay `hyco`, started for the first time."""
    relays, data = tmp_path / "relays.json", tmp_path / "data"
    relays.write_text(json.dumps({"relays": [{"name": "hyco", "profile": "hybridConnection"}]}))
    command = [FANWAY, "serve", "--listen", "127.0.0.1:0", "--log-level", "error", "--data", data, "--relays", relays]
    async with running(*command) as gateway:
        lines: list[str] = []
        while not lines or "listen shop" not in lines[-1]:
            lines.append((await gateway.text()).strip())
        [printed] = [line for line in lines if line.startswith("Endpoint=sb://")]
        yield FirstStart(printed, data / "tls" / "ca.pem")


async def test_printed_string_serves_the_dotnet_sdk(first_start: FirstStart) -> None:
    """E-dotnet: once with the entity named beside it, once in it."""
    within = ConnectionString.parse(f"{first_start.printed};EntityPath=hyco")
    await check_meeting(first_start.string.at("hyco"), within, first_start.tls)


async def test_printed_string_serves_the_java_sdk(first_start: FirstStart, java_peer: StartPeer) -> None:
    """E-java: the endpoint ends with a slash, because the SDK puts the path right behind it."""
    parts = dict(piece.split("=", 1) for piece in first_start.printed.split(";"))
    assert parts["Endpoint"].endswith("/")
    java = await java_peer(
        first_start.ca,
        endpoint=parts["Endpoint"],
        path="hyco",
        rule=parts["SharedAccessKeyName"],
        key=parts["SharedAccessKey"],
    )
    await java.tell(do="listen")
    await java.expect("listening")
    await java.tell(do="connect", number=1)
    await java.expect("opened")
    await java.tell(do="send", number=1, kind="binary", bytes=5)
    assert (await java.expect("echoed"))["same"]


async def test_printed_string_serves_the_node_modules(first_start: FirstStart, node: StartNode) -> None:
    """E-node: the URI is written out, since the port is not 443."""
    string = first_start.string
    uri = f"wss://{string.host}:{string.port}/$hc/hyco"
    options = {"rule": string.key_name, "key": string.key, "keys": [string.key], "ca": first_start.ca}
    listener = await node("ws_listener", uri=f"{uri}?sb-hc-action=listen", **options)
    await listener.expect("listening")
    messages = [{"type": "text", "bytes": 10}]
    sender = await node(
        "ws_sender", uri=f"{uri}?sb-hc-action=connect", senders=1, messages=messages, close=[1000], **options
    )
    assert (await sender.expect("echoed"))["same"]


async def test_printed_string_serves_plain_websockets(first_start: FirstStart) -> None:
    """E-python: as Azure's quick start for Python writes it, the token in the query."""
    string = first_start.string
    host = urlsplit(string.address).netloc
    token = quote(make_token(f"http://{string.host}/hyco", string.key_name, string.key, 4102444800), safe="")
    uri = f"wss://{host}/$hc/hyco?sb-hc-action=listen&sb-hc-token={token}"
    async with contextlib.AsyncExitStack() as stack:
        listener = await stack.enter_async_context(connect(uri, ssl=first_start.tls))
        sender = connect(uri.replace("=listen", "=connect"), ssl=first_start.tls)
        waiting = asyncio.ensure_future(sender.__aenter__())
        accept = json.loads(await listener.recv())["accept"]
        accepted = await stack.enter_async_context(connect(accept["address"], ssl=first_start.tls))
        socket = await waiting
        await socket.send("hello")
        assert await accepted.recv() == "hello"
        await socket.close()
