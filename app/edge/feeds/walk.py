"""The way of one subscription through the last events of a relay's addresses."""

from __future__ import annotations

from fanout.address import Pattern
from fanout.event import Event
from fanout.retained import Retained


class Walk:
    """Through what is retained after the offset `after` up to `up_to`, in increasing offset, slice by slice.

    What changes on the way lies behind `up_to`, and comes to the subscription as every later event does. `is_torn`: the
    history between those offsets is lost, and this is what is left of it.
    """

    __slots__ = ("_pattern", "_place", "_retained", "is_torn", "up_to")

    def __init__(
        self, retained: Retained, pattern: Pattern, up_to: int, *, after: int = 0, is_torn: bool = False
    ) -> None:
        self._retained = retained
        self._pattern = pattern
        self._place = after
        self.up_to = up_to
        self.is_torn = is_torn

    @property
    def is_over(self) -> bool:
        return self._place >= self.up_to

    def read(self, limit_bytes: int) -> list[Event]:
        """The next slice; it may be empty before the end, and hold what has expired."""
        if self._pattern.is_concrete:
            event = self._retained.get(self._pattern.text)
            is_due = event is not None and self._place < event.offset <= self.up_to
            self._place = self.up_to
            return [event] if event is not None and is_due else []
        events, self._place = self._retained.after(self._place, self.up_to, limit_bytes)
        return events
