"""What became of the deliveries of a push subscription: the last of them, the newest first, in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

KEPT = 256

Result = Literal["delivered", "failed", "dead", "gone", "lost"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request and what came of it. Times are unix seconds; `status` is None where there was no answer.

    Of events that were lost before any (`lost`) `attempt` is 0, and `cursor` is that of the last.
    """

    cursor: str
    address: str
    attempt: int
    at: float
    milliseconds: float
    status: int | None
    error: str
    result: Result
    next_at: float | None
    tracking_id: str


class DeliveryLog:
    """The last attempts of one subscription."""

    def __init__(self) -> None:
        self._attempts: deque[Attempt] = deque(maxlen=KEPT)

    def add(self, attempt: Attempt) -> None:
        self._attempts.append(attempt)

    def __iter__(self) -> Iterator[Attempt]:
        """The newest first."""
        return reversed(self._attempts)
