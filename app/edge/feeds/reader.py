"""Reading a relay's stream slice by slice, from memory or from disk, for one who follows it at his own pace."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.edge.realm import Realm
from app.errors import RelayError
from fanout.event import Event
from fanout.history import History
from fanout.log import OnDisk


class Missing(LookupError):
    """What comes next should be on disk, and is not there; the stream goes on after the offset `to`."""

    def __init__(self, to: int) -> None:
        super().__init__(to)
        self.to = to


class Reader:
    """At most one slice is on its way from disk; `on_slice` is called when it has come, `on_error` when it cannot."""

    __slots__ = ("_after", "_history", "_on_error", "_on_slice", "_realm", "_slice", "is_waiting")

    def __init__(
        self,
        realm: Realm,
        history: History,
        on_slice: Callable[[], None],
        on_error: Callable[[RelayError], None],
    ) -> None:
        self._realm = realm
        self._history = history
        self._on_slice = on_slice
        self._on_error = on_error
        self._after = 0  # what was asked for
        self._slice: Sequence[Event] | None = None
        self.is_waiting = False

    def read(self, after: int, limit_bytes: int) -> Sequence[Event]:
        """The next events after an offset, about so many bytes of them; none if the disk is asked first (`is_waiting`).

        Raises Missing, and LookupError if they are gone: the history tells the gap.
        """
        if self.is_waiting:
            return ()
        found, self._slice = self._slice, None
        if found is None or self._after != after:
            try:
                return self._history.events_after(after, limit_bytes)
            except OnDisk:
                self._ask(after, limit_bytes)
                return ()
        if found and found[0].offset == after + 1:
            return found
        log = self._history.log
        if log is None or after < log.floor:  # cut meanwhile
            raise LookupError
        raise Missing(found[0].offset - 1 if found else self._history.tail)

    def _ask(self, after: int, limit_bytes: int) -> None:
        history, log = self._history, self._history.log
        assert log is not None
        self._after, self.is_waiting = after, True
        self._realm.appender.log.read(log, after, history.head, limit_bytes, self._answer)

    def _answer(self, events: Sequence[Event], error: RelayError | None) -> None:
        self.is_waiting = False
        if error is not None:
            self._on_error(error)
        else:
            self._slice = events
            self._on_slice()
