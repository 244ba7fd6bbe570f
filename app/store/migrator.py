"""Numbered SQL files, applied in order and once, each in a transaction of its own: the registry's, the journal's."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from app.errors import MigrationMissing, StoreError

_FILE = re.compile(r"(?P<number>[0-9]{4})_(?P<name>[a-z0-9_]+)\.sql")
_TABLE = """CREATE TABLE IF NOT EXISTS migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT"""


JOURNAL = "journal"
"""The part of the migrations that are the journal's."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: the file `0001_registry.sql` is number 1, `registry`. `part` is '' for the registry's."""

    number: int
    name: str
    sql: str = field(repr=False)
    part: str = ""

    def __str__(self) -> str:
        return f"{self.part} {self.number:04} {self.name}".lstrip()


class Migratable(Protocol):
    """An open database."""

    async def rows(self, sql: str, /) -> Sequence[Any]: ...

    async def run_script(self, sql: str, /) -> None: ...


def find_migrations(part: str = "", folder: Path | None = None) -> list[Migration]:
    """The migrations of a part that came with this version, in order.

    They lie in the wheel beside this module, in a checkout at its root. Raises `MigrationMissing` when they are
    not found or a number is missing.
    """
    here = Path(__file__).resolve()
    places = [folder] if folder else [place / "migrations" / part for place in (here.parent, here.parents[2])]
    files = next((listed for place in places if (listed := sorted(place.glob("*.sql")))), [])
    found: list[Migration] = []
    for file in files:
        match = _FILE.fullmatch(file.name)
        if match is None:
            raise MigrationMissing(f"{file.name} is not named like 0001_what_it_does.sql.")
        found.append(Migration(int(match["number"]), match["name"], file.read_text("utf-8"), part))
    if not found or [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise MigrationMissing(f"The migrations in {places[-1]} are not numbered from 1 without a gap.")
    return found


async def pending(database: Migratable, known: list[Migration]) -> list[Migration]:
    """Those not yet applied. Raises `MigrationMissing` when the file was written by a later version of Fanway."""
    if not await database.rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'"):
        return known
    applied = {row[0] for row in await database.rows("SELECT number FROM migrations")}
    if applied - {migration.number for migration in known}:
        raise MigrationMissing("The database was written by a later version of Fanway; start that version, or restore.")
    return [migration for migration in known if migration.number not in applied]


async def migrate(database: Migratable, known: list[Migration]) -> list[Migration]:
    """Apply what is pending and return it. Raises `StoreError`; earlier steps stay applied then."""
    todo = await pending(database, known)
    for migration in todo:
        record = f"INSERT INTO migrations (number, name) VALUES ({migration.number}, '{migration.name}');"
        try:
            await database.run_script(f"{_TABLE};\n{migration.sql}\n;{record}")
        except sqlite3.Error as error:
            raise StoreError(f"Migration {migration} failed: {error}") from error
    return todo
