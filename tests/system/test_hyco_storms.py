"""hyco-ws, unmodified, as a listener that is refused: it opens two channels, at once, for each that it lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from programs import StartNode
from worlds import World, running_gateway

from app.config import Deadlines, Limits

FREE = 5
WAITED = 6  # refusals after those that go out at once
SECONDS = 0.5
ID = "11111111-1111-4111-8111-111111111111"


async def refused(world: World, count: int) -> float:
    """Wait for so many refusals; how long the last `WAITED` took."""
    loop, counters = asyncio.get_running_loop(), world.gateway.context.counters
    begun = 0.0
    async with asyncio.timeout(30):
        while counters["refusals"] < count:
            await asyncio.sleep(0.01)
            if not begun and counters["refusals"] >= count - WAITED:
                begun = loop.time()
    return loop.time() - begun


@pytest.mark.parametrize(("keys", "quota", "status"), [(["wrong"], 5, "401"), (["right"], 1, "403")])
async def test_a_hammering_hyco_listener_is_slowed_down_and_a_good_one_registers_at_once(
    tmp_path: Path, node: StartNode, keys: list[str], quota: int, status: str
) -> None:
    """A bad token, then a full relay: attempts stay bounded, and so does what is held. (C14)"""
    limits = Limits(listeners=quota, refused_listens=FREE)
    async with running_gateway(tmp_path, limits=limits, deadlines=Deadlines(refusal_seconds=SECONDS)) as world:
        await world.listen("hyco", query=f"&sb-hc-id={ID}")
        uri = f"{world.ws}/$hc/hyco?sb-hc-action=listen"
        options = {} if keys == ["right"] else {"keys": keys}
        hammer = await node("ws_listener", uri=uri, **options)
        assert status in (await hammer.expect("unreachable"))["message"]
        took = await refused(world, FREE + WAITED)
        counters, storms = world.gateway.context.counters, world.gateway.context.storms
        answered, attempts = counters["refusals"], counters["listens_refused"]
        assert took >= (WAITED - 1) * SECONDS
        assert attempts <= 2 * answered + 1
        assert storms.held <= answered + 1
        good = await world.listen("hyco", query=f"&sb-hc-id={ID}_G1")  # at the quota it takes its own place
        assert storms.held  # others, who came before it, wait still
        wanted = {**world.auth(), "Microsoft-Relay-AllowedListeners": ID}
        assert (await world.client.get("/hyco", headers=wanted)).status_code == 200
        assert good.requests or quota > 1  # the one that was lost may still be there
        await hammer.kill()
        async with asyncio.timeout(10):
            while storms.held:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_the_two_channels_that_hyco_opens_for_one_do_not_fight_for_the_only_place(
    tmp_path: Path, node: StartNode
) -> None:
    """Its address holds an id, so that each might pass for the other's lost predecessor."""
    limits = Limits(listeners=1, refused_listens=FREE)
    async with running_gateway(tmp_path, limits=limits, deadlines=Deadlines(refusal_seconds=SECONDS)) as world:
        await node("ws_listener", uri=f"{world.ws}/$hc/hyco?sb-hc-action=listen&sb-hc-id={ID}")
        counters, roster = world.gateway.context.counters, world.gateway.context.realms[world.namespace].roster
        async with asyncio.timeout(10):
            while not roster.count("hyco"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        [channel] = roster.listeners("hyco")
        channel.abort()  # hyco-ws hears of it twice, as of every loss with an error
        await node("ws_listener", uri=f"{world.ws}/$hc/hyco?sb-hc-action=listen&sb-hc-id={ID}")
        await refused(world, FREE + WAITED)
        assert roster.count("hyco") == 1
        assert counters["listens_refused"] <= 2 * counters["refusals"] + 20  # not thousands
        assert counters["senders"] == 0
        async with world.connect("hyco") as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
