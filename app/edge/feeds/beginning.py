"""Where a subscription begins in its relay's stream."""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from app.errors import Unsupported
from app.namespace import Relay
from app.wire.native.query import Start
from fanout.history import Cursor, Gap, History


class Beginning(NamedTuple):
    """Where a subscription begins: what its reader stands at, what it is told to be missing, what follows.

    What follows, but was received before `since`, is not for it: on disk a time is found only about.
    """

    cursor: Cursor
    gap: Gap | None
    after: int
    since: float = -inf


def check_start(relay: Relay, start: Start) -> None:
    """Raises Unsupported where nothing can begin so."""
    if start == "retained" and relay.retain == "none":
        raise Unsupported(f"'{relay.name}' keeps no last events: its setting 'retain' is 'none'.")


def find_beginning(history: History, start: Start) -> Beginning:
    """The place in the stream that `start` means. What cannot be had any more is a gap, never silence."""
    epoch = history.epoch
    if isinstance(start, Cursor):
        after, gap = history.resume(start)
        return Beginning(start if gap else Cursor(epoch, after), gap, after)
    if isinstance(start, float):
        after = history.at(start)
        if history.cut_at >= start:
            zero = Cursor(epoch, 0)
            return Beginning(zero, Gap(zero, Cursor(epoch, after), "history"), after, start)
        return Beginning(Cursor(epoch, after), None, after, start)
    after = history.oldest - 1 if start == "start" else history.head
    return Beginning(Cursor(epoch, after), None, after)
