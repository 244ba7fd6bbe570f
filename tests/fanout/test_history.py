"""Cursors, gaps, and what the limits cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.errors import InvalidCursor
from fanout.event import EVENT_BYTES, Event
from fanout.history import Cursor, Gap, History, Resume, parse_cursor

EPOCH = "5f0c92ab"


def history_of(
    count: int, *, events: int = 1000, seconds: float = 300.0, size: int = 1 << 20, payload: bytes = b"0123456789"
) -> History:
    """A history that took `count` events, one a second from time 1 on."""
    history = History(EPOCH, events, seconds, size)
    for number in range(1, count + 1):
        event = Event("orders", history.next_offset(), str(number), payload, received_at=float(number))
        history.append(event, float(number))
    return history


def offsets(events: list[Event]) -> list[int]:
    return [event.offset for event in events]


def test_cursor_survives_being_written_and_read() -> None:
    assert parse_cursor(str(Cursor(EPOCH, 17))) == Cursor(EPOCH, 17)


@pytest.mark.parametrize(
    "text",
    [
        *("", "17", ":17", EPOCH, f"{EPOCH}:", f"{EPOCH}:-1", f"{EPOCH}:01", f"{EPOCH}:1 ", f" {EPOCH}:1"),
        *(f"{EPOCH}:1\n", f"{EPOCH}:٣", f"{EPOCH.upper()}:1", "5f0c92a:1", "5f0c92abc:1", f"{EPOCH}:1:2", "now"),
        f"{EPOCH}:" + "9" * 5000,
    ],
)
def test_garbage_is_no_cursor(text: str) -> None:
    """R03: garbage is refused, which is neither a gap nor silence."""
    with pytest.raises(InvalidCursor):
        parse_cursor(text)


def test_resume_within_history_continues_exactly_after_the_cursor() -> None:
    history = history_of(5)
    assert history.resume(Cursor(EPOCH, 2)) == Resume(2, None)
    assert offsets(history.events_after(2, 1 << 20)) == [3, 4, 5]
    assert history.resume(history.cursor) == Resume(5, None)
    assert history.events_after(5, 1 << 20) == []


def test_cursor_behind_the_history_is_a_gap_with_its_range() -> None:
    """R03."""
    history = history_of(10, events=4)
    assert history.oldest == 7
    assert history.resume(Cursor(EPOCH, 3)) == Resume(6, Gap(Cursor(EPOCH, 3), Cursor(EPOCH, 6), "history"))
    assert history.resume(Cursor(EPOCH, 6)).gap is None  # nothing of what comes after it is missing
    assert offsets(history.events_after(6, 1 << 20)) == [7, 8, 9, 10]


def test_cursor_of_another_epoch_is_a_gap_and_what_is_left_follows() -> None:
    """R04: with its store lost, a relay has a new epoch; old cursors never fit by accident."""
    history = history_of(3)
    old = Cursor("00000000", 2)
    assert history.resume(old) == Resume(0, Gap(old, Cursor(EPOCH, 0), "epoch"))
    assert offsets(history.events_after(0, 1 << 20)) == [1, 2, 3]


def test_cursor_ahead_of_the_stream_is_a_gap() -> None:
    """R04."""
    history = history_of(3)
    ahead = Cursor(EPOCH, 9)
    assert history.resume(ahead) == Resume(3, Gap(ahead, Cursor(EPOCH, 3), "ahead"))


def test_relay_without_history_counts_offsets_and_tells_every_gap() -> None:
    """R03."""
    history = history_of(3, events=0)
    assert (history.head, history.oldest, len(history)) == (3, 4, 0)
    assert history.resume(Cursor(EPOCH, 1)) == Resume(3, Gap(Cursor(EPOCH, 1), Cursor(EPOCH, 3), "history"))
    assert history.resume(Cursor(EPOCH, 3)).gap is None


def test_bytes_limit_cuts_the_oldest() -> None:
    assert history_of(10, size=35).oldest == 8


def test_event_larger_than_the_bytes_limit_is_not_kept() -> None:
    history = history_of(2, size=5)
    assert (history.head, len(history)) == (2, 0)


def test_seconds_limit_cuts_on_append_and_on_prune() -> None:
    history = history_of(10, seconds=3.0)
    assert history.oldest == 7
    history.prune(12.0)
    assert history.oldest == 9
    history.prune(1000.0)
    assert history.resume(Cursor(EPOCH, 9)).gap is not None


def test_narrowed_limits_cut_at_once_and_keep_the_offsets() -> None:
    history = history_of(10)
    history.limit(2, 300.0, 1 << 20, 10.0)
    assert (history.oldest, history.head) == (9, 10)


def test_replay_goes_in_slices_with_at_least_one_event() -> None:
    history = history_of(5)
    assert offsets(history.events_after(0, 2 * EVENT_BYTES + 25)) == [1, 2]
    assert offsets(history.events_after(2, 1)) == [3]


def test_replay_behind_the_history_is_never_silent() -> None:
    """R03: the log may be cut between two slices."""
    history = history_of(5, events=2)
    with pytest.raises(LookupError, match="resume"):
        history.events_after(1, 1 << 20)


@pytest.mark.parametrize(("time", "offset"), [(0.0, 2), (3.0, 2), (3.5, 3), (5.0, 4), (6.0, 5), (99.0, 5)])
def test_time_finds_the_offset_before_it(time: float, offset: int) -> None:
    assert history_of(5, events=3).at(time) == offset


def test_time_in_an_empty_history_is_its_end() -> None:
    assert history_of(0).at(1.0) == 0
    assert history_of(4, events=0).at(1.0) == 4


def test_offset_out_of_turn_and_malformed_epoch_are_refused() -> None:
    with pytest.raises(ValueError, match="does not follow"):
        history_of(3).append(Event("orders", 7, "x", b""), 4.0)
    with pytest.raises(ValueError, match="epoch"):
        History("XYZ", 1, 1.0, 1)


@given(
    st.integers(0, 8),
    st.floats(0, 10),
    st.integers(0, 60),
    st.lists(st.integers(0, 20), max_size=20),
    st.integers(0, 25),
    st.integers(1, 40),
)
def test_replay_in_slices_gives_all_events_after_the_gap_and_no_others(
    keep: int, seconds: float, size: int, payloads: list[int], offset: int, limit: int
) -> None:
    """R03: what is told as missing and what is replayed are together everything, exactly once."""
    history = History(EPOCH, keep, seconds, size)
    for number, length in enumerate(payloads, 1):
        history.append(Event("a", history.next_offset(), "", bytes(length), received_at=number), number)
    cursor = Cursor(EPOCH, offset)
    place, gap = history.resume(cursor)
    replayed: list[int] = []
    while events := history.events_after(place, limit):
        replayed += offsets(events)
        place = events[-1].offset
    missing = range(0)
    if gap is not None and gap.why == "history":
        missing = range(gap.from_.offset + 1, gap.to.offset + 1)
    assert [*missing, *replayed] == list(range(offset + 1, history.head + 1))
    assert (gap is not None and gap.why == "ahead") is (offset > history.head)
    assert len(history) <= keep


def test_a_run_is_taken_whole_and_cut_like_single_events() -> None:
    one, other = History("00000001", 3, 60.0, 1000), History("00000001", 3, 60.0, 1000)
    events = [Event("a", offset, str(offset), b"x", received_at=1.0) for offset in range(1, 6)]
    one.extend(events, 1.0)
    for event in events:
        other.append(event, 1.0)
    assert one.events_after(one.oldest - 1, 1000) == other.events_after(other.oldest - 1, 1000) == events[2:]
    assert (one.head, one.oldest) == (5, 3)
    with pytest.raises(ValueError, match="does not follow"):
        one.extend(events, 1.0)
