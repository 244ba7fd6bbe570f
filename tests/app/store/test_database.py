"""The SQLite file: its mode, its transactions."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from app.errors import StoreUnavailable
from app.store.database import Database, open_database


def modes_in(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


async def insert(database: Database, table: str, error: type[Exception] | None = None) -> None:
    async with database.transaction():
        await database.execute("INSERT INTO a VALUES (1)")
        await database.execute(f"INSERT INTO {table} VALUES (1)")
        if error is not None:
            raise error


async def insert_in_batch(database: Database, table: str, error: type[Exception] | None) -> None:
    async with database.batch():
        async with database.transaction():
            await database.write("INSERT INTO a VALUES (?)", (4,))
        await database.write(f"INSERT INTO {table} VALUES (?)", (5,))
        if error is not None:
            raise error


async def test_files_are_readable_by_the_owner_only(tmp_path: Path) -> None:
    """S70: the database and its write-ahead log have mode 0600."""
    database = await open_database(tmp_path / "a.db")
    async with database.transaction():
        await database.execute("CREATE TABLE a (x)")
    modes = modes_in(tmp_path)
    await database.close()
    assert modes.keys() >= {"a.db", "a.db-wal"}
    assert set(modes.values()) == {0o600}


async def test_failed_transaction_changes_nothing(tmp_path: Path) -> None:
    database = await open_database(tmp_path / "a.db")
    try:
        async with database.transaction():
            await database.execute("CREATE TABLE a (x)")
        with pytest.raises(KeyError):
            await insert(database, "a", KeyError)
        with pytest.raises(StoreUnavailable):
            await insert(database, "nowhere")
        assert await database.rows("SELECT * FROM a") == []
    finally:
        await database.close()


async def test_file_that_cannot_be_opened_is_store_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await open_database(tmp_path / "no" / "folder.db")
    (tmp_path / "text.db").write_text("this is no database, only a longer text " * 100)
    with pytest.raises(StoreUnavailable):
        await open_database(tmp_path / "text.db")


async def test_a_batch_is_one_transaction_around_all_inside_it(tmp_path: Path) -> None:
    """Reads inside see what was written; after an error nothing is left of any of them."""
    database = await open_database(tmp_path / "a.db")
    try:
        async with database.transaction():
            await database.execute("CREATE TABLE a (x)")
        async with database.batch():
            for number in range(3):
                async with database.transaction():
                    await database.write("INSERT INTO a VALUES (?)", (number,))
            assert len(await database.rows("SELECT * FROM a")) == 3
            await database.write("INSERT INTO a VALUES (?)", (3,))
        assert [row["x"] for row in await database.rows("SELECT * FROM a")] == [0, 1, 2, 3]
        for table, error, wanted in (("a", KeyError, KeyError), ("nowhere", None, StoreUnavailable)):
            with pytest.raises(wanted):
                await insert_in_batch(database, table, error)
        assert len(await database.rows("SELECT * FROM a")) == 4
        async with database.transaction():
            await database.write("INSERT INTO a VALUES (?)", (4,))
        assert len(await database.rows("SELECT * FROM a")) == 5
    finally:
        await database.close()
