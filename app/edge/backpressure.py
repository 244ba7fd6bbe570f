"""Who holds up the publishers of a relay, and who waits for it to have room again.

A subscriber with the policy `block` that owes more than its budget holds its relay. While anybody does, publishers do
not get in: what they ask for waits here, in its order, and each is let in only if nobody holds the relay again.
"""

from __future__ import annotations

from collections.abc import Callable

from app.errors import Overloaded
from app.namespace import Relay

RETRY_SECONDS = 5

Entry = Callable[[], None]


class Backpressure:
    """The held relays of one namespace. `schedule` runs a callback soon, not at once."""

    def __init__(self, schedule: Callable[[Callable[[], None]], None]) -> None:
        self._schedule = schedule
        self._holders: dict[Relay, set[object]] = {}
        self._waiting: dict[Relay, dict[Entry, None]] = {}

    def holds(self, relay: Relay) -> bool:
        """Whether publishers of the relay must wait now."""
        return relay in self._holders

    def hold(self, relay: Relay, holder: object) -> None:
        self._holders.setdefault(relay, set()).add(holder)

    def release(self, relay: Relay, holder: object) -> None:
        """This one holds it no more; one that did not is no error."""
        holders = self._holders.get(relay)
        if holders is None:
            return
        holders.discard(holder)
        if not holders:
            del self._holders[relay]
            self._schedule(lambda: self._let_in(relay))  # not from within a write

    def wait(self, relay: Relay, entry: Entry) -> None:
        """Call `entry` when the relay has room; it asks again, and may wait again."""
        self._waiting.setdefault(relay, {})[entry] = None

    def leave(self, relay: Relay, entry: Entry) -> None:
        """It waits no more; one that does not is no error."""
        waiting = self._waiting.get(relay, {})
        waiting.pop(entry, None)
        if not waiting:
            self._waiting.pop(relay, None)

    def refuse(self, relay: Relay) -> Overloaded:
        """What is said to those who do not, or no longer, wait."""
        return Overloaded(
            f"A subscriber of '{relay.name}' holds up its publishers until it has caught up.",
            retry_after=RETRY_SECONDS,
        )

    def _let_in(self, relay: Relay) -> None:
        """Those who waited until now, in their order, as long as there is room."""
        for entry in [*self._waiting.get(relay, {})]:
            if self.holds(relay):
                return
            self.leave(relay, entry)
            entry()
