"""hyco-ws listeners that are lost, or whose control channel has come to its end: senders do not notice."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

from programs import StartNode
from websockets.asyncio.client import ClientConnection
from worlds import World, running_gateway

from app.config import Deadlines

SENDERS = 16


async def test_senders_of_a_hyco_listener_that_dies_meet_the_other_one_at_once(tmp_path: Path, node: StartNode) -> None:
    """C16: one is stopped, so that it takes commands and does not come; then it is killed, as by a crash."""
    async with running_gateway(tmp_path) as world, contextlib.AsyncExitStack() as sockets:
        listeners = [await node("ws_listener", uri=f"{world.ws}/$hc/hyco?sb-hc-action=listen") for _ in range(2)]
        for listener in listeners:
            await listener.expect("listening")
        frozen, lively = listeners
        frozen.process.send_signal(signal.SIGSTOP)
        context = world.gateway.context
        senders = [asyncio.create_task(met(world, sockets)) for _ in range(SENDERS)]
        async with asyncio.timeout(10):
            while context.counters["senders"] < SENDERS or len(context.rendezvous) == SENDERS:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await lively.expect("connection")
        await frozen.kill()
        for socket in await asyncio.gather(*senders):  # who waits for one that does not come is refused
            await socket.send("hello")
            assert await socket.recv() == "hello"
        assert context.counters["offered_again"] > 0


async def met(world: World, sockets: contextlib.AsyncExitStack) -> ClientConnection:
    return await sockets.enter_async_context(world.connect("hyco"))


async def test_a_hyco_listener_comes_back_when_its_channels_life_is_over(tmp_path: Path, node: StartNode) -> None:
    """C17"""
    async with running_gateway(tmp_path, deadlines=Deadlines(channel_seconds=1)) as world:
        listener = await node("ws_listener", uri=f"{world.ws}/$hc/hyco?sb-hc-action=listen")
        await listener.expect("listening")
        ended = await listener.expect("channel-closed")
        assert ended["code"] == 1011
        assert ended["reason"].startswith("NameRenewalFailed: ")
        await listener.expect("listening")
        async with world.connect("hyco") as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
