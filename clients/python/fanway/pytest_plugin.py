"""The pytest fixture `fanway_emulator`: a gateway for tests, one process for all of them, begun anew for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fanway.emulator import Emulator, start_emulator


@pytest.fixture(scope="session")
def fanway_emulator_process() -> Iterator[Emulator]:
    """The emulator that all tests of the session share; take `fanway_emulator` instead."""
    with start_emulator() as emulator:
        yield emulator


@pytest.fixture
def fanway_emulator(fanway_emulator_process: Emulator) -> Emulator:
    """An emulator as after a start. See `fanway.emulator.Emulator` for what it can be told."""
    fanway_emulator_process.reset()
    return fanway_emulator_process
