"""Patterns by segment: finding all that match an address costs by its depth, not by their number."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from fanout.address import Pattern

T = TypeVar("T", bound=Hashable)


class _Node(Generic[T]):
    __slots__ = ("children", "tails", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = {}  # by literal segment, and `*`, which no address holds
        self.values: dict[T, None] = {}  # patterns that end here
        self.tails: dict[T, None] = {}  # patterns that end here in `**`

    @property
    def is_empty(self) -> bool:
        return not (self.children or self.values or self.tails)


class PatternTrie(Generic[T]):
    """Values by pattern. The same value may stand under several patterns; under one it stands once."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def is_empty(self) -> bool:
        """Whether not even an empty level is left."""
        return self._root.is_empty

    def insert(self, pattern: Pattern, value: T) -> None:
        """Put `value` under `pattern`; again is no change."""
        node = self._root
        for segment in _levels(pattern):
            node = node.children.setdefault(segment, _Node())
        here = node.tails if pattern.has_tail else node.values
        self._length += value not in here
        here[value] = None

    def remove(self, pattern: Pattern, value: T) -> None:
        """Take `value` from under `pattern` and prune emptied levels. Raises KeyError if it is not there."""
        path = [self._root]
        levels = _levels(pattern)
        for segment in levels:
            path.append(path[-1].children[segment])
        del (path[-1].tails if pattern.has_tail else path[-1].values)[value]
        self._length -= 1
        for parent, segment in zip(path[-2::-1], reversed(levels), strict=True):
            if not parent.children[segment].is_empty:
                return
            del parent.children[segment]

    def match(self, address: str) -> list[T]:
        """The values of all patterns that match a concrete address; a value once for each such pattern."""
        levels = self._visit(address)
        found = [value for level in levels for node in level for value in node.tails]
        if len(levels) == address.count("/") + 2:
            found += [value for node in levels[-1] for value in node.values]
        return found

    def visits(self, address: str) -> int:
        """How many nodes `match` looks at: what it costs."""
        return sum(map(len, self._visit(address)))

    def _visit(self, address: str) -> list[list[_Node[T]]]:
        """The matching nodes of each level, the root's first, as deep as any go."""
        levels = [[self._root]]
        for segment in address.split("/"):
            below = [
                child
                for node in levels[-1]
                for child in (node.children.get(segment), node.children.get("*"))
                if child is not None
            ]
            if not below:
                break
            levels.append(below)
        return levels


def _levels(pattern: Pattern) -> tuple[str, ...]:
    return pattern.segments[:-1] if pattern.has_tail else pattern.segments
