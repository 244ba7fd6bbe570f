"""Push subscriptions: kept in SQLite, with their secrets and what their sinks have agreed to."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson

from app.errors import EndpointNotFound
from app.namespace import Namespace
from app.push.settings import Credential, PushSettings, Validation
from app.store.database import Database
from app.wire.native.webhook import Mode


class Pushes:
    """The table of push subscriptions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> list[tuple[str, PushSettings]]:
        """All of them, with the names of their namespaces."""
        rows = await self._database.rows("SELECT * FROM pushes ORDER BY namespace, id")
        return [(row["namespace"], _settings_of(orjson.loads(row["settings"]))) for row in rows]

    async def put(self, namespace: Namespace, settings: PushSettings) -> None:
        """Keep it, or what it became. Raises `EndpointNotFound`, `StoreUnavailable`."""
        async with self._database.transaction():
            if namespace.is_deleted:
                raise EndpointNotFound("The namespace does not exist.")
            row = namespace.name, settings.id, orjson.dumps(asdict(settings)).decode()
            await self._database.execute("INSERT OR REPLACE INTO pushes VALUES (?, ?, ?)", row)

    async def delete(self, namespace: Namespace, id: str) -> None:
        """Forget it. Raises `StoreUnavailable`."""
        async with self._database.transaction():
            await self._database.execute("DELETE FROM pushes WHERE namespace = ? AND id = ?", (namespace.name, id))


def _settings_of(kept: dict[str, Any]) -> PushSettings:
    credential = kept["credential"]
    made: dict[str, Any] = {
        "secrets": tuple(kept["secrets"]),
        "types": tuple(kept["types"]),
        "filters": tuple(kept["filters"]),
        "headers": tuple((name, value) for name, value in kept["headers"]),
        "mode": Mode(kept["mode"]),
        "credential": None if credential is None else Credential(**credential),
        "validation": Validation(**kept["validation"]),
    }
    return PushSettings(**(kept | made))
