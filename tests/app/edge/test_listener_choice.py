"""Which listener gets a call: fair among equals, narrowed by the sender's filter, bounded by the quota."""

from __future__ import annotations

from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from worlds import World, running_gateway

from app.config import Limits

ONE = "11111111-1111-4111-8111-111111111111"
TWO = "22222222-2222-4222-8222-222222222222"


async def test_requests_on_one_connection_reach_both_of_two_listeners(world: World) -> None:
    first, second = await world.listen("hyco"), await world.listen("hyco")
    for _ in range(40):
        assert (await world.client.get("/hyco", headers=world.auth())).status_code == 200
    assert len(first.requests) + len(second.requests) == 40
    assert first.requests
    assert second.requests


@pytest.mark.parametrize(
    ("name", "value", "chosen"),
    [
        ("Microsoft-Relay-AllowedListeners", ONE, 0),
        ("Microsoft-Relay-AllowedListeners", f"{TWO.upper()}, 33333333-3333-4333-8333-333333333333", 1),
        ("Microsoft-Relay-DisallowedListeners", ONE, 1),
    ],
)
async def test_a_filter_names_the_listeners_that_may_be_chosen(
    world: World, name: str, value: str, chosen: int
) -> None:
    listeners = [await world.listen("hyco", query=f"&sb-hc-id={guid}_suffix") for guid in (ONE, TWO)]
    for _ in range(10):
        assert (await world.client.get("/hyco", headers={**world.auth(), name: value})).status_code == 200
    async with world.connect("hyco", additional_headers={**world.auth(), name: value}) as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
    assert len(listeners[chosen].requests) == 10
    assert len(listeners[chosen].accepts) == 1
    assert not listeners[1 - chosen].requests
    assert name not in listeners[chosen].requests[0]["requestHeaders"]


async def test_a_filter_that_no_listener_meets_is_told_apart_from_no_listener(world: World) -> None:
    filtered = {**world.auth(), "Microsoft-Relay-AllowedListeners": ONE}
    answer = await world.client.get("/hyco", headers=filtered)
    assert (answer.status_code, "no listeners connected" in answer.text) == (404, True)
    await world.listen("hyco", query=f"&sb-hc-id={TWO}")
    answer = await world.client.get("/hyco", headers=filtered)
    assert answer.status_code == 404
    assert "None of the connected listeners meet the AllowedListeners/DisallowedListeners criteria" in answer.text


async def test_one_listener_more_than_the_quota_is_refused_until_one_leaves(tmp_path: Path) -> None:
    """C12"""
    async with running_gateway(tmp_path, limits=Limits(listeners=2)) as world:
        first = await world.listen("hyco")
        await world.listen("hyco")
        with pytest.raises(InvalidStatus) as refused:
            await world.listen("hyco")
        assert refused.value.response.status_code == 403
        assert "TrackingId" in refused.value.response.reason_phrase
        await first.socket.close()
        await world.listen("hyco")
