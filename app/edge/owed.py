"""The process-wide budget: when all slow peers together are owed too much, the worst are cut first."""

from __future__ import annotations

from app.edge.outflow import Outflow
from app.edge.wheel import Wheel

CHECK_SECONDS = 1.0


class Owed:
    """The connections whose peers read too slowly now, looked at once a second while there are any."""

    def __init__(self, wheel: Wheel, limit_bytes: int) -> None:
        self._wheel = wheel
        self._limit_bytes = limit_bytes
        self._slow: set[Outflow] = set()
        self._is_watching = False

    def add(self, outflow: Outflow) -> None:
        self._slow.add(outflow)
        if not self._is_watching:
            self._is_watching = True
            self._wheel.after(CHECK_SECONDS, self._watch)

    def discard(self, outflow: Outflow) -> None:
        self._slow.discard(outflow)

    def shed(self) -> None:
        """Abort the connections that are owed most until the rest is within the budget."""
        debts = sorted(((outflow.backlog(), outflow) for outflow in self._slow), key=lambda debt: debt[0])
        total = sum(backlog for backlog, _ in debts)
        while total > self._limit_bytes:
            backlog, outflow = debts.pop()
            total -= backlog
            self._slow.discard(outflow)
            outflow.transport.abort()

    def _watch(self) -> None:
        self.shed()
        self._is_watching = bool(self._slow)
        if self._is_watching:
            self._wheel.after(CHECK_SECONDS, self._watch)
