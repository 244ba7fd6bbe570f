"""A census: who is there, told in slices while people come and go.

Whoever has not been told yet is still to be told; who goes before that was never there, who goes after it is told to be
gone. So at the moment when nothing is left to tell, what was told is exactly who is there, however long it took, and
what is kept is never more than who was there at one time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

M = TypeVar("M", bound=Hashable)


class Slice(NamedTuple, Generic[M]):
    """What is to be told next, in this order."""

    gone: list[M]  # told before, and not there any more
    here: list[M]


class Census(Generic[M]):
    """One telling of everybody to one reader. Tell it who comes and goes until it `is_told`."""

    def __init__(self, members: Iterable[M]) -> None:
        self._untold = dict.fromkeys(members)
        self._gone: dict[M, None] = {}

    @property
    def is_told(self) -> bool:
        """Whether everybody has been told, and nobody of them has gone since."""
        return not (self._untold or self._gone)

    def come(self, member: M) -> None:
        """Somebody is there now who was not."""
        self._untold[member] = None

    def go(self, member: M) -> None:
        """Somebody who was there is not any more."""
        if member in self._untold:
            del self._untold[member]
        else:
            self._gone[member] = None

    def take(self, most: int) -> Slice[M]:
        """The next to be told: all who have gone, and at most so many who are there."""
        gone, self._gone = list(self._gone), {}
        here = [self._untold.popitem()[0] for _ in range(min(most, len(self._untold)))]
        return Slice(gone, here)
