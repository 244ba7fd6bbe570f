"""What the edge asks of the journal, `app.store.journal`: group commits, and reads that do not hold up the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from app.errors import RelayError

Row = tuple[Any, ...]
Statement = tuple[str, Sequence[Row]]


class Journal(Protocol):
    """See there, also for the errors."""

    def write(self, prepare: Callable[[], Sequence[Statement]], done: Callable[[RelayError | None], None]) -> None: ...

    def read(self, sql: str, values: Row, then: Callable[[list[Row], RelayError | None], None]) -> None: ...

    async def rows(self, sql: str, values: Row = (), /) -> list[Row]: ...

    async def commit(self, *statements: Statement) -> None: ...
