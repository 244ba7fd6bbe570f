"""What the edge asks of the journal, `app.store.journal`, and of the log in it, `app.store.log`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from app.errors import RelayError
from app.namespace import Relay
from fanout.event import Event
from fanout.history import History
from fanout.log import Log

Row = tuple[Any, ...]
Statement = tuple[str, Sequence[Row]]


class Journal(Protocol):
    """Group commits, and reads that do not hold up the loop."""

    def write(self, prepare: Callable[[], Sequence[Statement]], done: Callable[[RelayError | None], None]) -> None: ...

    def read(self, sql: str, values: Row, then: Callable[[list[Row], RelayError | None], None]) -> None: ...

    async def rows(self, sql: str, values: Row = (), /) -> list[Row]: ...

    async def commit(self, *statements: Statement) -> None: ...


class EventLog(Protocol):
    """The streams of durable relays."""

    def open(self, namespace: str, relay: Relay, new_epoch: Callable[[], str]) -> History: ...

    def take(self, namespace: str, relay: Relay, history: History) -> None: ...

    def settle(self, relay: Relay, log: Log) -> None: ...

    def drop(self, log: Log, head: int) -> None: ...

    def take_retained(self, log: Log) -> Sequence[Event]: ...

    def drop_retained(self, log: Log) -> None: ...

    def statements(self, parts: Mapping[History, Sequence[Event]]) -> list[Statement]: ...

    def appended(self, parts: Mapping[History, Sequence[Event]]) -> None: ...

    def read(
        self, log: Log, after: int, to: int, limit_bytes: int, then: Callable[[list[Event], RelayError | None], None]
    ) -> None: ...
