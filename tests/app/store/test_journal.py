"""The journal: group commits in order, what fails fails alone, and space that comes back is used."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.errors import RelayError, StorageFull, StoreUnavailable
from app.store.journal import Journal, Row, Statement, is_full, open_journal

INSERT = "INSERT INTO a (x, y) VALUES (?, ?)"


@pytest.fixture(params=["file", "memory"])
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    journal = await open_journal(tmp_path / "journal.db" if request.param == "file" else None, 1 << 20)
    await journal.run_script("CREATE TABLE a (x PRIMARY KEY, y)")
    yield journal
    await journal.close()


def rows(*numbers: int) -> Statement:
    return INSERT, [(number, b"") for number in numbers]


async def numbers(journal: Journal) -> list[int]:
    return [row[0] for row in await journal.rows("SELECT x FROM a ORDER BY x")]


def modes_in(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


async def test_what_comes_during_a_commit_goes_into_the_next(journal: Journal) -> None:
    log: list[str] = []
    finished = asyncio.Event()

    def write(number: int) -> None:
        def prepare() -> list[Statement]:
            log.append(f"prepare {number}")
            return [rows(number)]

        def done(error: RelayError | None) -> None:
            log.append(f"done {number}")
            if number == 1:
                for later in (3, 4):
                    write(later)
            elif number == 4:
                finished.set()

        journal.write(prepare, done)

    write(1)
    write(2)
    await finished.wait()
    assert log == [f"{what} {n}" for pair in ((1, 2), (3, 4)) for what in ("prepare", "done") for n in pair]
    assert await numbers(journal) == [1, 2, 3, 4]


@pytest.mark.parametrize("many", [1, 7, 8, 9, 600])
async def test_many_rows_are_as_good_as_one_by_one(journal: Journal, many: int) -> None:
    await journal.commit(rows(*range(many)), ("UPDATE a SET y = x + ? WHERE x = ?", [(n, n) for n in range(many)]))
    assert await journal.rows("SELECT x, y FROM a ORDER BY x") == [(n, 2 * n) for n in range(many)]


@pytest.mark.parametrize(
    "bad", [[rows(1, 2), rows(2)], [(INSERT, [("\ud800", 0)])], [("INSERT INTO b VALUES (1)", [()])]]
)
async def test_what_fails_fails_alone_and_wholly(journal: Journal, bad: list[Statement]) -> None:
    ended = await asyncio.gather(
        journal.commit(rows(10)), journal.commit(*bad), journal.commit(rows(11)), return_exceptions=True
    )
    assert [type(each) for each in ended] == [type(None), StoreUnavailable, type(None)]
    assert await numbers(journal) == [10, 11]


async def test_preparing_that_fails_is_told_to_who_asked(journal: Journal) -> None:
    def prepare() -> list[Statement]:
        raise StorageFull("No more.")

    ended: list[RelayError | None] = []
    journal.write(prepare, ended.append)
    await journal.commit(rows(1))
    assert [type(error) for error in ended] == [StorageFull]


async def test_full_journal_refuses_and_takes_again_what_was_made_room_for(journal: Journal) -> None:
    """R08: what does not fit fails clearly, and after something was deleted the next is kept."""
    fill = [journal.commit((INSERT, [(number, b"x" * 100_000)])) for number in range(12)]
    ended = await asyncio.gather(*fill, return_exceptions=True)
    written = ended.count(None)
    assert 0 < written < len(fill)
    assert all(isinstance(error, StorageFull) for error in ended[written:])
    assert await numbers(journal) == list(range(written))
    await journal.commit(("DELETE FROM a WHERE x < ?", [(2,)]))
    await journal.commit((INSERT, [(written, b"x" * 100_000)]))
    assert await numbers(journal) == list(range(2, written + 1))


async def test_failed_query_is_store_unavailable(journal: Journal) -> None:
    with pytest.raises(StoreUnavailable):
        await journal.rows("SELECT * FROM nowhere")
    found: list[tuple[list[Row], RelayError | None]] = []
    journal.read("SELECT 1", (), lambda rows, error: found.append((rows, error)))
    assert await journal.rows("SELECT 2") == [(2,)]
    assert found == [([(1,)], None)]


async def test_closing_writes_what_waits(tmp_path: Path) -> None:
    journal = await open_journal(tmp_path / "journal.db")
    await journal.run_script("CREATE TABLE a (x PRIMARY KEY, y)")
    ended: list[RelayError | None] = []
    journal.write(lambda: [rows(1)], ended.append)
    await journal.close()
    await journal.close()
    assert ended == [None]
    with pytest.raises(StoreUnavailable):
        await journal.commit(rows(2))
    again = await open_journal(tmp_path / "journal.db")
    assert await numbers(again) == [1]
    await again.close()


async def test_files_are_readable_by_the_owner_only(tmp_path: Path) -> None:
    """S70: the journal and its write-ahead log have mode 0600."""
    journal = await open_journal(tmp_path / "journal.db")
    await journal.run_script("CREATE TABLE a (x)")
    modes = modes_in(tmp_path)
    await journal.close()
    assert modes.keys() >= {"journal.db", "journal.db-wal"}
    assert set(modes.values()) == {0o600}


async def test_file_that_cannot_be_opened_is_store_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await open_journal(tmp_path / "no" / "journal.db")
    (tmp_path / "text.db").write_text("this is no database, only a longer text " * 100)
    with pytest.raises(StoreUnavailable):
        await open_journal(tmp_path / "text.db")


def test_only_want_of_space_is_told_as_such(tmp_path: Path) -> None:
    def failed(code: int) -> sqlite3.Error:
        error = sqlite3.OperationalError()
        error.sqlite_errorcode = code
        return error

    assert is_full(failed(sqlite3.SQLITE_FULL), tmp_path)
    assert not is_full(failed(sqlite3.SQLITE_IOERR_WRITE), tmp_path)
    assert not is_full(failed(sqlite3.SQLITE_CONSTRAINT), None)
