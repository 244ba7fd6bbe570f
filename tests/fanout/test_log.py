"""Streams on disk: the limits cut them as they cut those in memory, only perhaps a little later."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanout.log
from fanout.event import Event
from fanout.history import Cursor, Gap, History
from fanout.log import MARKS, Log, OnDisk, step_of

EPOCH = "5f0c92ab"
WIDE = (1 << 40, 1e9, 1 << 40)


def event(offset: int, size: int = 10, received_at: float | None = None) -> Event:
    return Event("a", offset, "", bytes(size), received_at=float(offset) if received_at is None else received_at)


def history_of(count: int, events: int = 1 << 40, seconds: float = 1e9, size: int = 1 << 40) -> History:
    history = History(EPOCH, events, seconds, size, log=Log(1))
    for offset in range(1, count + 1):
        history.append(event(offset), float(offset))
    return history


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.integers(1, 4)), max_size=60),
    st.integers(0, 30),
    st.floats(0, 40),
    st.integers(0, 300),
)
def test_a_short_stream_on_disk_is_cut_exactly_as_one_in_memory(
    runs: list[tuple[int, int, int]], events: int, seconds: float, size: int
) -> None:
    one, other = History(EPOCH, events, seconds, size), History(EPOCH, events, seconds, size, log=Log(1))
    now = 0.0
    for length, pause, count in runs:
        now += pause
        run = [event(one.head + n, length, now) for n in range(1, count + 1)]
        one.extend(run, now)
        other.extend(run, now)
        assert (one.oldest, one.cut_at, one.head) == (other.oldest, other.cut_at, other.head)
        assert one.at(now) == other.at(now)
        assert one.events_after(one.oldest - 1, 1 << 20) == other.events_after(other.oldest - 1, 1 << 20)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), min_size=1, max_size=300),
    st.integers(1, 200),
    st.floats(0, 400),
    st.integers(0, 3000),
)
def test_a_long_stream_is_cut_late_but_never_early(
    events: list[tuple[int, int]], keep: int, seconds: float, size: int
) -> None:
    exact = History(EPOCH, keep, seconds, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fanout.log, "MARKS", 4)
        history = History(EPOCH, keep, seconds, size, log=Log(1))
        now = 0.0
        for length, pause in events:
            now += pause
            for each in (exact, history):
                each.append(event(each.next_offset(), length, now), now)
            assert exact.head - keep <= history.oldest - 1 <= exact.oldest - 1
            for time in (now, now / 2):
                assert history.at(time) <= exact.at(time)


def test_marks_are_few_however_long_the_stream() -> None:
    log = Log(1)
    for first in range(1, 400_000, 1000):
        log.extend([event(offset, 0) for offset in range(first, first + 1000)])
        log.prune(first + 999, 0.0, 100_000, 1e9, 1 << 40)
    assert log.floor == 300_000
    assert len(log._marks) <= 2 * MARKS


def test_what_memory_holds_no_longer_is_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanout.history.TAIL_EVENTS", 3)
    history = history_of(10)
    assert (len(history), history.oldest, history.tail) == (3, 1, 7)
    with pytest.raises(OnDisk):
        history.events_after(6, 1 << 20)
    assert [each.offset for each in history.events_after(7, 1 << 20)] == [8, 9, 10]
    assert history.resume(Cursor(EPOCH, 0)).gap is None
    history.limit(5, 1e9, 1 << 40, 10.0)
    with pytest.raises(LookupError, match="resume"):
        history.events_after(4, 1 << 20)
    assert history.resume(Cursor(EPOCH, 0)).gap == Gap(Cursor(EPOCH, 0), Cursor(EPOCH, 5), "history")


def test_a_stream_goes_on_where_it_was() -> None:
    history = History(EPOCH, *WIDE, head=7, log=Log(1, floor=2, cut_at=2.0, size=70))
    assert (history.cursor, history.oldest, history.cut_at, history.next_offset()) == (Cursor(EPOCH, 7), 3, 2.0, 8)
    with pytest.raises(OnDisk):
        history.events_after(2, 1 << 20)
    history.append(event(8), 8.0)
    assert history.log is not None
    assert history.log.size == 80


def test_moving_to_disk_keeps_what_there_was_and_moving_back_what_is_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    history = History(EPOCH, 4, 1e9, 1 << 40)
    for offset in range(1, 7):
        history.append(event(offset), float(offset))
    moved = history.move_to(Log(1))
    assert [each.offset for each in moved] == [3, 4, 5, 6]
    assert (history.oldest, history.cut_at, history.head) == (3, 2.0, 6)
    monkeypatch.setattr("fanout.history.TAIL_EVENTS", 2)
    history.limit(*WIDE, 6.0)
    history.append(event(7), 7.0)
    assert (history.oldest, history.tail) == (3, 5)
    history.move_to(None)
    history.limit(*WIDE, 7.0)
    assert (history.oldest, history.head, history.epoch) == (6, 7, EPOCH)
    assert history.cut_at >= 5.0


@pytest.mark.parametrize(
    ("count", "step"), [(0, 1), (MARKS, 1), (2 * MARKS - 1, 1), (2 * MARKS, 2), (100 * MARKS, 100)]
)
def test_the_longer_a_stream_the_fewer_of_its_events_have_marks(count: int, step: int) -> None:
    assert step_of(count) == step
