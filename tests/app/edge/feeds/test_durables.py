"""Durable subscriptions over sessions: each event to one consumer, until it is acknowledged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from subscribers import Session, publish, session
from tokens import SECRET, signed
from worlds import World, running_gateway

from app.namespace import Change

RELAYS: list[dict[str, Any]] = [
    {
        "name": "jobs",
        "rules": [
            {"name": "one", "rights": ["Listen"], "primaryKey": "one-key"},
            {"name": "two", "rights": ["Listen"], "primaryKey": "two-key"},
        ],
    },
    {"name": "dead"},
    {"name": "forgetful", "history": {"keep": "none"}},
]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS) as running:
        yield running


async def consume(peer: Session, sub: int = 1, **members: Any) -> dict[str, Any]:
    answer = await peer.subscribe(sub, "jobs/**", durable="workers", **members)
    assert answer["t"] == "ok", answer
    return answer


async def delivery(peer: Session) -> tuple[dict[str, Any], str]:
    header, payload = await peer.next()
    assert header["t"] == "dl", header
    return header, payload.decode()


async def test_what_is_acknowledged_does_not_come_again(world: World) -> None:
    async with session(world) as peer:
        await consume(peer)
        for text in ("a", "b"):
            await publish(world, "jobs/1", text)
        first, payload = await delivery(peer)
        assert (first["sub"], first["n"], first["a"], payload) == (1, 1, "jobs/1", "a")
        assert first["deadline"] == pytest.approx(world.clock() + 30, abs=5)
        second, _ = await delivery(peer)
        await peer.send("ack", sub=1, d=[first["d"]])
        assert (await peer.header())["t"] == "ok"
    async with session(world) as peer:
        await consume(peer)
        again, payload = await delivery(peer)
        assert (again["c"], again["n"], payload) == (second["c"], 2, "b")
        assert again["d"] != second["d"]


async def test_a_consumer_that_is_cut_off_leaves_its_events_to_another(world: World) -> None:
    async with session(world) as first, session(world) as second:
        await consume(first)
        await publish(world, "jobs/1", "a")
        given, _ = await delivery(first)
        await consume(second)
        first.websocket.transport.abort()
        again, payload = await delivery(second)
        assert (again["c"], again["n"], payload) == (given["c"], 2, "a")


async def test_what_is_not_acknowledged_in_time_comes_again(world: World) -> None:
    async with session(world) as peer:
        await consume(peer, ack_wait=20)
        await publish(world, "jobs/1", "a")
        first, _ = await delivery(peer)
        world.gateway.context.wheel.advance(21)
        second, _ = await delivery(peer)
        assert (second["n"], second["c"]) == (2, first["c"])
        await peer.send("ack", sub=1, d=[first["d"], second["d"]])
        answer = await peer.header()
        assert (answer["t"], answer["code"], answer["sub"], answer["d"]) == ("err", "UnknownDelivery", 1, [first["d"]])
        world.gateway.context.wheel.advance(21)
        await publish(world, "jobs/1", "b")
        third, payload = await delivery(peer)
        assert (third["n"], payload) == (1, "b")  # the other of that message was taken


async def test_what_is_given_back_comes_again_after_its_delay(world: World) -> None:
    async with session(world) as peer:
        await consume(peer)
        for text in ("a", "b"):
            await publish(world, "jobs/1", text)
        first, _ = await delivery(peer)
        other, _ = await delivery(peer)
        await peer.send("nack", sub=1, d=[first["d"]], delay=0)
        answer = await peer.header()
        again, payload = await delivery(peer)
        assert (answer["t"], again["n"], payload) == ("ok", 2, "a")
        await peer.send("nack", sub=1, d=[again["d"], other["d"]], delay=60, reason="later")
        await peer.header()
        world.gateway.context.wheel.advance(61)
        assert [(await delivery(peer))[1] for _ in range(2)] == ["a", "b"]


async def test_how_far_it_has_come_survives_a_restart(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        async with session(world) as peer:
            await consume(peer, key="subject", ack_wait=7)
    async with running_gateway(tmp_path, relays=RELAYS) as world, session(world) as peer:
        await publish(world, "jobs/1", "before")
        [durable] = world.gateway.context.durables.all()
        assert (durable.name, durable.terms.key, durable.terms.ack_wait) == ("workers", "subject", 7.0)
        answer = await consume(peer)
        gap = await peer.header()
        assert (gap["t"], gap["sub"], gap["why"], gap["from"]) == ("gap", 1, "epoch", answer["cursor"])
        assert (await delivery(peer))[1] == "before"


async def test_what_was_delivered_in_vain_goes_to_the_dead_letter_address(world: World) -> None:
    async with session(world) as peer, session(world) as mourner:
        await mourner.subscribe(1, "dead/jobs")
        await consume(peer, max_deliveries=2, dead_letter="dead/jobs")
        await publish(world, "jobs/eu/7", "poison", ce_type="job", ce_subject="7", Content_Type="text/plain")
        for _ in range(2):
            given, _ = await delivery(peer)
            await peer.send("nack", sub=1, d=[given["d"]], delay=0, reason="no stock")
            await peer.header()
        header, payload = await mourner.next()
        assert (header["a"], header["y"], header["s"]) == ("dead/jobs", "job", "/jobs/eu/7")
        assert header["i"] == "workers-" + given["c"].replace(":", "-")
        assert (payload, header["ct"]) == (b"poison", "text/plain")
        assert header["x"] == {
            "subject": "7",
            "fanwayreason": "no stock",
            "fanwayorigin": "jobs/eu/7",
            "fanwayoriginid": given["i"],
            "fanwayorigincursor": given["c"],
            "fanwaydurable": "workers",
            "fanwayattempts": "2",
        }
        await publish(world, "jobs/1", "next")
        assert (await delivery(peer))[1] == "next"


async def test_a_lesser_token_of_its_owner_takes_no_dead_letter_away(tmp_path: Path) -> None:
    identity = {"signers": [{"name": "backend", "algorithm": "HS256", "key": SECRET}]}
    async with running_gateway(tmp_path, relays=RELAYS, identity=identity) as world:

        def by(**claims: Any) -> dict[str, str]:
            return {"ServiceBusAuthorization": signed({"sub": "42", "subscribe": ["jobs/**"], **claims})}

        async with session(world, additional_headers=by(publish=["dead/**"])) as peer:
            await consume(peer, max_deliveries=1, dead_letter="dead/jobs")
        async with session(world, additional_headers=by()) as peer, session(world) as mourner:
            await mourner.subscribe(1, "dead/jobs")
            await consume(peer, max_deliveries=1, dead_letter="dead/jobs")
            await publish(world, "jobs/1", "poison")
            given, _ = await delivery(peer)
            await peer.send("nack", sub=1, d=[given["d"]], delay=0)
            assert (await mourner.next())[1] == b"poison"


async def test_a_dead_letter_is_no_repetition_of_the_event_in_the_same_relay(world: World) -> None:
    async with session(world) as peer, session(world) as mourner:
        await mourner.subscribe(1, "jobs/dead")
        answer = await peer.subscribe(1, "jobs/eu/*", durable="eu", max_deliveries=1, dead_letter="jobs/dead")
        assert answer["t"] == "ok"
        await publish(world, "jobs/eu/7", "poison", ce_id="7", ce_source="shop")
        given, _ = await delivery(peer)
        await peer.send("nack", sub=1, d=[given["d"]])
        header, _ = await mourner.next()
        assert (header["s"], header["x"]["fanwayoriginid"]) == ("shop", "7")


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"pattern": "jobs/eu"}, 409),
        ({"key": "subject"}, 409),
        ({"ack_wait": 99}, 409),
        ({"ack_wait": 30}, 200),
    ],
)
async def test_another_subscription_of_the_same_name_is_a_conflict(
    world: World, members: dict[str, Any], status: int
) -> None:
    async with session(world) as peer:
        await consume(peer)
        answer = await peer.subscribe(2, **{"pattern": "jobs/**", "durable": "workers", **members})
        assert answer.get("status", 200) == status


@pytest.mark.parametrize(
    ("members", "status", "words"),
    [
        ({"pattern": "forgetful/**"}, 400, "keeps no events"),
        ({"dead_letter": "jobs/dead"}, 400, "itself receives"),
        ({"dead_letter": "-/sys/dead"}, 400, ""),
    ],
)
async def test_what_a_durable_subscription_cannot_be(
    world: World, members: dict[str, Any], status: int, words: str
) -> None:
    async with session(world) as peer:
        answer = await peer.subscribe(1, **{"pattern": "jobs/**", "durable": "workers", **members})
        assert (answer["t"], answer["status"]) == ("err", status)
        assert words in answer["message"]


async def test_it_is_its_owners_and_the_managers(world: World) -> None:
    one, two = (world.auth("jobs", rule=rule, key=f"{rule}-key") for rule in ("one", "two"))
    async with session(world, additional_headers=one) as owner:
        await consume(owner)
        async with session(world, additional_headers=two) as stranger:
            answer = await stranger.subscribe(1, "jobs/**", durable="workers")
            assert (answer["status"], answer["code"]) == (403, "ClaimMissing")
            answer = await stranger.subscribe(2, "jobs/**", durable="mine", dead_letter="dead/x")
            assert answer["status"] in (401, 403)  # its maker must be able to publish there
        async with session(world) as manager:
            await consume(manager)


async def test_a_token_that_reaches_a_part_of_it_does_not_use_it(world: World) -> None:
    async with session(world, additional_headers=world.auth("jobs", rule="one", key="one-key")) as owner:
        await consume(owner)
    async with session(world, additional_headers=world.auth("jobs/a", rule="one", key="one-key")) as narrow:
        answer = await narrow.subscribe(1, "jobs/a", durable="workers")
        assert (answer["status"], answer["code"]) == (403, "ClaimMissing")


async def test_a_number_that_is_used_again_at_once_is_the_later_ones(world: World) -> None:
    async with session(world) as peer:
        first = await peer.send("sub", sub=1, pattern="jobs/**", durable="first")
        gone = await peer.send("unsub", sub=1)
        second = await peer.send("sub", sub=1, pattern="jobs/**", durable="second")
        answers = {answer["r"]: answer for answer in [await peer.header() for _ in range(3)]}
        assert [answers[r]["t"] for r in (first, gone, second)] == ["err", "ok", "ok"]
        relay = world.namespace.relays["jobs"]
        consumers = {each.name: len(each.consumers) for each in world.gateway.context.durables.of(relay)}
        assert consumers == {"first": 0, "second": 1}


async def test_it_stands_still_without_its_owner_and_goes_on_with_it(world: World) -> None:
    relay = world.namespace.relays["jobs"]
    one = world.auth("jobs", rule="one", key="one-key")
    async with session(world, additional_headers=one) as owner:
        await consume(owner)
    async with session(world) as manager:
        await consume(manager)
        rule = relay.rules.pop("one")
        world.namespace.announce(Change("rule-removed", relay, "one"))
        assert (await publish(world, "jobs/1", "meanwhile"))["matched"] == 0
        [durable] = world.gateway.context.durables.all()
        assert durable.is_paused
        relay.rules["one"] = rule
        world.namespace.announce(Change("rule-changed", relay, "one"))
        assert (await publish(world, "jobs/1", "again"))["matched"] == 1
        assert [(await delivery(manager))[1] for _ in range(2)] == ["meanwhile", "again"]


async def test_it_goes_with_its_relay(world: World) -> None:
    async with session(world) as peer:
        await consume(peer)
        await world.client.delete("/-/api/relays/jobs", headers=world.auth())
        answer = await peer.header()
        assert (answer["t"], answer["sub"], answer["status"]) == ("err", 1, 404)
        assert world.gateway.context.durables.all() == []
        await world.gateway.context.journal.commit()
        assert await world.gateway.context.journal.rows("SELECT * FROM durables") == []


async def test_credit_bounds_what_is_under_way(world: World) -> None:
    async with session(world) as peer:
        await consume(peer, credit=2)
        for text in "abcd":
            await publish(world, "jobs/1", text)
        first, _ = await delivery(peer)
        await delivery(peer)
        await peer.send("ping")
        assert (await peer.header())["t"] == "pong"
        await peer.send("ack", sub=1, d=[first["d"]])
        assert (await peer.header())["t"] == "ok"
        assert (await delivery(peer))[1] == "c"
        await peer.send("credit", sub=1, n=1)
        assert (await peer.header())["t"] == "ok"
        assert (await delivery(peer))[1] == "d"


async def test_one_that_has_no_room_for_what_others_hold_goes_on_when_they_let_go(world: World) -> None:
    context = world.gateway.context
    async with session(world) as peer:
        await consume(peer)
        await publish(world, "jobs/1", "a")
        await delivery(peer)
        context.pending.held += context.pending.most_bytes
        await publish(world, "jobs/1", "b")
        await peer.send("ping")
        assert (await peer.header())["t"] == "pong"
        context.pending.held -= context.pending.most_bytes
        context.wheel.advance(2)
        assert (await delivery(peer))[1] == "b"


async def test_nobody_settles_what_was_given_to_another(world: World) -> None:
    async with session(world) as one, session(world) as other:
        await consume(one)
        await publish(world, "jobs/1", "a")
        given, _ = await delivery(one)
        await consume(other)
        await other.send("ack", sub=1, d=[given["d"], 999])
        answer = await other.header()
        assert (answer["status"], answer["code"], answer["d"]) == (404, "UnknownDelivery", [given["d"], 999])
        await other.send("ack", sub=7, d=[1])
        assert (await other.header())["code"] == "EndpointNotFound"
        await one.send("ack", sub=1, d=[given["d"]])
        assert (await one.header())["t"] == "ok"


async def test_on_a_durable_relay_it_goes_on_after_a_restart_where_it_was(tmp_path: Path) -> None:
    relays = [{"name": "jobs", "history": {"keep": "durable"}}]
    async with running_gateway(tmp_path, relays=relays) as world, session(world) as peer:
        await consume(peer)
        for text in "abcd":
            await publish(world, "jobs/1", text)
        a, _, c, _ = [(await delivery(peer))[0] for _ in range(4)]
        await peer.send("ack", sub=1, d=[a["d"], c["d"]])
        assert (await peer.header())["t"] == "ok"
    async with running_gateway(tmp_path, relays=relays) as world, session(world) as peer:
        answer = await consume(peer)
        assert answer["cursor"] == a["c"]
        await publish(world, "jobs/1", "e")
        again = [await delivery(peer) for _ in range(3)]
        assert [(payload, header["n"]) for header, payload in again] == [("b", 2), ("d", 2), ("e", 1)]
