"""Azure's management in this process: its door over a registry, without an edge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from arm_world import NOW, TOKEN, Ask, World
from starlette.responses import PlainTextResponse

from app.access.keyring import new_rule
from app.manage.arm.application import ArmDoor
from app.namespace import Right
from app.store.database import open_database
from app.store.migrator import find_migrations, migrate
from app.store.registry import Registry


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = await open_database(tmp_path / "fanway.db")
    await migrate(database, find_migrations())
    registry = Registry(database, lambda: NOW)
    namespace = await registry.ensure_namespace("default", new_rule("root", Right.MANAGE))
    yield World(registry, namespace)
    await registry.close()


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """Knows the operators' token; what is not management's is answered with 200 `other`."""
    transport = httpx.ASGITransport(ArmDoor(world, PlainTextResponse("other")), raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="https://localhost:8443", headers=headers) as client:
        yield client


@pytest.fixture
def ask(client: httpx.AsyncClient) -> Ask:
    """Calls with a version, the newest unless another is named."""

    async def call(
        method: str, path: str, body: Any = None, version: str = "2026-01-01", **options: Any
    ) -> httpx.Response:
        if body is not None:
            options["json"] = body
        return await client.request(method, path, params={"api-version": version}, **options)

    return call
