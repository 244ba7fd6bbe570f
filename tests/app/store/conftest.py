"""A registry in a fresh folder, and what it announces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.access.keyring import new_rule
from app.namespace import Change, Namespace, Right
from app.store.database import open_database
from app.store.migrator import find_migrations, migrate
from app.store.registry import Registry


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    database = await open_database(tmp_path / "fanway.db")
    await migrate(database, find_migrations())
    registry = Registry(database, lambda: 1700000000.0)
    yield registry
    await registry.close()


@pytest.fixture
async def namespace(registry: Registry) -> Namespace:
    return await registry.ensure_namespace("default", new_rule("root", Right.MANAGE))


@pytest.fixture
def changes(namespace: Namespace) -> list[Change]:
    seen: list[Change] = []
    namespace.on_change.append(seen.append)
    return seen
