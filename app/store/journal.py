"""The journal: what must survive at the pace of events, in one SQLite file with group commit.

Theory. A commit costs the disk a sync, however much it holds. So whatever is handed over while one commit is under way
goes into the next: durable work is limited by the disk's syncs times what gathers between two of them. One thread
writes and another reads, each with a connection of its own; both call back on the loop. Each statement is one step of
SQLite for many rows, because the interpreter's lock changes hands at every step, and may be long in coming back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from app.errors import RelayError, StorageFull, StoreUnavailable, as_relay_error

_log = logging.getLogger("fanway.journal")

_ROWS = re.compile(r"(?P<head>.*\bVALUES\s*)(?P<row>\([?,\s]+\))\s*", re.DOTALL | re.IGNORECASE)
_AT_ONCE = (512, 64, 8)  # rows that one step inserts
_ALMOST_FULL = 1 << 20  # bytes free, where a failure of the disk is taken for want of space
_KEPT_LOG = 64 << 20  # bytes that the write-ahead log may keep after it was once larger

Row = tuple[Any, ...]
Statement = tuple[str, Sequence[Row]]
"""A statement and the rows of values to run it with; `[()]` where it takes none."""

Prepare = Callable[[], Sequence[Statement]]
Done = Callable[[RelayError | None], None]
Then = Callable[[list[Row], RelayError | None], None]


class _Entry(NamedTuple):
    statements: Sequence[Statement]
    done: Done


class Journal:
    """One gateway's journal. Open with `open_journal`; to be used from its loop only, and closed at the end."""

    def __init__(self, path: Path | None, max_bytes: int, loop: asyncio.AbstractEventLoop) -> None:
        self._path = path
        self._loop = loop
        connection = _connect(path, max_bytes)
        self._writer = _Worker("journal-writer", connection, loop)
        self._reader = _Worker("journal-reader", _connect_reader(path), loop) if path else self._writer
        self._waiting: list[tuple[Prepare, Done]] = []
        self._is_busy = False  # a commit is under way, or about to begin
        self._is_closed = False
        self._is_full = False  # said so in the log, once
        self._idle: asyncio.Future[None] | None = None  # who closes waits for it

    def write(self, prepare: Prepare, done: Done) -> None:
        """Commit what `prepare` says, in the order handed over; `done` is told once it is on disk, or was not kept.

        `prepare` is asked on the loop when its batch is formed, after all before were told how they ended. What it
        says is kept wholly or not at all; of a batch that fails each is tried by itself, so that one cannot fail the
        others. `done` gets StorageFull or StoreUnavailable; what comes later may succeed, unless the journal is closed.
        An error that `prepare` raises goes to `done`.
        """
        if self._is_closed:
            self._loop.call_soon(_call, done, StoreUnavailable("The journal is closed."))
            return
        self._waiting.append((prepare, done))
        if not self._is_busy:
            self._is_busy = True
            self._loop.call_soon(self._form)

    def read(self, sql: str, values: Row, then: Then) -> None:
        """All rows of a query, with all that was committed before this call; or none, and StoreUnavailable."""

        def answer(rows: list[Row] | None, error: Exception | None) -> None:
            then(rows or [], None if error is None else self._told(error, "read"))

        self._reader.do(lambda connection: connection.execute(sql, values).fetchall(), answer)

    async def rows(self, sql: str, values: Row = ()) -> list[Row]:
        """The same, awaited. Raises StoreUnavailable."""
        answer: asyncio.Future[list[Row]] = self._loop.create_future()

        def then(rows: list[Row], error: RelayError | None) -> None:
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(rows)

        self.read(sql, values, then)
        return await answer

    async def commit(self, *statements: Statement) -> None:
        """Write and wait until it is on disk. Raises StorageFull, StoreUnavailable."""
        answer: asyncio.Future[None] = self._loop.create_future()

        def done(error: RelayError | None) -> None:
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(None)

        self.write(lambda: statements, done)
        await answer

    async def run_script(self, sql: str) -> None:
        """Run several statements in one transaction of their own; all or none. Raises sqlite3.Error."""
        answer: asyncio.Future[None] = self._loop.create_future()

        def run(connection: sqlite3.Connection) -> None:
            try:
                connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\n;COMMIT;")
            except sqlite3.Error:
                _roll_back(connection)
                raise

        def then(nothing: None, error: Exception | None) -> None:
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(None)

        self._writer.do(run, then)
        await answer

    async def close(self) -> None:
        """Write what waits, then close the file."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._is_busy:
            self._idle = self._loop.create_future()
            await self._idle
        if self._reader is not self._writer:
            await self._reader.stop()
        await self._writer.stop()  # the last to close moves the write-ahead log into the file

    # --- inside ---

    def _form(self) -> None:
        """Make a batch of all that waits."""
        waiting, self._waiting = self._waiting, []
        batch = []
        for prepare, done in waiting:
            try:
                batch.append(_Entry(prepare(), done))
            except Exception as error:
                _log.exception("what was to be written could not be prepared")
                _call(done, as_relay_error(error))
        statements = [entry.statements for entry in batch]
        self._writer.do(lambda connection: _commit(connection, statements), lambda *ended: self._end(batch, *ended))

    def _end(self, batch: list[_Entry], errors: list[Exception | None] | None, fault: Exception | None) -> None:
        for entry, error in zip(batch, errors or [fault] * len(batch), strict=True):
            _call(entry.done, None if error is None else self._told(error, "written"))
        if self._is_full and errors and not any(errors):
            self._is_full = False
            _log.warning("the journal is written again")
        if self._waiting:
            self._form()
            return
        self._is_busy = False
        if self._idle is not None:
            self._idle.set_result(None)

    def _told(self, error: Exception, what: str) -> RelayError:
        """The error for who asked; its cause is logged."""
        if is_full(error, self._path):
            if not self._is_full:
                self._is_full = True
                _log.error("the journal is full: %s", error)
            return StorageFull(
                "The disk, or what the journal may take of it, is full; nothing was kept.", retry_after=5
            )
        _log.error("the journal could not be %s", what, exc_info=error)
        return StoreUnavailable(f"The journal could not be {what}.", retry_after=1)


async def open_journal(path: Path | None, max_bytes: int = 0) -> Journal:
    """Open or create the file, readable by its owner only; None is one in memory. Raises `StoreUnavailable`.

    `max_bytes` bounds the file; 0 is no bound but the disk.
    """
    return Journal(path, max_bytes, asyncio.get_running_loop())


def is_full(error: Exception, path: Path | None) -> bool:
    """Whether it is for want of space that something could not be written."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    if code & 0xFF != sqlite3.SQLITE_IOERR or path is None:
        return bool(code == sqlite3.SQLITE_FULL)
    disk = os.statvfs(path)  # not every write that fails so tells that the disk was full
    return disk.f_bavail * disk.f_frsize < _ALMOST_FULL


class _Worker:
    """A thread with a connection, which does one job after the other and tells on the loop how each ended."""

    def __init__(self, name: str, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._jobs: SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], Callable[..., None]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, job: Callable[[sqlite3.Connection], Any], then: Callable[..., None]) -> None:
        """`then` gets the job's result and None, or None and the exception."""
        self._jobs.put((job, then))

    async def stop(self) -> None:
        """Close the connection after the jobs before."""
        closed = asyncio.Event()
        self.do(sqlite3.Connection.close, lambda *ended: closed.set())
        self._jobs.put(None)
        await closed.wait()
        self._thread.join()

    def _run(self) -> None:
        while (work := self._jobs.get()) is not None:
            job, then = work
            result, fault = None, None
            try:
                result = job(self._connection)
            except Exception as error:
                fault = error
            try:
                self._loop.call_soon_threadsafe(then, result, fault)
            except RuntimeError:  # the loop is gone, and everybody with it
                return


def _commit(connection: sqlite3.Connection, batch: Sequence[Sequence[Statement]]) -> list[Exception | None]:
    """Commit all of these; where that fails each by itself. How each ended."""
    try:
        _commit_together(connection, [statement for statements in batch for statement in statements])
        return [None] * len(batch)
    except Exception as error:  # of SQLite, or of values that it does not take
        if len(batch) == 1:
            return [error]
    return [_commit(connection, [statements])[0] for statements in batch]


def _commit_together(connection: sqlite3.Connection, statements: Sequence[Statement]) -> None:
    if not statements:
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
        for sql, rows in statements:
            _execute(connection, sql, rows)
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise


def _execute(connection: sqlite3.Connection, sql: str, rows: Sequence[Row]) -> None:
    done = 0
    if len(rows) >= _AT_ONCE[-1]:
        for many in _AT_ONCE:
            if (larger := _for_rows(sql, many)) is not None:
                while len(rows) - done >= many:
                    connection.execute(larger, tuple(chain.from_iterable(rows[done : done + many])))
                    done += many
    for row in rows[done:]:
        connection.execute(sql, row)


@lru_cache(maxsize=128)
def _for_rows(sql: str, many: int) -> str | None:
    """An INSERT of one row as an INSERT of many; None of anything else."""
    match = _ROWS.fullmatch(sql)
    return match and match["head"] + ",".join([match["row"]] * many)


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.rollback()


def _connect(path: Path | None, max_bytes: int) -> sqlite3.Connection:
    try:
        if path is not None:
            _create(path)
        connection = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=10, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error}") from None
    try:
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            f"journal_size_limit={_KEPT_LOG}",
            "secure_delete=FAST",  # else a cut writes all that it deletes once more
        ):
            connection.execute(f"PRAGMA {pragma}")
        if max_bytes:
            page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count={max(1, max_bytes // page_bytes)}")
    except sqlite3.Error as error:
        connection.close()
        raise StoreUnavailable(f"{path} cannot be used: {error}") from None
    return connection


def _connect_reader(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=10, check_same_thread=False)
        connection.execute("PRAGMA query_only=ON")
        return connection
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path} cannot be read: {error}") from None


def _create(path: Path) -> None:
    """Make the file when it is missing, so that it is there after a power cut too."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _call(done: Done, error: RelayError | None) -> None:
    """One that fails keeps nothing from the others."""
    try:
        done(error)
    except Exception:
        _log.exception("after a commit")
