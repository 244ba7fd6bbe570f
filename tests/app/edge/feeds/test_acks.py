"""Durable subscriptions by long poll, and the door at which their deliveries are settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from subscribers import publish, session
from worlds import World, running_gateway

RELAYS: list[dict[str, Any]] = [
    {
        "name": "jobs",
        "rules": [
            {"name": "one", "rights": ["Listen"], "primaryKey": "one-key"},
            {"name": "two", "rights": ["Listen"], "primaryKey": "two-key"},
        ],
    },
]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS) as running:
        yield running


async def poll(world: World, wait: float = 0, **headers: str) -> httpx.Response:
    path = f"/-/events/jobs/**?durable=workers&from=start&wait={wait}"
    return await world.client.get(path, headers=headers or world.auth())


async def take(world: World, count: int) -> list[dict[str, Any]]:
    """So many events, by as many polls as it takes."""
    events: list[dict[str, Any]] = []
    while len(events) < count:
        events += (await poll(world, 5)).json()
    return events


async def settle(world: World, body: Any, query: str = "durable=workers", **headers: str) -> httpx.Response:
    return await world.client.post(f"/-/acks/jobs?{query}", json=body, headers=headers or world.auth())


async def test_events_are_polled_and_settled_by_their_ids(world: World) -> None:
    assert (await poll(world)).json() == []
    for text in "abc":
        await publish(world, "jobs/1", text, Content_Type="text/plain")
    a, b, c = await take(world, 3)
    assert [event["data"] for event in (a, b, c)] == ["a", "b", "c"]
    assert a["fanwayattempt"] == "1"
    assert a["fanwaydeadline"].endswith("Z")
    answer = await settle(world, {"ack": [a["fanwaydelivery"]], "nack": [{"d": b["fanwaydelivery"], "delay": 0}]})
    assert answer.json() == {"acked": [a["fanwaydelivery"]], "nacked": [b["fanwaydelivery"]], "unknown": []}
    [again] = await take(world, 1)
    assert (again["data"], again["fanwayattempt"]) == ("b", "2")
    both = [c["fanwaydelivery"], again["fanwaydelivery"]]
    answer = await settle(world, {"ack": [a["fanwaydelivery"], *both, "ffffffff-1", "nonsense"]})
    assert answer.json() == {
        "acked": both,
        "nacked": [],
        "unknown": [a["fanwaydelivery"], "ffffffff-1", "nonsense"],
    }
    assert (await poll(world)).headers["fanway-cursor"].endswith(":3")


async def test_a_poll_waits_for_what_comes(world: World) -> None:
    await poll(world)
    [durable] = world.gateway.context.durables.all()
    waiting = asyncio.ensure_future(poll(world, 10))
    async with asyncio.timeout(10):
        while not durable.consumers:
            await world.client.get("/-/health/live")
    await publish(world, "jobs/1", "a")
    [event] = (await waiting).json()
    assert event["fanwaydelivery"]


async def test_what_a_poll_took_and_nobody_settles_comes_again(world: World) -> None:
    await poll(world)
    await publish(world, "jobs/1", "a", Content_Type="text/plain")
    [first] = await take(world, 1)
    assert (await poll(world)).json() == []
    world.gateway.context.wheel.advance(31)
    [second] = await take(world, 1)
    assert (second["data"], second["fanwayattempt"]) == ("a", "2")
    answer = await settle(world, {"nack": [first["fanwaydelivery"]], "ack": [second["fanwaydelivery"]]})
    assert answer.json()["unknown"] == [first["fanwaydelivery"]]
    assert answer.json()["acked"] == [second["fanwaydelivery"]]


async def test_a_poll_takes_no_more_than_it_asks_for(world: World) -> None:
    await poll(world)
    for text in "abc":
        await publish(world, "jobs/1", text, Content_Type="text/plain")
    answer = await world.client.get("/-/events/jobs/**?durable=workers&wait=5&max=2", headers=world.auth())
    assert [event["data"] for event in answer.json()] == ["a", "b"]


async def test_sessions_and_polls_share_but_do_not_settle_for_each_other(world: World) -> None:
    async with session(world) as peer:
        await peer.subscribe(1, "jobs/**", durable="workers", credit=1)
        for text in "ab":
            await publish(world, "jobs/1", text, Content_Type="text/plain")
        header, payload = await peer.next()
        assert payload == b"a"
        [polled] = await take(world, 1)
        assert polled["data"] == "b"
        mark, _, number = polled["fanwaydelivery"].partition("-")
        answer = await settle(world, {"ack": [f"{mark}-{header['d']}"]})
        assert answer.json()["unknown"] == [f"{mark}-{header['d']}"]
        await peer.send("ack", sub=1, d=[int(number)])
        assert (await peer.header())["code"] == "UnknownDelivery"


async def test_ids_of_an_earlier_start_are_unknown(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        await poll(world)
        await publish(world, "jobs/1", "a")
        [event] = await take(world, 1)
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        await publish(world, "jobs/1", "b")
        while (await take(world, 1))[0]["type"] == "fanway.gap":
            pass
        answer = await settle(world, {"ack": [event["fanwaydelivery"]]})
        assert answer.json()["unknown"] == [event["fanwaydelivery"]]


@pytest.mark.parametrize(
    ("body", "query", "status"),
    [
        ([], "durable=workers", 400),
        ({}, "durable=workers", 400),
        ({"ack": "x"}, "durable=workers", 400),
        ({"ack": [1]}, "durable=workers", 400),
        ({"ack": ["x" * 65]}, "durable=workers", 400),
        ({"nack": [{"d": "x", "delay": -1}]}, "durable=workers", 400),
        ({"nack": [{"delay": 1}]}, "durable=workers", 400),
        ({"nack": [{"d": "x", "reason": "y" * 257}]}, "durable=workers", 400),
        ({"ack": [], "eat": []}, "durable=workers", 400),
        ({"ack": ["x"] * 10_001}, "durable=workers", 413),
        ({"ack": []}, "", 400),
        ({"ack": []}, "durable=workers&more=1", 400),
        ({"ack": []}, "durable=other", 404),
        ({"ack": []}, "durable=workers", 200),
    ],
)
async def test_what_the_door_of_acknowledgements_takes(world: World, body: Any, query: str, status: int) -> None:
    await poll(world)
    assert (await settle(world, body, query)).status_code == status


async def test_who_may_settle(world: World) -> None:
    one, two = (world.auth("jobs", rule=rule, key=f"{rule}-key") for rule in ("one", "two"))
    assert (await poll(world, **one)).status_code == 200
    assert (await poll(world, **two)).status_code == 403
    assert (await settle(world, {"ack": []}, **one)).status_code == 200
    assert (await settle(world, {"ack": []}, **two)).status_code == 403
    assert (await settle(world, {"ack": []}, ServiceBusAuthorization="")).status_code == 401
    assert (await settle(world, {"ack": []})).status_code == 200  # a manager
    answer = await world.client.post("/-/acks/jobs/1?durable=workers", json={"ack": []}, headers=world.auth())
    assert answer.status_code == 404
    assert (await world.client.get("/-/acks/jobs?durable=workers", headers=world.auth())).status_code == 405


async def test_another_pattern_under_the_name_is_a_conflict(world: World) -> None:
    await poll(world)
    answer = await world.client.get("/-/events/jobs/1?durable=workers&wait=0", headers=world.auth())
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "Conflict")


async def test_who_does_not_reach_a_relay_is_not_told_that_it_is_there(world: World) -> None:
    await poll(world)
    answers = [
        await world.client.post(f"/-/acks/{name}?durable=workers", json={"ack": []}, headers=world.auth("other"))
        for name in ("jobs", "nowhere")
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert len({answer.json()["error"]["message"] for answer in answers}) == 1
