"""Migrations: in order, once, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import MigrationMissing, StoreError
from app.store.database import open_database
from app.store.journal import open_journal
from app.store.migrator import JOURNAL, Migration, find_migrations, migrate, pending


async def test_migrations_are_applied_once(tmp_path: Path) -> None:
    known = find_migrations()
    database = await open_database(tmp_path / "a.db")
    try:
        assert await pending(database, known) == known
        assert await migrate(database, known) == known
        assert await migrate(database, known) == []
        assert [row["number"] for row in await database.rows("SELECT number FROM migrations")] == [
            migration.number for migration in known
        ]
    finally:
        await database.close()


async def test_failed_migration_leaves_nothing_behind(tmp_path: Path) -> None:
    good, bad = Migration(1, "good", "CREATE TABLE a (x)"), Migration(2, "bad", "CREATE TABLE b (x); CREATE TABL")
    database = await open_database(tmp_path / "a.db")
    try:
        with pytest.raises(StoreError, match="0002 bad"):
            await migrate(database, [good, bad])
        assert await pending(database, [good, bad]) == [bad]
        assert not await database.rows("SELECT 1 FROM sqlite_master WHERE name = 'b'")
        await migrate(database, [good, Migration(2, "bad", "CREATE TABLE b (x)")])
    finally:
        await database.close()


async def test_database_of_a_later_version_is_refused(tmp_path: Path) -> None:
    database = await open_database(tmp_path / "a.db")
    try:
        await migrate(database, [Migration(1, "a", ""), Migration(2, "b", "")])
        with pytest.raises(MigrationMissing, match="later version"):
            await pending(database, [Migration(1, "a", "")])
    finally:
        await database.close()


async def test_parts_are_numbered_each_by_itself(tmp_path: Path) -> None:
    known = find_migrations(JOURNAL)
    assert [str(known[0]), str(find_migrations()[0])] == ["journal 0001 log", "0001 registry"]
    journal = await open_journal(tmp_path / "journal.db")
    try:
        assert await migrate(journal, known) == known
        assert await pending(journal, known) == []
    finally:
        await journal.close()


def test_gap_or_odd_name_among_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MigrationMissing):
        find_migrations(folder=tmp_path)
    (tmp_path / "0002_b.sql").write_text("")
    with pytest.raises(MigrationMissing):
        find_migrations(folder=tmp_path)
    (tmp_path / "odd.sql").write_text("")
    with pytest.raises(MigrationMissing, match=r"odd\.sql"):
        find_migrations(folder=tmp_path)
