"""Managing with a token that lists patterns: nothing that would give more than the token has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tokens import SECRET, signed
from worlds import World, running_gateway

SIGNERS = {"signers": [{"name": "app", "algorithm": "HS256", "key": SECRET}]}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, identity=SIGNERS) as running:
        yield running


@pytest.mark.parametrize("patterns", [["ruled"], ["ruled/*"], ["ruled", "ruled/*"], ["ruled/a/**"], ["shop/**"]])
async def test_who_reaches_a_part_of_a_relay_neither_changes_it_nor_sees_its_keys(
    world: World, patterns: list[str]
) -> None:
    """S20: a rule of the relay would reach all of it."""
    auth = {"Authorization": signed({"manage": patterns})}
    call = world.client.request
    for method, path, body in (
        ("GET", "/-/api/relays/ruled", None),
        ("PUT", "/-/api/relays/ruled", {}),
        ("PATCH", "/-/api/relays/ruled", {}),
        ("DELETE", "/-/api/relays/ruled", None),
        ("GET", "/-/api/rules?relay=ruled", None),
        ("PUT", "/-/api/rules/more?relay=ruled", {"rights": ["Manage"]}),
        ("GET", "/-/api/rules/sender/keys?relay=ruled", None),
        ("POST", "/-/api/rules/sender/rotate?relay=ruled", {"key": "primary"}),
        ("GET", "/-/api/status", None),
        ("PUT", "/-/api/rules/more", {"rights": ["Manage"]}),
        ("GET", "/-/api/rules/RootManageSharedAccessKey/keys", None),
    ):
        answer = await call(method, path, headers=auth, json=body)
        assert answer.status_code == 403, (method, path, answer.text)
    shown = await call("GET", "/ruled", headers={**auth, "X-Process-At": "ServiceBus"})
    assert "sender-key" not in shown.text
    assert set(world.namespace.relays["ruled"].rules) == {"listener", "sender"}


async def test_who_reaches_all_of_a_relay_manages_it_and_nothing_else(world: World) -> None:
    auth = {"Authorization": signed({"manage": ["ruled/**"]})}
    call = world.client.request
    assert (await call("PATCH", "/-/api/relays/ruled", headers=auth, json={"slow": "drop"})).status_code == 200
    assert (await call("GET", "/-/api/rules/sender/keys?relay=ruled", headers=auth)).status_code == 200
    listed = (await call("GET", "/-/api/relays", headers=auth)).json()["relays"]
    assert [relay["name"] for relay in listed] == ["ruled"]
    assert (await call("PUT", "/-/api/relays/ruled/below", headers=auth, json={})).status_code == 201
    assert (await call("PUT", "/-/api/relays/other", headers=auth, json={})).status_code == 403
    assert (await call("GET", "/-/api/rules", headers=auth)).status_code == 403
