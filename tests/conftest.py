"""Fixtures in domain words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from programs import held_port
from worlds import World, running_gateway

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, LoopFactory]:
    """Tests run on the loop that the gateway runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A gateway of its own for each test."""
    async with running_gateway(tmp_path) as running:
        yield running


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port on which nobody listens, kept for this test."""
    with held_port() as port:
        yield port
