"""Durable subscriptions by `/-/api/durables` and `fanway durable`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

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
PATH = "/-/api/durables/billing?relay=jobs"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS) as running:
        yield running


async def put(world: World, *, auth: dict[str, str] | None = None, **wish: Any) -> Any:
    body = {"pattern": "jobs/**", **wish}
    return await world.client.put(PATH, json=body, headers=auth or world.auth())


async def show(world: World) -> dict[str, Any]:
    shown: dict[str, Any] = (await world.client.get(PATH, headers=world.auth())).json()
    return shown


async def test_one_is_made_filled_changed_moved_and_removed(world: World) -> None:
    made = await put(world, ackWait=5, filter={"exact": {"type": "job"}})
    assert (made.status_code, made.json()["ackWait"], made.json()["owner"]) == (
        201,
        5.0,
        "rule rootmanagesharedaccesskey",
    )
    for text in "ab":
        await publish(world, "jobs/1", text, ce_type="job")
    await publish(world, "jobs/1", "c", ce_type="other")
    shown = await show(world)
    assert (shown["behind"], shown["pending"], shown["consumers"], shown["paused"]) == (3, 0, 0, False)
    changed = await put(world, ackWait=9)
    assert (changed.status_code, changed.json()["ackWait"], changed.json()["filter"]) == (200, 9.0, None)
    async with session(world) as peer:
        await peer.subscribe(1, "jobs/**", durable="billing")
        for _ in range(3):
            await peer.next()
        shown = await show(world)
        assert (shown["inFlight"], shown["consumers"], shown["redelivered"]) == (3, 1, 0)
        moved = await world.client.post(PATH.replace("?", "/seek?"), json={"to": "start"}, headers=world.auth())
        assert (moved.status_code, moved.json()["behind"]) == (200, 3)
        assert [(await peer.next())[1] for _ in range(3)] == [b"a", b"b", b"c"]
        moved = await world.client.post(PATH.replace("?", "/seek?"), json={"to": "now"}, headers=world.auth())
        assert (moved.json()["behind"], moved.json()["inFlight"]) == (0, 0)
        assert (await world.client.delete(PATH, headers=world.auth())).status_code == 204
        assert (await peer.header())["sub"] == 1
    assert (await world.client.get(PATH, headers=world.auth())).status_code == 404


@pytest.mark.parametrize(
    ("wish", "status"),
    [
        ({"pattern": "other/**"}, 400),
        ({"pattern": "**"}, 400),
        ({"ackWait": 0}, 400),
        ({"maxDeliveries": 1001}, 400),
        ({"filter": {"sql": "x"}}, 400),
        ({"from": "retained"}, 400),
        ({"deadLetter": "jobs/dead"}, 400),
        ({"colour": 1}, 400),
    ],
)
async def test_what_cannot_be_is_refused(world: World, wish: dict[str, Any], status: int) -> None:
    assert (await put(world, **wish)).status_code == status


async def test_each_rule_sees_its_own_and_a_manager_all(world: World) -> None:
    one, two = (world.auth("jobs", rule=rule, key=f"{rule}-key") for rule in ("one", "two"))
    assert (await put(world, auth=one)).status_code == 201
    assert (await put(world, auth=two)).status_code == 403
    assert (await world.client.delete(PATH, headers=two)).status_code == 403
    narrow = world.auth("jobs/a", rule="one", key="one-key")
    for auth, names in ((one, ["billing"]), (narrow, []), (two, []), (world.auth(), ["billing"])):
        answer = await world.client.get("/-/api/durables?relay=jobs", headers=auth)
        assert [each["name"] for each in answer.json()["durables"]] == names
    assert (await put(world, pattern="jobs/eu")).status_code == 409
    assert (await world.client.get("/-/api/durables?relay=none", headers=one)).status_code in (401, 404)
