"""Events that come again: an id is known for a while, and who publishes it once more is told of the first time.

Theory. An id is *under way* from when its event is accepted until its receipt is there, and who repeats it meanwhile
waits for that: he succeeds with it, or his event is tried anew. Then it is *known*, by the receipt, for as long as its
relay says. What is known takes memory, so it has a bound for each relay, beyond which the oldest are forgotten first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from app.wire.native.publication import Publication
from app.wire.native.receipt import PublishReceipt

if TYPE_CHECKING:
    from app.edge.journal import EventLog
    from app.edge.realm import Realm

ID_BYTES = 200  # that an id takes besides its own, about
MOST_LOADED = 100_000  # ids that are known again after a start, of one relay
_Waiting = Callable[[PublishReceipt | None], None]
"""Told the receipt of the event that came first, or None if that came to nothing."""


class _Known(NamedTuple):
    """When it was accepted, and what its publisher was told: the event's place, or the place where it waits."""

    at: float
    id: str
    cursor: str | None
    due: str | None
    number: int | None


class Duplicates:
    """The ids known of one relay's events, in at most `limit_bytes` of memory, about."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._bytes = 0
        self._known: dict[str, _Known] = {}  # the oldest first
        self._under_way: dict[str, list[_Waiting]] = {}

    def __len__(self) -> int:
        return len(self._known) + len(self._under_way)

    def find(self, key: str) -> PublishReceipt | None:
        """The receipt of an event that is known, as who repeats it gets it."""
        known = self._known.get(key)
        if known is None:
            return None
        return PublishReceipt(known.id, known.cursor, 0, 0, 0, 0, True, known.due, known.number)

    def waits(self, key: str, waiting: _Waiting) -> bool:
        """Whether the event is under way; then `waiting` is told what became of it."""
        others = self._under_way.get(key)
        if others is None:
            return False
        others.append(waiting)
        return True

    def begin(self, key: str) -> None:
        """Its event is under way."""
        self._under_way[key] = []

    def end(self, key: str, receipt: PublishReceipt | None, at: float) -> None:
        """It was accepted at Unix time `at`, or came to nothing: then the first who repeated it is to try anew."""
        waiting = self._under_way.pop(key, [])
        if receipt is not None:
            self.note(key, receipt, at)
            receipt = self.find(key)
        for each in waiting:
            each(receipt)

    def note(self, key: str, receipt: PublishReceipt, at: float) -> None:
        """It is known from now, since Unix time `at`."""
        self.forget(key)
        self._known[key] = _Known(at, receipt.id, receipt.cursor, receipt.due, receipt.number)
        self._bytes += len(key) + ID_BYTES
        while self._bytes > self._limit:
            self.forget(next(iter(self._known)))

    def prune(self, before: float) -> None:
        """Forget what was accepted before that time."""
        while self._known:
            key = next(iter(self._known))
            if self._known[key].at >= before:
                return
            self.forget(key)

    def forget(self, key: str) -> None:
        """Who repeats it from now is not told of it."""
        if self._known.pop(key, None) is not None:
            self._bytes -= len(key) + ID_BYTES


async def load_ids(realms: Iterable[Realm], log: EventLog, now: float) -> None:
    """Know again the ids of what durable relays hold on disk. Raises StoreUnavailable."""
    for realm in realms:
        for relay in realm.namespace.relays.values():
            history = realm.history(relay) if relay.history.keep == "durable" else None
            if history is None or history.log is None or not relay.dedup_seconds:
                continue
            since = now - relay.dedup_seconds
            ids = await log.ids(history.log, history.log.at(since), MOST_LOADED)
            for offset, address, id, source, received_at in ids:
                if received_at >= since:
                    receipt = PublishReceipt(id, f"{history.epoch}:{offset}", 0, 0, 0, 0)
                    realm.duplicates(relay).note(key_from(source, address, id), receipt, received_at)


def key_of(publication: Publication, address: str) -> str:
    """What makes two events the same: the address, the source if there is one, and the id.

    Without the address somebody who may publish at one could keep events of others away from theirs.
    """
    return key_from(publication.source, address, publication.id)


def key_from(source: str | None, address: str, id: str) -> str:
    """The same of its parts; no attribute holds a line feed."""
    return f"{address}\n{source or ''}\n{id}"
