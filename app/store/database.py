"""One SQLite file with one writer: explicit transactions, write-ahead log, nothing committed by accident."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite

from app.errors import StoreUnavailable

logging.getLogger("aiosqlite").setLevel(logging.INFO)  # at debug it shows all values, keys among them


class Database:
    """A connection that writes. Open with `open_database`; close it, or its thread stays."""

    def __init__(self, connection: aiosqlite.Connection, lock: int | None = None) -> None:
        self._connection = connection
        self._lock = lock
        self._turn = asyncio.Lock()
        self._batcher: asyncio.Task[Any] | None = None
        self._queued: dict[str, list[tuple[Any, ...]]] = {}  # of a batch, by statement

    async def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        """All rows of a query, addressable by column name."""
        await self._flush()
        return list(await self._connection.execute_fetchall(sql, values))

    async def execute(self, sql: str, values: tuple[Any, ...] = ()) -> int:
        """Run one statement, inside `transaction`; the number of rows it changed."""
        await self._flush()
        async with self._connection.execute(sql, values) as cursor:
            return cursor.rowcount

    async def write(self, sql: str, values: tuple[Any, ...]) -> None:
        """Run one statement that adds or replaces a row, inside `transaction`; in a `batch` many are run at once."""
        if self._batcher is asyncio.current_task():
            self._queued.setdefault(sql, []).append(values)
        else:
            await self.execute(sql, values)

    async def run_script(self, sql: str) -> None:
        """Run several statements in one transaction of their own; all or none. Raises sqlite3.Error."""
        async with self._turn:
            try:
                await self._connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\n;COMMIT;")
            except sqlite3.Error:
                await self._rollback()
                raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Everything inside is committed together at the end, or not at all.

        Raises `StoreUnavailable` when the file cannot be written; nothing has changed then.
        """
        if self._batcher is asyncio.current_task():
            yield
            return
        async with self._turn:
            try:
                await self._connection.execute("BEGIN IMMEDIATE")
                yield
                await self._connection.execute("COMMIT")
            except BaseException as error:
                await self._rollback()
                if isinstance(error, sqlite3.Error):
                    raise StoreUnavailable("The registry could not be written; nothing was changed.") from error
                raise

    @asynccontextmanager
    async def batch(self) -> AsyncIterator[None]:
        """One transaction around all transactions of this task inside it: a commit each would take most of the time.

        Raises `StoreUnavailable` as `transaction` does. What the caller holds in memory may then be ahead of the
        file, so that it must give up.
        """
        async with self.transaction():
            self._batcher = asyncio.current_task()
            try:
                yield
                await self._flush()
            finally:
                self._batcher, self._queued = None, {}

    async def close(self) -> None:
        await self._connection.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _flush(self) -> None:
        """Run what a batch has queued, statement by statement: the first of each in the order they came."""
        queued, self._queued = self._queued, {}
        for sql, values in queued.items():
            await self._connection.executemany(sql, values)

    async def _rollback(self) -> None:
        if self._connection.in_transaction:
            await self._connection.rollback()


async def open_database(path: Path, *, alone: bool = False) -> Database:
    """Open or create the file, readable by its owner only. Raises `StoreUnavailable`.

    `alone`: as the one gateway of this file, which keeps what it has read in memory; a second one is refused.
    """
    lock = _lock(path) if alone else None
    try:
        return await _connected(path, lock)
    except BaseException:
        if lock is not None:
            os.close(lock)
        raise


async def open_memory() -> Database:
    """A database that ends with the process; nothing of it touches a disk."""
    connection = await aiosqlite.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    await connection.execute("PRAGMA foreign_keys=ON")
    return Database(connection)


async def _connected(path: Path, lock: int | None) -> Database:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = await aiosqlite.connect(path, isolation_level=None, timeout=10)
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error}") from None
    try:
        connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            await connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error as error:
        await connection.close()
        raise StoreUnavailable(f"{path} cannot be used: {error}") from None
    return Database(connection, lock)


def _lock(path: Path) -> int:
    """A lock beside the file, which ends with the process however it ends."""
    beside = path.with_suffix(".lock")
    try:
        lock = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"{beside} cannot be opened: {error}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise StoreUnavailable(f"{path.parent} is in use by another gateway; give this one another --data") from None
    return lock
