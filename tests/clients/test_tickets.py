"""Tickets by the SDK and the command; tokens of other kinds in the SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tokens import SECRET, part, signed
from worlds import World, running_gateway

import fanway
from fanway.cli import main
from fanway.tickets import wish_of
from fanway.token import Credential, expiry

SIGNERS = {"signers": [{"name": "app", "algorithm": "HS256", "key": SECRET}]}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, identity=SIGNERS) as running:
        yield running


async def test_a_ticket_is_had_and_used(world: World) -> None:
    async with fanway.connect(world.url, token=world.token()) as relay:
        ticket = await relay.ticket(seconds=30, once=True, allow={"publish": ["orders/a"]})
    url = f"/-/events/orders/a?sb-hc-token={ticket}"
    assert (await world.client.post(url, content=b"x")).status_code == 202
    assert (await world.client.post(url, content=b"x")).status_code == 401
    assert ticket.usable_until < ticket.ends_at


async def test_a_ticket_is_refused_with_the_gateways_words(world: World) -> None:
    async with fanway.connect(world.url, token=signed({"publish": ["orders/a"]})) as relay:
        with pytest.raises(fanway.AuthorizationFailedError, match="does not cover"):
            await relay.ticket(allow={"publish": ["orders/**"]})


async def test_the_sdk_takes_a_json_web_token_and_renews_by_a_function(world: World) -> None:
    asked: list[int] = []

    def provide() -> str:
        asked.append(int(world.clock()))
        return signed({"manage": ["orders/**", "shop/**"], "exp": int(world.clock()) + 3600})

    async with fanway.connect(world.url, token=provide) as relay:

        @relay.listen("shop/price")
        async def price(request: fanway.Request) -> dict[str, int]:
            return {"eur": 3}

        async with relay.subscribe("orders/**") as events:
            await events.ready()
            await relay.publish("orders/a", "x")
            assert (await anext(aiter(events))).text == "x"
        assert (await relay.ask("shop/price")).json() == {"eur": 3}
    assert len(asked) >= 3


def test_the_expiry_of_a_json_web_token_is_read_for_renewal() -> None:
    assert expiry(signed({"exp": 1767225600})) == 1767225600
    assert expiry("Bearer " + signed({"exp": 1767225600.5})) == 1767225600
    for text in ("", "a.b.c", "..", f"x.{part('[]')}.y", f"x.{part({'exp': 'soon'})}.y", f"x.{part({'exp': None})}.y"):
        assert expiry(text) is None
    assert expiry(f"x.{part('{' + chr(34) + 'exp' + chr(34) + ':1e400}')}.y") is None


def test_a_provider_is_asked_each_time_and_shown_nowhere() -> None:
    tokens = iter(("one", "two"))
    credential = Credential(provider=lambda: next(tokens))
    assert credential.is_renewable
    assert (credential.token("host"), credential.token("host", "x")) == ("one", "two")
    assert "provider" not in repr(credential)


def test_only_what_is_wished_is_said() -> None:
    assert wish_of(None, None, False, None) == {}
    assert wish_of(5, 7, True, {"publish": ("a",)}) == {
        "seconds": 5,
        "until": 7,
        "once": True,
        "allow": {"publish": ["a"]},
    }
    assert json.dumps(wish_of(5, None, False, {})) == '{"seconds": 5, "allow": {}}'


async def test_the_command_revokes_and_lists(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: str) -> int:
        with pytest.raises(SystemExit) as done:
            main(["revoke", "--url", world.url, "--token", world.token(), *arguments])
        return int(done.value.code or 0)

    one, other = signed({"sub": "eve", "publish": ["orders/a"]}), signed({"sub": "ada", "publish": ["orders/a"]})
    assert await asyncio.to_thread(call, "--sub", "eve", "--reason", "left") == 0
    assert await asyncio.to_thread(call, "--text", f"Bearer {other}") == 0
    for token in (one, other):
        headers = {"Authorization": token}
        assert (await world.client.post("/-/events/orders/a", content=b"x", headers=headers)).status_code == 401
    assert await asyncio.to_thread(call, "--list") == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [(kind, reason) for kind, _, _, _, reason in lines] == [("sub", "left"), ("token", "")]
    assert lines[0][1] == "eve"
    for wrong in ((), ("--sub", "a", "--all"), ("--issuer", "x")):
        assert await asyncio.to_thread(call, *wrong) == 2


async def test_the_command_prints_a_ticket(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*arguments: str) -> int:
        with pytest.raises(SystemExit) as done:
            main(["ticket", "--url", world.url, "--token", world.token(), *arguments])
        return int(done.value.code or 0)

    assert await asyncio.to_thread(call, "--once", "--ttl", "20", "--allow", "publish=orders/a") == 0
    text = capsys.readouterr().out.strip()
    assert (await world.client.post(f"/-/events/orders/b?sb-hc-token={text}", content=b"x")).status_code == 403
    assert await asyncio.to_thread(call, "--allow", "nonsense") == 2
    assert await asyncio.to_thread(call, "--allow", "fly=a") == 1
    assert "no action" in capsys.readouterr().err
