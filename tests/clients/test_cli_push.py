"""`fanway push` against a whole gateway and a sink in this process."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from programs import FANWAY
from sinks import CONSENT, answer, running_sink
from subscribers import publish
from worlds import World, running_gateway


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path) as running:
        yield running


async def push(world: World, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    command = [str(FANWAY), "push", *arguments, "--data", str(world.gateway.opened.folder.path)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    return done


async def test_a_subscription_is_added_watched_and_removed(world: World) -> None:
    async with running_sink() as sink:
        added = await push(world, "add", "orders/**", sink.url, "--header", "X-Key: k", "--type", "fanway.event")
        id, secret = added.stdout.strip().split("\t")
        assert secret.startswith("whsec_")
        assert added.stderr == ""
        await publish(world, "orders/7", "hello")
        (request,) = await sink.got(1)
        assert request.headers["x-key"] == "k"
        (line,) = (await push(world, "ls")).stdout.splitlines()
        assert line.split("\t")[:4] == [id, "orders/**", sink.url, "active"]
        listed = json.loads((await push(world, "ls", "--json")).stdout)
        assert listed["id"] == id
        assert json.loads((await push(world, "show", id)).stdout)["sink"] == listed["sink"]
        while not (lines := (await push(world, "log", id)).stdout.splitlines()):
            continue
        assert lines[0].split("\t")[2:6] == ["orders/7", "attempt 1", "delivered", "204"]
        assert json.loads((await push(world, "log", id, "--json")).stdout)["address"] == "orders/7"
        await push(world, "replay", id, "start")
        await sink.got(2)
        assert (await push(world, "pause", id)).stdout == f"{id} paused\n"
        assert "\tpaused\t" in (await push(world, "ls")).stdout
        assert (await push(world, "resume", id)).stdout == f"{id} resumed\n"
        assert (await push(world, "secret", id)).stdout.startswith("whsec_")
        await push(world, "secret", id, "--drop")
        assert (await push(world, "rm", id)).stdout == f"{id} removed\n"
        assert (await push(world, "ls")).stdout == ""
        await push(world, "log", id, status=1)


async def test_who_adds_a_sink_that_does_not_agree_is_told_so(world: World) -> None:
    async with running_sink() as sink:
        sink.consent = answer(404)
        added = await push(world, "add", "orders/**", sink.url, "--strict", "--max-deliveries", "3", "--rate", "60")
        id = added.stdout.split("\t")[0]
        assert f"fanway push validate {id}" in added.stderr
        assert "\tconsent refused\t" in (await push(world, "ls")).stdout
        sink.consent = CONSENT
        assert (await push(world, "validate", id)).stdout == f"{id}\tgranted\n"


async def test_a_bad_sink_is_refused_in_words(world: World) -> None:
    assert "push.allowed_networks" in (await push(world, "add", "orders/**", "http://10.0.0.1/", status=1)).stderr
    assert (
        "NAME: VALUE" in (await push(world, "add", "orders/**", "http://localhost/", "--header", "x", status=2)).stderr
    )
