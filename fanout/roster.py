"""Listeners by relay and listen address, and the fair choice of one of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

L = TypeVar("L", bound=Hashable)


class Roster(Generic[L]):
    """Who listens where. `pick(n)` gives a uniformly random number of 0 … n - 1."""

    def __init__(self, pick: Callable[[int], int]) -> None:
        self._pick = pick
        self._relays: dict[str, dict[str, list[L]]] = {}  # by relay key, then address
        self._places: dict[L, tuple[str, str, int]] = {}  # where each stands in those lists

    def add(self, relay_key: str, address: str, listener: L) -> None:
        """Enrol a listener at a canonical address of a relay; at one place only, else ValueError."""
        if listener in self._places:
            raise ValueError("the listener is enrolled already")
        here = self._relays.setdefault(relay_key, {}).setdefault(address, [])
        self._places[listener] = (relay_key, address, len(here))
        here.append(listener)

    def remove(self, listener: L) -> None:
        """Strike a listener off; one that is not enrolled is no error."""
        place = self._places.pop(listener, None)
        if place is None:
            return
        relay_key, address, index = place
        addresses = self._relays[relay_key]
        here = addresses[address]
        last = here.pop()
        if last is not listener:  # the last one takes the freed place: no listener is ever searched for
            here[index] = last
            self._places[last] = place
        if not here:
            del addresses[address]
            if not addresses:
                del self._relays[relay_key]

    def choose(self, relay_key: str, address: str, admits: Callable[[L], bool] | None = None) -> L | None:
        """One of the relay's listeners at the longest whole-segment prefix of `address`; None if nobody listens.

        With `admits` one of those that it is true of, None if there is none among them.
        """
        addresses = self._relays.get(relay_key)
        if addresses is None:
            return None
        prefix = address
        while prefix:
            here = addresses.get(prefix)
            if here:
                if admits is not None:
                    here = [listener for listener in here if admits(listener)]
                    if not here:
                        return None
                return here[self._pick(len(here))] if len(here) > 1 else here[0]
            prefix = prefix.rpartition("/")[0]
        return None

    def relay_keys(self) -> Iterable[str]:
        """The relays on which somebody listens; not to be kept while listeners come and go."""
        return self._relays.keys()

    def count(self, relay_key: str) -> int:
        """How many listen on the relay, at whatever address."""
        return sum(map(len, self._relays.get(relay_key, {}).values()))

    def listeners(self, relay_key: str) -> list[L]:
        """All listeners of the relay."""
        return [listener for here in self._relays.get(relay_key, {}).values() for listener in here]
