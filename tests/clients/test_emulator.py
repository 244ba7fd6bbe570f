"""The emulator as a test's own: started from Python, by the pytest fixture, and from Node."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from programs import FANWAY, NODE_SCRIPTS, require_node_modules

from fanway.emulator import start_emulator
from fanway.errors import ConfigurationError, EndpointNotFoundError, ServerBusyError

SAMPLE = """
import pytest
from fanway import EndpointNotFoundError

async def test_a_listener_answers(fanway_emulator):
    async with fanway_emulator.connect() as relay:
        @relay.listen("shop")
        async def shop(request):
            return {"eur": 3}
        assert (await relay.ask("shop")).json() == {"eur": 3}
        assert fanway_emulator.drop("shop") == 1

async def test_it_begins_anew_for_each_test(fanway_emulator):
    async with fanway_emulator.connect() as relay:
        with pytest.raises(EndpointNotFoundError):
            await relay.ask("shop")
"""


def test_it_does_what_it_is_told() -> None:
    with start_emulator(["--no-tls"]) as emulator:
        assert emulator.connection_string.startswith("Endpoint=http://127.0.0.1:")
        before = emulator.advance(0.0)
        assert (emulator.advance(60) - before).total_seconds() >= 60
        emulator.refuse("shop", "connect", status=503, message="Full.")
        emulator.delay("shop", "accept", 5)
        emulator.clear_faults()
        with pytest.raises(EndpointNotFoundError):
            emulator.drop("shop")
        assert emulator.expire("no token") == 0
        emulator.reset()
        assert (emulator.set_time(before) - before).total_seconds() < 60


async def test_a_refusal_reaches_the_sender() -> None:
    with start_emulator(["--no-tls"]) as emulator:
        async with emulator.connect() as relay:
            relay.listen("shop")(lambda request: request.read())
            await relay.listening()
            emulator.refuse("shop", "request", message="Full.")
            with pytest.raises(ServerBusyError, match="Full"):
                await relay.ask("shop")
            assert (await relay.ask("shop")).status == 200


def test_it_says_why_it_does_not_start() -> None:
    with pytest.raises(ConfigurationError, match="o such option"):
        with start_emulator(["--nonsense"]):
            raise AssertionError("it started")


def test_the_fixture_serves_a_test_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    options = ["-o", "asyncio_mode=auto", "-p", "no:cacheprovider"]  # the plugin comes with the distribution
    command = [sys.executable, "-m", "pytest", *options, "-q", "test_sample.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_node_starts_one_and_its_sdk_meets_the_faults() -> None:
    node = require_node_modules()
    done = subprocess.run(
        [node, "--test", NODE_SCRIPTS / "emulator.test.js"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "FANWAY_COMMAND": str(FANWAY)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
