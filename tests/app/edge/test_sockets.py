"""Sockets."""

from __future__ import annotations

from worlds import World


async def test_a_message_goes_there_and_back(world: World) -> None:
    await world.listen("hyco")
    async with world.connect("hyco") as socket:
        await socket.send("hi")
        assert await socket.recv() == "hi"
