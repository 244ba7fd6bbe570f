"""Durable relays: acknowledged means on disk, nobody sees what is not, and what is there is replayed without a seam."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from subscribers import Session, ndjson, publish, receive, session, socket, sse
from worlds import World, running_gateway

import app.edge.feeds.socket
from app.edge.feeds.appender import Publisher
from app.errors import StorageFull, StoreUnavailable

KEPT = {"keep": "durable", "events": 100_000, "seconds": 86_400, "bytes": 64 << 20}
RELAYS: list[dict[str, Any]] = [
    {"name": "kept", "history": KEPT},
    {"name": "short", "history": {**KEPT, "events": 5}},
    {"name": "memory"},
]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS) as running:
        yield running


@pytest.fixture
def short_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the last few events are in memory, and little is read at once. It comes before the gateway."""
    monkeypatch.setattr("fanout.history.TAIL_EVENTS", 7)
    monkeypatch.setattr("app.edge.feeds.feed.SLICE_BYTES", 2000)


@contextlib.contextmanager
def stuck_disk(world: World) -> Iterator[None]:
    """Nothing is written until this ends."""
    release = threading.Event()
    world.gateway.opened.journal._writer.do(lambda connection: release.wait(60), lambda *ended: None)
    try:
        yield
    finally:
        release.set()


def break_disk(world: World, monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    """Every commit fails so, until None."""
    monkeypatch.undo()
    if error is not None:
        told = error

        def fail(*args: object) -> None:
            raise told

        monkeypatch.setattr("app.store.journal._commit_together", fail)
        monkeypatch.setattr("app.store.journal.is_full", lambda *args: isinstance(told, StorageFull))


async def publish_numbers(world: World, address: str, first: int, count: int) -> None:
    async with session(world) as peer:
        for number in range(first, first + count):
            assert (await peer.publish(address, str(number)))["t"] == "ok"


async def replay(world: World, path: str, count: int) -> list[Any]:
    """The first events of a stream, as CloudEvents."""
    events: list[Any] = []
    async with ndjson(world, path) as stream:
        while len(events) < count:
            event = await stream.event()
            if event["type"] not in ("fanway.ready", "fanway.cursor"):
                events.append(event)
    return events


async def received(peer: Session, count: int) -> list[int]:
    """The next events of a session, which are numbers."""
    found: list[int] = []
    while len(found) < count:
        header, payload = await peer.next()
        if header["t"] in ("ev", "dl"):
            found.append(int(payload))
    return found


async def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    """With the same cursors, ids and epoch, and the stream goes on behind it."""
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        receipts = [await publish(world, "kept/a", str(n), Content_Type="text/plain") for n in range(3)]
        await publish(world, "memory/a", "gone")
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        receipts.append(await publish(world, "kept/a", "3", Content_Type="text/plain"))
        found = await replay(world, "kept/**?from=start", 4)
        assert [event["data"] for event in found] == ["0", "1", "2", "3"]
        assert [(event["id"], event["fanwaycursor"]) for event in found] == [
            (receipt["id"], receipt["cursor"]) for receipt in receipts
        ]
        again = await replay(world, f"kept/**?from={receipts[1]['cursor']}", 2)
        assert [event["data"] for event in again] == ["2", "3"]
        [gap] = await replay(world, "memory/**?from=00000000:1", 1)
        assert gap["type"] == "fanway.gap"


@pytest.mark.parametrize("transport", ["ndjson", "sse", "session", "cloudevents", "long poll"])
async def test_between_disk_memory_and_the_present_there_is_no_seam(
    short_tail: None, world: World, transport: str
) -> None:
    """R01: while others publish, everything from the start comes once and in order."""
    total = 150
    await publish_numbers(world, "kept/a", 0, 60)
    live = asyncio.create_task(publish_numbers(world, "kept/a", 60, total - 60))
    seen: list[int] = []
    async with asyncio.timeout(60):
        if transport == "ndjson":
            seen = [int(event["data"]) for event in await replay(world, "kept/**?from=start", total)]
        elif transport == "sse":
            async with sse(world, "kept/**?as=data&from=start") as stream:
                await stream.block()
                while len(seen) < total:
                    seen.append(int((await stream.block()).data))
        elif transport == "session":
            async with session(world) as peer:
                await peer.subscribe(1, "kept/**", from_="start")
                seen = await received(peer, total)
        elif transport == "cloudevents":
            async with socket(world, "kept/**?from=start", subprotocols=["cloudevents.json"]) as websocket:
                await receive(websocket)
                while len(seen) < total:
                    seen.append(int(json.loads(await receive(websocket))["data"]))
        else:
            cursor = "start"
            while len(seen) < total:
                answer = await world.client.get(f"/-/events/kept/**?wait=5&from={cursor}", headers=world.auth())
                seen += [int(event["data"]) for event in answer.json()]
                cursor = answer.headers["fanway-cursor"]
    await live
    assert seen == list(range(total))


async def test_a_subscriber_that_leaves_while_the_disk_is_read_is_left_alone(short_tail: None, world: World) -> None:
    await publish_numbers(world, "kept/a", 0, 40)
    async with session(world) as peer:
        await peer.subscribe(1, "kept/**", from_="start")
        await peer.send("unsub", sub=1)
        while (await peer.header())["t"] != "ok":
            pass
        await peer.subscribe(2, "kept/**", from_="start")
        assert await received(peer, 40) == list(range(40))


async def test_a_time_is_found_on_disk(tmp_path: Path, short_tail: None) -> None:
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        for number in range(30):
            world.clock.offset = number * 10.0
            await publish(world, "kept/a", str(number))
        middle = world.clock() - 195  # between 9 and 10
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        time = datetime.fromtimestamp(middle, UTC).isoformat().replace("+00:00", "Z")
        found = await replay(world, f"kept/**?from={time}", 20)
        assert [int(event["data"]) for event in found] == list(range(10, 30))


async def test_nobody_hears_of_an_event_before_it_is_on_disk(world: World) -> None:
    async with session(world) as subscriber, session(world) as publisher:
        await subscriber.subscribe(1, "kept/**")
        with stuck_disk(world):
            await publisher.send("pub", "1", address="kept/a")
            await publisher.send("pub", "2", address="kept/b")
            await publisher.send("ping")
            assert (await publisher.header())["t"] == "pong"
            await publish(world, "memory/a")  # goes on
            async with ndjson(world, "kept/**?from=start") as stream:
                assert (await stream.event())["data"]["cursor"].endswith(":0")
        assert [(await publisher.header())["r"] for _ in range(2)] == [1, 2]
        assert await received(subscriber, 2) == [1, 2]


@pytest.mark.parametrize(("error", "status"), [(StorageFull("full"), 507), (StoreUnavailable("broken"), 503)])
async def test_a_commit_that_fails_is_told_and_uses_up_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    """R08: by every way of publishing; non-durable relays go on, and so do durable ones once the disk does."""
    first = await publish(world, "kept/a", "1")
    async with session(world) as subscriber, session(world) as publisher:
        await subscriber.subscribe(1, "kept/**")
        break_disk(world, monkeypatch, error)
        answer = await world.client.post("/-/events/kept/a", content=b"x", headers=world.auth())
        assert (answer.status_code, "retry-after" in answer.headers) == (status, True)
        lines = {**world.auth(), "Content-Type": "application/x-ndjson"}
        assert (await world.client.post("/-/events/kept/a", content=b"1\n2", headers=lines)).status_code == status
        refused = await publisher.publish("kept/a", "x")
        assert (refused["t"], refused["status"]) == ("err", status)
        await publisher.websocket.send('{"t":"pub","address":"kept/a"}\nx')
        assert (await publisher.header())["status"] == status
        async with socket(world, "kept/a?mode=publish") as bare:
            await bare.send("x")
            await asyncio.wait_for(bare.wait_closed(), 10)
            assert bare.close_code in (1011, 1013)
        await publish(world, "memory/a")
        break_disk(world, monkeypatch, None)
        second = await publish(world, "kept/a", "2")
        assert int(second["cursor"].partition(":")[2]) == int(first["cursor"].partition(":")[2]) + 1
        assert await received(subscriber, 1) == [2]


async def test_an_event_that_cannot_be_given_out_keeps_its_place_and_nothing_from_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = world.gateway.context.realm(world.host).router
    plan, faults = router.plan, iter([True])

    def failing(relay: str, address: str) -> Any:
        if next(faults, False):
            raise RuntimeError("a fault of ours")
        return plan(relay, address)

    monkeypatch.setattr(router, "plan", failing)
    lines = {**world.auth(), "Content-Type": "application/x-ndjson"}
    async with socket(world, "kept/a") as subscriber:
        assert (await world.client.post("/-/events/kept/a", content=b"1\n2\n3", headers=lines)).status_code == 500
        assert (await publish(world, "kept/a", "4"))["cursor"].endswith(":4")
        assert [await receive(subscriber) for _ in range(3)] == ["2", "3", "4"]


async def test_a_full_journal_takes_events_again_when_there_is_room(tmp_path: Path) -> None:
    """R08: without a restart."""
    limits = {"journal_bytes": 1 << 20}
    async with running_gateway(tmp_path, relays=RELAYS, limits=limits) as world:
        statuses = []
        for _ in range(20):
            answer = await world.client.post("/-/events/kept/a", content=b"x" * 100_000, headers=world.auth())
            statuses.append(answer.status_code)
        assert (statuses[0], statuses[-1]) == (202, 507)
        assert world.gateway.context.counters["events"] == statuses.count(202)
        assert "full" in answer.json()["error"]["message"]
        await publish(world, "memory/a")
        assert (await world.client.delete("/-/api/relays/kept", headers=world.auth())).status_code == 204
        assert (await publish(world, "short/a", b"x" * 100_000))["cursor"].endswith(":1")


async def test_a_publisher_far_ahead_of_the_disk_is_read_no_further(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.edge.feeds.socket, "UNSAVED_BYTES", 64 * 1024)
    appender = world.gateway.context.appender
    hold, held = appender.hold, asyncio.Event()

    def note(publisher: Publisher) -> None:
        held.set()
        hold(publisher)

    monkeypatch.setattr(appender, "hold", note)
    count, size = 3000, 4096
    async with session(world) as subscriber, socket(world, "kept/a?mode=publish") as bare:
        await subscriber.subscribe(1, "kept/**")
        with stuck_disk(world):

            async def flood() -> None:
                for number in range(count):
                    await bare.send(str(number).ljust(size))

            flooding = asyncio.create_task(flood())
            await held.wait()
            await publish(world, "memory/a")
            assert appender._bytes < 64 * 1024 + 512 * 1024
            assert not flooding.done()
        got = await received(subscriber, count)
        await flooding
        assert got == list(range(count))
        assert appender._bytes == 0


async def test_too_much_that_waits_is_refused(tmp_path: Path) -> None:
    budgets = {"unsaved_bytes": 1 << 20}
    async with running_gateway(tmp_path, relays=RELAYS, budgets=budgets) as world:
        with stuck_disk(world):
            body = b"x" * (900 * 1024)
            posts = [
                asyncio.create_task(world.client.post("/-/events/kept/a", content=body, headers=world.auth()))
                for _ in range(6)
            ]
            done, waiting = await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
            assert {task.result().status_code for task in done} == {503}
            assert waiting
        assert sorted({task.result().status_code for task in posts if await task}) == [202, 503]


async def test_what_the_limits_cut_is_a_gap_and_a_new_relay_a_new_epoch(tmp_path: Path) -> None:
    """R03, R04."""
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        cursors = [(await publish(world, "short/a", str(n)))["cursor"] for n in range(12)]
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        gap, *found = await replay(world, f"short/**?from={cursors[2]}", 6)
        assert (gap["type"], gap["data"]["from"], gap["data"]["to"]) == ("fanway.gap", cursors[2], cursors[6])
        assert [event["data"] for event in found] == ["7", "8", "9", "10", "11"]
        epoch = cursors[0].partition(":")[0]
        ahead, *_ = await replay(world, f"short/**?from={epoch}:99", 1)
        assert (ahead["type"], ahead["data"]["why"]) == ("fanway.gap", "ahead")
        assert (await world.client.get("/-/events/short/**?wait=0&from=x:1", headers=world.auth())).status_code == 400
        await world.client.delete("/-/api/relays/short", headers=world.auth())
        settings = {"history": RELAYS[1]["history"]}
        await world.client.put("/-/api/relays/short", json=settings, headers=world.auth())
        fresh = await publish(world, "short/a")
        assert fresh["cursor"] != f"{epoch}:13"
        gap, *_ = await replay(world, f"short/**?from={cursors[2]}", 1)
        assert gap["data"]["why"] == "epoch"


async def test_a_relay_may_become_durable_and_cease_to_be(tmp_path: Path) -> None:
    """The epoch and the offsets go on; only what is lost is told as a gap."""
    path = "/-/api/relays/memory"
    async with running_gateway(tmp_path, relays=RELAYS[:2]) as world:
        await world.client.put(path, json={"history": {"keep": "memory"}}, headers=world.auth())
        cursors = [(await publish(world, "memory/a", "0"))["cursor"]]
        await world.client.put(path, json={"history": KEPT}, headers=world.auth())
        cursors.append((await publish(world, "memory/a", "1"))["cursor"])
    async with running_gateway(tmp_path, relays=RELAYS[:2]) as world:
        found = await replay(world, "memory/**?from=start", 2)
        assert [event["fanwaycursor"] for event in found] == cursors
        cursors.append((await publish(world, "memory/a", "2"))["cursor"])
        await world.client.put(path, json={"history": {"keep": "memory"}}, headers=world.auth())
        cursors.append((await publish(world, "memory/a", "3"))["cursor"])
        gap, *found = await replay(world, f"memory/**?from={cursors[0]}", 3)
        assert (gap["type"], [event["fanwaycursor"] for event in found]) == ("fanway.gap", cursors[2:])
        assert {cursor.partition(":")[0] for cursor in cursors} == {cursors[0].partition(":")[0]}


async def test_what_is_retained_is_there_after_a_restart(tmp_path: Path) -> None:
    """Of durable relays, and until they retain no longer."""
    relays = [{"name": "last", "history": {**KEPT, "events": 1}, "retain": "last"}]
    async with running_gateway(tmp_path, relays=relays) as world:
        await publish(world, "last/a", "1")
        await publish(world, "last/b", "2")
        await publish(world, "last/b", "3")
    async with running_gateway(tmp_path, relays=relays) as world:
        found = await replay(world, "last/**?from=retained", 2)
        assert [(event["subject"] if "subject" in event else event["source"], event["data"]) for event in found] == [
            ("/last/a", "1"),
            ("/last/b", "3"),
        ]
    async with running_gateway(tmp_path, relays=[{**relays[0], "retain": "none"}]):
        pass
    async with running_gateway(tmp_path, relays=relays) as world:
        async with ndjson(world, "last/**?from=retained") as stream:
            assert (await stream.event())["type"] == "fanway.ready"
            await publish(world, "last/c", "4")
            while (event := await stream.event())["type"].startswith("fanway.") and event["type"] != "fanway.event":
                pass
            assert event["data"] == "4"


async def delivered(peer: Session, count: int) -> list[tuple[int, int]]:
    """The next deliveries of a shared subscription: their numbers to acknowledge, and what they hold."""
    found: list[tuple[int, int]] = []
    while len(found) < count:
        header, payload = await peer.next()
        if header["t"] == "dl":
            found.append((header["d"], int(payload)))
    return found


async def test_a_durable_subscription_goes_on_from_disk_after_a_restart(tmp_path: Path, short_tail: None) -> None:
    """What was not acknowledged comes again, and what nobody had taken yet."""
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        await publish_numbers(world, "kept/a", 0, 40)
        async with session(world) as peer:
            await peer.subscribe(1, "kept/**", durable="workers", from_="start")
            given = await delivered(peer, 40)
            assert [number for _, number in given] == list(range(40))
            await peer.send("ack", sub=1, d=[d for d, number in given if number not in (3, 17)])
            while (await peer.header())["t"] != "ok":
                pass
        await publish_numbers(world, "kept/a", 40, 30)
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        async with session(world) as peer:
            await peer.subscribe(1, "kept/**", durable="workers")
            assert sorted(number for _, number in await delivered(peer, 32)) == [3, 17, *range(40, 70)]


async def test_history_that_cannot_be_read_ends_the_subscription(
    short_tail: None, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish_numbers(world, "kept/a", 0, 40)
    monkeypatch.setattr("app.store.log._SLICE", "SELECT nothing FROM nowhere WHERE ?1 + ?2 + ?3 + ?4")
    answer = await world.client.get("/-/events/kept/**?wait=5&from=start", headers=world.auth())
    assert answer.status_code == 503
    async with session(world) as peer:
        await peer.subscribe(1, "kept/**", from_="start")
        async with asyncio.timeout(10):
            await peer.websocket.wait_closed()
        assert peer.websocket.close_code == 1011
    await publish(world, "kept/a")


async def test_a_dead_letter_that_cannot_be_written_is_not_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with session(world) as peer, session(world) as mourner:
        await mourner.subscribe(1, "kept/dead")
        await peer.subscribe(1, "memory/**", durable="workers", max_deliveries=1, dead_letter="kept/dead")
        await publish(world, "memory/a", "7")
        [(number, _)] = await delivered(peer, 1)
        break_disk(world, monkeypatch, StorageFull("full"))
        await peer.send("nack", sub=1, d=[number])
        while (await peer.header())["t"] != "ok":
            pass
        assert (await world.client.post("/-/events/kept/a", content=b"x", headers=world.auth())).status_code == 507
        break_disk(world, monkeypatch, None)
        world.gateway.context.wheel.advance(5)
        assert await received(mourner, 1) == [7]


async def test_events_of_a_relay_that_is_deleted_meanwhile_are_refused(world: World) -> None:
    async with session(world) as publisher:
        with stuck_disk(world):
            await publisher.send("pub", "1", address="kept/a")
            await publisher.send("ping")
            await publisher.header()
            assert (await world.client.delete("/-/api/relays/kept", headers=world.auth())).status_code == 204
        refused = await publisher.header()
        assert (refused["t"], refused["status"]) == ("err", 404)


async def test_runs_and_receipts_keep_the_order_in_which_they_were_sent(world: World) -> None:
    async with session(world) as subscriber, session(world) as publisher:
        await subscriber.subscribe(1, "kept/**")
        for number in range(200):
            members = {"r": number} if number % 3 else {}
            header = json.dumps({"t": "pub", "address": f"kept/{number % 2}", **members})
            await publisher.websocket.send(f"{header}\n{number}")
        receipts = [(await publisher.header())["r"] for _ in range(133)]
        assert receipts == [number for number in range(200) if number % 3]
        assert await received(subscriber, 200) == list(range(200))
