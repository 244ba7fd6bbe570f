"""Listeners by relay and listen address, and the fair choice of one of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from fanout.address import Pattern

L = TypeVar("L", bound=Hashable)


class Roster(Generic[L]):
    """Who listens where. `pick(n)` gives a uniformly random number of 0 … n - 1."""

    def __init__(self, pick: Callable[[int], int]) -> None:
        self._pick = pick
        self._relays: dict[str, dict[str, list[L]]] = {}  # by relay key, then address
        self._places: dict[L, tuple[str, str, int]] = {}  # where each stands in those lists
        # By relay key, then place: the places right below it, each an address of listeners or on the way to one.
        self._below: dict[str, dict[str, dict[str, None]]] = {}

    def add(self, relay_key: str, address: str, listener: L) -> None:
        """Enrol a listener at a canonical address of a relay; at one place only, else ValueError."""
        if listener in self._places:
            raise ValueError("the listener is enrolled already")
        here = self._relays.setdefault(relay_key, {}).setdefault(address, [])
        if not here:
            self._link(relay_key, address)
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
            self._unlink(relay_key, address)
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

    def matching(self, relay_key: str, pattern: Pattern) -> list[tuple[str, tuple[L, ...]]]:
        """The relay's addresses that the pattern matches, each with its listeners: at that very address, not below.

        The cost is that of the places along the pattern, not of all that there are.
        """
        addresses, below = self._relays.get(relay_key, {}), self._below.get(relay_key, {})
        places = [pattern.prefix]
        for segment in pattern.segments[pattern.prefix.count("/") + 1 :]:
            if segment == "**":
                for place in places:  # which grows meanwhile
                    places += below.get(place, ())
            elif segment == "*":
                places = [inner for place in places for inner in below.get(place, ())]
            else:
                places = [f"{place}/{segment}" for place in places if f"{place}/{segment}" in below.get(place, ())]
        return [(place, tuple(addresses[place])) for place in places if place in addresses]

    def relay_keys(self) -> Iterable[str]:
        """The relays on which somebody listens; not to be kept while listeners come and go."""
        return self._relays.keys()

    def count(self, relay_key: str) -> int:
        """How many listen on the relay, at whatever address."""
        return sum(map(len, self._relays.get(relay_key, {}).values()))

    def count_at(self, relay_key: str, address: str) -> int:
        """How many listen at just this address of the relay."""
        return len(self._relays.get(relay_key, {}).get(address, ()))

    def listeners(self, relay_key: str) -> list[L]:
        """All listeners of the relay."""
        return [listener for here in self._relays.get(relay_key, {}).values() for listener in here]

    def _link(self, relay_key: str, address: str) -> None:
        """Make a new address known to the places above it, up to the relay's own."""
        while len(address) > len(relay_key):
            parent = address.rpartition("/")[0]
            below = self._below.setdefault(relay_key, {})
            if parent in below:  # so that those above know of it
                below[parent][address] = None
                return
            below[parent] = {address: None}
            address = parent

    def _unlink(self, relay_key: str, address: str) -> None:
        """Undo that for an address without listeners, and for each place that leads nowhere any more."""
        addresses, below = self._relays[relay_key], self._below.get(relay_key, {})
        while len(address) > len(relay_key) and address not in addresses and address not in below:
            parent = address.rpartition("/")[0]
            del below[parent][address]
            if below[parent]:
                return
            del below[parent]
            address = parent
        if not below:
            self._below.pop(relay_key, None)
