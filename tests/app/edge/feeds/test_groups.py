"""Groups: each event to one member, at most once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from subscribers import Session, Stalled, publish, session
from worlds import World, running_gateway

RELAYS: list[dict[str, Any]] = [{"name": "jobs"}, {"name": "forgetful", "history": {"keep": "none"}}]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS) as running:
        yield running


async def join(peer: Session, pattern: str = "jobs/**", **members: Any) -> dict[str, Any]:
    answer = await peer.subscribe(1, pattern, group="workers", **members)
    assert answer["t"] == "ok", answer
    return answer


async def texts(peer: Session, count: int) -> list[str]:
    return [(await peer.next())[1].decode() for _ in range(count)]


async def test_each_event_goes_to_one_member_and_the_group_counts_as_one(world: World) -> None:
    async with session(world) as one, session(world) as two:
        await join(one)
        await join(two)
        receipts = [await publish(world, "jobs/1", text) for text in "abcd"]
        assert [receipt["matched"] for receipt in receipts] == [receipt["queued"] for receipt in receipts] == [1] * 4
        assert (await texts(one, 2), await texts(two, 2)) == (["a", "c"], ["b", "d"])


async def test_a_member_that_goes_leaves_all_to_the_others(world: World) -> None:
    async with session(world) as one, session(world) as two:
        await join(one)
        await join(two)
        r = await one.send("unsub", sub=1)
        assert (await one.header())["r"] == r
        for text in "abc":
            await publish(world, "jobs/1", text)
        assert await texts(two, 3) == ["a", "b", "c"]


async def test_it_begins_with_its_first_member_and_ends_with_its_last(world: World) -> None:
    await publish(world, "jobs/1", "a")
    async with session(world) as one, session(world) as two:
        first = await join(one, from_="start")
        assert first["cursor"].endswith(":0")
        assert await texts(one, 1) == ["a"]
        later = await join(two, from_="start")
        assert later["cursor"].endswith(":1")
        for peer in (one, two):
            await peer.send("unsub", sub=1)
            await peer.header()
        assert (await publish(world, "jobs/1", "nobody"))["matched"] == 0
        assert world.gateway.context.realms[world.namespace].router.is_empty


async def test_events_of_one_key_go_to_one_member(world: World) -> None:
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(session(world)) for _ in range(3)]
        for peer in peers:
            await join(peer, key="partitionkey")
        for number in range(60):
            await publish(world, "jobs/1", str(number), ce_partitionkey=f"k{number % 6}")
        seen: list[list[tuple[str, int]]] = []
        for peer in peers:
            await peer.send("ping")
            mine = []
            while (message := await peer.next())[0]["t"] == "dl":
                mine.append((message[0]["x"]["partitionkey"], int(message[1])))
            seen.append(mine)
        homes = [{key for key, _ in mine} for mine in seen]
        assert sum(map(len, homes)) == len(set().union(*homes)) == 6
        assert all(mine == sorted(mine, key=lambda each: each[1]) for mine in seen)
        assert sum(map(len, seen)) == 60


@pytest.mark.parametrize("members", [{"pattern": "jobs/eu"}, {"key": "subject"}])
async def test_the_same_name_for_something_else_is_a_conflict(world: World, members: dict[str, Any]) -> None:
    async with session(world) as one, session(world) as two:
        await join(one)
        answer = await two.subscribe(1, **{"pattern": "jobs/**", "group": "workers", **members})
        assert (answer["status"], answer["code"]) == (409, "Conflict")


async def test_a_member_without_credit_leaves_all_to_the_others_and_when_none_has_any_the_group_is_behind(
    world: World,
) -> None:
    async with session(world) as one, session(world) as two:
        await join(one, credit=1)
        await join(two, credit=2)
        receipts = [await publish(world, "jobs/1", text) for text in "abcde"]
        assert [(receipt["queued"], receipt["behind"]) for receipt in receipts] == [(1, 0)] * 3 + [(0, 1)] * 2
        assert (await texts(one, 1), await texts(two, 2)) == (["a"], ["b", "c"])
        await one.send("credit", sub=1, n=10)
        assert (await one.header())["t"] == "ok"
        assert await texts(one, 2) == ["d", "e"]
        assert (await publish(world, "jobs/1", "f"))["queued"] == 1
        assert await texts(one, 1) == ["f"]


async def test_where_nothing_is_kept_what_no_member_takes_is_lost_and_said_to_be(world: World) -> None:
    async with session(world) as one:
        await join(one, "forgetful/**", credit=1)
        receipts = [await publish(world, "forgetful/1", text) for text in "abc"]
        assert [receipt["dropped"] for receipt in receipts] == [0, 1, 1]
        assert await texts(one, 1) == ["a"]
        await one.send("credit", sub=1, n=10)
        assert (await one.header())["t"] == "ok"
        gap = await one.header()
        assert (gap["t"], gap["sub"], gap["from"][-2:], gap["to"][-2:]) == ("gap", 1, ":1", ":3")
        await publish(world, "forgetful/1", "d")
        assert await texts(one, 1) == ["d"]


async def test_a_member_that_stalls_does_not_hold_the_others(world: World) -> None:
    stalled = Stalled(world)
    await stalled.ask("jobs/**?group=workers", Accept="application/x-ndjson")
    async with session(world) as peer:
        await join(peer)
        receipts = [await publish(world, "jobs/1", f"{number} {'x' * 65536}") for number in range(60)]
        assert all(receipt["queued"] == 1 for receipt in receipts)
        await publish(world, "jobs/1", "end")
        taken = []
        while not taken or taken[-1] != "end":
            taken += [text.partition(" ")[0] for text in await texts(peer, 1)]
        assert len(taken) > 40  # all that did not fit into the buffers of the other


async def test_every_event_reaches_exactly_one_while_members_come_and_go(world: World) -> None:
    seen: list[str] = []

    async def member(rounds: int) -> None:
        for _ in range(rounds):
            async with session(world) as peer:
                await join(peer, from_="now")
                for _ in range(3):
                    seen.append((await peer.next())[1].decode())
                await peer.send("unsub", sub=1)
                while (message := await peer.next())[0]["t"] == "dl":
                    seen.append(message[1].decode())

    async with session(world) as steady:
        await join(steady)
        coming = [asyncio.ensure_future(member(4)) for _ in range(4)]
        published = 0
        while not all(task.done() for task in coming):
            await publish(world, "jobs/1", str(published))
            published += 1
        await asyncio.gather(*coming)
        await steady.send("ping")
        while (message := await steady.next())[0]["t"] == "dl":
            seen.append(message[1].decode())
    assert sorted(seen, key=int) == [str(number) for number in range(published)]
