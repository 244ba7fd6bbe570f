"""How long to wait before the next attempt: exponential with full jitter, so that a thousand clients
of a restarted gateway do not return in one moment.
"""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Delays in seconds: the first attempt after a loss comes within `first`, then twice that, up to `most`."""

    def __init__(
        self, first: float = 0.5, most: float = 30.0, chance: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._first = first
        self._most = most
        self._chance = chance
        self._ceiling = first

    def reset(self) -> None:
        """Call after a success."""
        self._ceiling = self._first

    def next(self, after: float = 0.0) -> float:
        """The next delay, at least `after` (what the gateway asked for) plus jitter."""
        ceiling, self._ceiling = self._ceiling, min(self._ceiling * 2, self._most)
        return after + self._chance(0.0, ceiling)
