"""`GetRuntimeInformationAsync` as Azure's SDKs send it."""

from __future__ import annotations

from typing import Any

import pytest
from worlds import World

PATH = "/hyco?api-version=2016-07"


def management(world: World, token: str | None) -> dict[str, str]:
    headers = {"X-PROCESS-AT": "ServiceBus"}
    return headers if token is None else {**headers, "Authorization": token}


async def test_a_get_marked_for_the_relay_is_answered_by_the_relay(world: World) -> None:
    listener = await world.listen("hyco")
    answer = await world.client.get(PATH, headers=management(world, world.token("hyco")))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/atom+xml;type=entry;charset=utf-8"
    assert "<ListenerCount>1</ListenerCount>" in answer.text
    assert listener.requests == []
    assert "via" not in answer.headers


async def test_api_version_alone_makes_no_management_call(world: World) -> None:
    listener = await world.listen("hyco")
    answer = await world.client.get(PATH, headers=world.auth())
    assert (answer.status_code, len(listener.requests)) == (200, 1)


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/hyco?api-version=2016-07", None, 401),
        ("/hyco?api-version=2016-07", {"key": "wrong"}, 401),
        ("/nowhere?api-version=2016-07", {}, 404),
        ("/hyco/below?api-version=2016-07", {}, 404),
        ("/ruled?api-version=2016-07", {"rule": "sender", "key": "sender-key"}, 200),
        ("/ruled?api-version=2016-07", {"rule": "listener", "key": "listener-key"}, 200),
    ],
)
async def test_any_right_suffices_and_errors_have_a_detail(
    world: World, path: str, token: dict[str, Any] | None, status: int
) -> None:
    made = None if token is None else world.token(path.partition("?")[0][1:], **token)
    answer = await world.client.get(path, headers=management(world, made))
    assert answer.status_code == status
    assert status == 200 or "<Detail>" in answer.text
    assert status == 200 or "TrackingId:" in answer.text


async def test_other_verbs_are_refused_with_what_to_do_instead(world: World) -> None:
    answer = await world.client.delete(PATH, headers=management(world, world.token("hyco")))
    assert answer.status_code == 405
    assert "/-/api" in answer.text
