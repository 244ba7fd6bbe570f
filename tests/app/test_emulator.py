"""The emulator: nothing on disk, a clock that moves, faults on demand, a fresh start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from worlds import World, running_gateway

from app.access.keyring import EMULATOR_KEY
from app.emulator import MovableClock
from app.namespace import NetworkRules
from app.store.settings import NamespaceSettings


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, emulator=True) as running:
        yield running


async def tell(world: World, path: str, **body: Any) -> Any:
    answer = await world.client.post(f"/-/emulator/{path}", json=body)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def test_the_clock_is_as_far_from_the_real_one_as_it_was_moved() -> None:
    clock = MovableClock(lambda: 1000.0)
    clock.offset = -7.5
    assert clock() == 992.5


async def test_nothing_is_written(emulator: World, tmp_path: Path) -> None:
    await emulator.client.put("/-/api/relays/more", headers=emulator.auth(), json={})
    assert not (tmp_path / "data").exists()


async def test_an_ordinary_gateway_has_no_such_door(world: World) -> None:
    assert (await world.client.get("/-/emulator/clock")).status_code == 404
    assert (await world.client.post("/-/emulator/reset")).status_code == 404


@pytest.mark.parametrize("origin", ["https://evil.example", "null", ""])
async def test_no_page_in_a_browser_moves_the_emulator(emulator: World, origin: str) -> None:
    """Nothing here asks for a token, and a page could send what needs no preflight, or be rebound to this host."""
    await emulator.client.put("/-/api/relays/kept", headers=emulator.auth(), json={})
    headers = {"Origin": origin or emulator.url, "Host": "evil.example" if origin else emulator.host}
    for method, path, body in (
        ("POST", "reset", b""),
        ("DELETE", "faults", b""),
        ("POST", "clock", b'{"advance":10000}'),
        ("GET", "clock", b""),
    ):
        answer = await emulator.client.request(method, f"/-/emulator/{path}", headers=headers, content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "Unauthorized")
    assert "kept" in emulator.namespace.relays
    assert emulator.gateway.now() < time.time() + 1000


async def test_a_token_expires_when_the_clock_passes_it(emulator: World) -> None:
    listener = await emulator.listen("hyco", headers=emulator.auth(seconds=3600))
    moved = await tell(emulator, "clock", advance=3600 + 299)
    assert moved["now"] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 3800))
    assert len(emulator.gateway.context.realms[emulator.namespace].roster.listeners("hyco")) == 1
    await tell(emulator, "clock", advance=2)
    assert (await listener.closed())[0] == 1008


async def test_deadlines_pass_when_the_clock_is_moved(emulator: World) -> None:
    asked = asyncio.Event()

    async def note(_: Any) -> None:
        asked.set()

    await emulator.listen("hyco", on_accept=note)
    sender = asyncio.create_task(emulator.connect("hyco?sb-hc-action=connect").__aenter__())
    await asked.wait()
    await tell(emulator, "clock", advance=31)
    with pytest.raises(InvalidStatus) as refused:
        await sender
    assert refused.value.response.status_code == 404


async def test_the_time_of_day_can_be_set_back_and_forth(emulator: World) -> None:
    assert (await tell(emulator, "clock", now="2031-05-06T07:08:09Z"))["now"].startswith("2031-05-06T07:08:")
    assert (await tell(emulator, "clock", now="2020-01-01T00:00:00"))["now"].startswith("2020-01-01T00:00:")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("clock", {}),
        ("clock", {"advance": 1, "now": "2031-05-06T07:08:09Z"}),
        ("clock", {"advance": 1e300}),
        ("faults", {"kind": "delay", "relay": "hyco", "action": "listen"}),
        ("faults", {"kind": "refuse", "relay": "hyco", "action": "accept"}),
        ("faults", {"kind": "refuse", "relay": "hyco", "action": "connect", "status": 200}),
        ("drop", {"relay": "hyco", "code": 5}),
        ("expire", {"token": ""}),
    ],
)
async def test_what_makes_no_sense_is_refused(emulator: World, path: str, body: dict[str, Any]) -> None:
    answer = await emulator.client.post(f"/-/emulator/{path}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["tracking_id"]


async def test_the_next_call_is_refused_as_told_and_the_one_after_is_not(emulator: World) -> None:
    await tell(emulator, "faults", kind="refuse", relay="hyco", action="listen", status=503, message="Not now.")
    with pytest.raises(InvalidStatus) as refused:
        await emulator.listen("hyco")
    assert (refused.value.response.status_code, refused.value.response.reason_phrase[:8]) == (503, "Not now.")
    await emulator.listen("hyco")
    await tell(emulator, "faults", kind="refuse", relay="HYCO", action="request", status=500, times=2)
    statuses = [(await emulator.client.get("/hyco/below", headers=emulator.auth())).status_code for _ in range(3)]
    assert statuses == [500, 500, 200]
    await tell(emulator, "faults", kind="refuse", relay="hyco", action="connect", status=429, times=0)
    for _ in range(2):
        with pytest.raises(InvalidStatus, match="429"):
            await emulator.connect("hyco").__aenter__()
    assert len((await emulator.client.get("/-/emulator/faults")).json()["faults"]) == 1
    await emulator.client.delete("/-/emulator/faults")
    async with emulator.connect("hyco") as socket:
        await socket.send("x")
        assert await socket.recv() == "x"


async def test_a_command_is_held_up_for_as_long_as_told(emulator: World) -> None:
    listener = await emulator.listen("hyco")
    await tell(emulator, "faults", kind="delay", relay="hyco", action="accept", seconds=20)
    sender = asyncio.create_task(emulator.connect("hyco").__aenter__())
    await tell(emulator, "faults", kind="delay", relay="hyco", action="request", seconds=0.01)
    assert (await emulator.client.get("/hyco", headers=emulator.auth())).status_code == 200
    while (await emulator.client.get("/-/emulator/faults")).json()["faults"]:
        pass  # until the sender has met its fault
    assert not listener.accepts
    await tell(emulator, "clock", advance=21)
    socket = await sender
    await socket.close()


async def test_listeners_are_dropped_with_and_without_a_close(emulator: World) -> None:
    guid = "11111111-2222-3333-4444-555555555555"
    first = await emulator.listen("hyco")
    second = await emulator.listen("hyco", query=f"&sb-hc-id={guid}_G1")
    assert await tell(emulator, "drop", relay="hyco", listener=guid, code=1011, reason="for a test") == {"dropped": 1}
    assert await second.closed() == (1011, "for a test")
    assert await tell(emulator, "drop", relay="hyco") == {"dropped": 1}
    assert (await first.closed())[0] == 1006
    answer = await emulator.client.post("/-/emulator/drop", json={"relay": "nowhere"})
    assert answer.status_code == 404


async def test_a_token_can_be_expired_at_once(emulator: World) -> None:
    token = emulator.token("hyco")
    listener = await emulator.listen("hyco", headers={"ServiceBusAuthorization": token})
    other = await emulator.listen("hyco")
    assert await tell(emulator, "expire", token=token) == {"ended": 1}
    assert (await listener.closed())[0] == 1008
    with pytest.raises(InvalidStatus, match="401"):
        await emulator.listen("hyco", headers={"ServiceBusAuthorization": token})
    await other.socket.ping()


async def test_a_reset_leaves_what_the_settings_provision_and_nothing_else(emulator: World, tmp_path: Path) -> None:
    auth = emulator.auth()
    listener = await emulator.listen("hyco")
    await emulator.client.put("/-/api/relays/more", headers=auth, json={})
    await emulator.client.put("/-/api/rules/more", headers=auth, json={"rights": ["Send"]})
    await emulator.client.put("/-/api/aliases/more.example", headers=auth)
    await tell(emulator, "faults", kind="refuse", relay="hyco", action="listen")
    await tell(emulator, "clock", advance=600)
    await tell(emulator, "reset")
    assert (await listener.closed())[0] == 1001
    names = [relay["name"] for relay in (await emulator.client.get("/-/api/relays", headers=auth)).json()["relays"]]
    assert names == ["hyco", "open", "orders", "ruled", "shop"]
    rules = (await emulator.client.get("/-/api/rules", headers=auth)).json()["rules"]
    assert [rule["name"] for rule in rules] == ["RootManageSharedAccessKey"]
    assert (await emulator.client.get("/-/api/aliases", headers=auth)).json() == {"aliases": []}
    await emulator.listen("hyco")


async def test_a_reset_lets_everybody_in_who_might_come_in_at_the_start_and_nobody_else(emulator: World) -> None:
    ticket = (await emulator.client.post("/-/tickets", headers=emulator.auth())).json()["ticket"]
    await tell(emulator, "expire", token=emulator.token("hyco"))
    revoked = await emulator.client.post(
        "/-/api/revocations", headers=emulator.auth(), json={"rule": "RootManageSharedAccessKey"}
    )
    assert revoked.status_code == 201
    settings = replace(NamespaceSettings.of(emulator.namespace), network=NetworkRules("Deny"))
    await emulator.gateway.registry.put_namespace(emulator.namespace, settings)
    await tell(emulator, "reset")
    await emulator.listen("hyco")
    assert (await emulator.client.get("/hyco", headers=emulator.auth("hyco"))).status_code == 200
    assert (await emulator.client.get(f"/hyco?sb-hc-token={ticket}")).status_code == 401


async def test_its_key_is_the_one_everybody_knows(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, relays=[], rules=[], emulator=True) as world:
        listener = await world.listen("anything", headers=world.auth(key=EMULATOR_KEY))
        assert await tell(world, "drop", relay="anything") == {"dropped": 1}
        assert (await listener.closed())[0] == 1006
