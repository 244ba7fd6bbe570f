"""Delays grow, are capped, jitter, and honour what the gateway asked for."""

from __future__ import annotations

from fanway.backoff import Backoff


def test_delays_double_up_to_the_cap_and_begin_anew_after_a_success() -> None:
    backoff = Backoff(first=1, most=4, chance=lambda _, most: most)
    assert [backoff.next() for _ in range(4)] == [1, 2, 4, 4]
    backoff.reset()
    assert backoff.next() == 1


def test_delays_jitter_over_the_whole_range_and_come_after_what_was_asked() -> None:
    assert Backoff(first=1, chance=lambda least, _: least).next(after=5) == 5
    assert 5 <= Backoff(first=1).next(after=5) <= 6
