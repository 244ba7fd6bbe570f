"""The process-wide budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.edge.owed import Owed


class Debtor:
    """An outflow that owes."""

    def __init__(self, backlog: int) -> None:
        self._backlog = backlog
        self.is_aborted = False
        self.transport = self

    def backlog(self) -> int:
        return self._backlog

    def abort(self) -> None:
        self.is_aborted = True


class Timer:
    """A wheel that is turned by hand."""

    def __init__(self) -> None:
        self.pending: list[Callable[[], None]] = []

    def after(self, seconds: float, callback: Callable[[], None]) -> None:
        self.pending.append(callback)

    def turn(self) -> None:
        pending, self.pending = self.pending, []
        for callback in pending:
            callback()


def owed(limit: int, *backlogs: int) -> tuple[Timer, Owed, list[Any]]:
    timer = Timer()
    together = Owed(timer, limit)  # type: ignore[arg-type]
    debtors: list[Any] = [Debtor(backlog) for backlog in backlogs]
    for debtor in debtors:
        together.add(debtor)
    return timer, together, debtors


def test_within_the_budget_nobody_is_cut() -> None:
    timer, _, debtors = owed(100, 30, 70)
    timer.turn()
    assert not any(debtor.is_aborted for debtor in debtors)


def test_the_worst_are_cut_until_the_rest_fits() -> None:
    timer, _, debtors = owed(100, 30, 80, 60, 10)
    timer.turn()
    assert [debtor.is_aborted for debtor in debtors] == [False, True, False, False]


def test_who_has_caught_up_is_not_counted() -> None:
    timer, together, debtors = owed(100, 90, 80)
    together.discard(debtors[0])
    timer.turn()
    assert not any(debtor.is_aborted for debtor in debtors)


def test_it_looks_only_while_somebody_is_slow() -> None:
    timer, together, debtors = owed(100, 10)
    assert len(timer.pending) == 1
    timer.turn()
    assert len(timer.pending) == 1
    together.discard(debtors[0])
    timer.turn()
    assert timer.pending == []
    together.add(debtors[0])
    assert len(timer.pending) == 1
