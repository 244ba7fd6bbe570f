"""The timer wheel, on a clock that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from app.edge.wheel import Timer, Wheel


class Loop:
    """As much of an event loop as the wheel asks for."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timer: Callable[[], None] | None = None

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Handle:
        self.timer = callback
        return Handle(self)

    def turn(self, seconds: float) -> None:
        self.now += seconds
        timer, self.timer = self.timer, None
        if timer is not None:
            timer()


class Handle:
    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def cancel(self) -> None:
        self._loop.timer = None


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def wheel(loop: Loop) -> Wheel:
    return Wheel(loop)  # type: ignore[arg-type]


def test_a_deadline_fires_never_early_and_at_most_a_resolution_late(loop: Loop, wheel: Wheel) -> None:
    fired: list[float] = []
    wheel.after(1.1, lambda: fired.append(loop.now - 1000))
    while not fired:
        loop.turn(0.05)
    assert 1.1 <= fired[0] <= 1.1 + 0.25 + 0.05


def test_a_cancelled_deadline_does_not_fire(loop: Loop, wheel: Wheel) -> None:
    fired: list[int] = []
    wheel.after(1, lambda: fired.append(1)).cancel()
    wheel.after(1, lambda: fired.append(2))
    loop.turn(2)
    assert fired == [2]


def test_a_cancelled_deadline_leaves_nothing_behind_however_far_it_was(loop: Loop, wheel: Wheel) -> None:
    for seconds in range(1000):
        wheel.after(1e9 + seconds, lambda: None).cancel()
    loop.turn(1)
    assert loop.timer is None  # nothing is pending


def test_deadlines_missed_while_the_loop_was_busy_fire_in_order(loop: Loop, wheel: Wheel) -> None:
    fired: list[int] = []
    for seconds in (3, 1, 2):
        wheel.after(seconds, lambda seconds=seconds: fired.append(seconds))  # type: ignore[misc]
    loop.turn(3600)
    assert fired == [1, 2, 3]


def test_it_stands_still_when_nothing_is_pending(loop: Loop, wheel: Wheel) -> None:
    assert loop.timer is None
    wheel.after(0.1, lambda: None)
    assert loop.timer is not None
    loop.turn(1)
    assert loop.timer is None
    loop.now += 10_000
    fired: list[int] = []
    wheel.after(0.1, lambda: fired.append(1))
    loop.turn(0.6)
    assert fired == [1]


def test_a_callback_may_set_the_next_deadline_and_one_that_fails_stops_no_other(
    loop: Loop, wheel: Wheel, caplog: pytest.LogCaptureFixture
) -> None:
    fired: list[float] = []

    def again() -> None:
        fired.append(loop.now)
        wheel.after(0, again)

    wheel.after(0, lambda: 1 / 0)
    wheel.after(0, again)
    loop.turn(1)
    loop.turn(1)
    assert len(fired) == 2
    assert "a deadline's callback failed" in caplog.text


def test_stop_drops_everything(loop: Loop, wheel: Wheel) -> None:
    fired: list[int] = []
    wheel.after(1, lambda: fired.append(1))
    wheel.stop()
    loop.turn(10)
    assert (fired, loop.timer) == ([], None)


async def test_it_runs_on_a_real_loop() -> None:
    wheel = Wheel(asyncio.get_running_loop(), 0.01)
    done = asyncio.Event()
    wheel.after(0, done.set)
    await asyncio.wait_for(done.wait(), 5)
    wheel.stop()


def test_a_timer_that_is_set_later_fires_at_the_later_time_only(loop: Loop, wheel: Wheel) -> None:
    fired: list[float] = []
    timer = Timer(wheel)
    timer.set(1, lambda: fired.append(-1))
    loop.turn(0.5)
    timer.set(2, lambda: fired.append(loop.now - 1000))
    while not fired:
        loop.turn(0.05)
    assert 2.5 <= fired[0] <= 2.5 + 0.25 + 0.05
    assert (timer.is_set, loop.timer) == (False, None)


def test_a_timer_can_be_set_to_an_earlier_time(loop: Loop, wheel: Wheel) -> None:
    fired: list[float] = []
    timer = Timer(wheel)
    timer.set(60, lambda: fired.append(-1))
    timer.set(1, lambda: fired.append(loop.now - 1000))
    while not fired:
        loop.turn(0.05)
    assert 1 <= fired[0] <= 1 + 0.25 + 0.05
    for _ in range(100):
        loop.turn(1)
    assert len(fired) == 1


def test_a_timer_that_was_stopped_or_closed_does_not_fire(loop: Loop, wheel: Wheel) -> None:
    fired: list[str] = []
    stopped, closed = Timer(wheel), Timer(wheel)
    stopped.set(1, lambda: fired.append("stopped"))
    closed.set(1, lambda: fired.append("closed"))
    stopped.stop()
    closed.close()
    assert not stopped.is_set
    assert not closed.is_set
    for _ in range(10):
        loop.turn(0.25)
    assert not fired
    stopped.set(1, lambda: fired.append("again"))
    for _ in range(10):
        loop.turn(0.25)
    assert fired == ["again"]


def test_a_closed_timer_leaves_nothing_on_the_wheel(loop: Loop, wheel: Wheel) -> None:
    timer = Timer(wheel)
    timer.set(60, lambda: None)
    timer.set(30, lambda: None)
    timer.close()
    assert not wheel._buckets
