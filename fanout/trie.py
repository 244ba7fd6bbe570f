"""Patterns by segment: finding all that match an address costs by its depth, not by their number.

Segments that no other pattern shares lie together in one node, so that a pattern costs one node and not one a
segment, and patterns made to fail only at their end cost one comparison each.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from fanout.address import Pattern

T = TypeVar("T", bound=Hashable)


class _Node(Generic[T]):
    """A place where patterns part or end: it is reached when the segments of `skip` have followed the one before."""

    __slots__ = ("any", "children", "skip", "tails", "values")

    def __init__(self, skip: tuple[str, ...] = ()) -> None:
        self.skip = skip  # literals and `*`
        self.children: dict[str, _Node[T]] | None = None  # by literal segment
        self.any: _Node[T] | None = None  # after `*`
        self.values: tuple[T, ...] = ()  # patterns that end here
        self.tails: tuple[T, ...] = ()  # patterns that end here in `**`

    @property
    def is_empty(self) -> bool:
        return not (self.children or self.any or self.values or self.tails)

    def child(self, segment: str) -> _Node[T] | None:
        if segment == "*":
            return self.any
        return self.children.get(segment) if self.children else None

    def adopt(self, segment: str, child: _Node[T] | None) -> None:
        """Have this child after `segment`, or none."""
        if segment == "*":
            self.any = child
        elif child is not None:
            self.children = self.children or {}
            self.children[segment] = child
        elif self.children is not None:
            del self.children[segment]
            self.children = self.children or None

    def split(self, length: int) -> None:
        """Become two: this one with only so many segments of `skip`, and below it all else."""
        below: _Node[T] = _Node(self.skip[length + 1 :])
        below.children, below.any, below.values, below.tails = self.children, self.any, self.values, self.tails
        segment, self.skip = self.skip[length], self.skip[:length]
        self.children, self.any, self.values, self.tails = None, None, (), ()
        self.adopt(segment, below)


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
        """Put `value` under `pattern`; again is no change. Few values are expected under one pattern."""
        node, rest = self._root, _levels(pattern)
        while rest:
            segment, rest = rest[0], rest[1:]
            child = node.child(segment)
            if child is None:
                child = _Node(rest)
                node.adopt(segment, child)
            shared = _common(child.skip, rest)
            if shared < len(child.skip):
                child.split(shared)
            node, rest = child, rest[shared:]
        here = node.tails if pattern.has_tail else node.values
        if value in here:
            return
        self._length += 1
        if pattern.has_tail:
            node.tails = (*here, value)
        else:
            node.values = (*here, value)

    def remove(self, pattern: Pattern, value: T) -> None:
        """Take `value` from under `pattern` and prune emptied places. Raises KeyError if it is not there."""
        path: list[tuple[_Node[T], str]] = []  # each place passed, and the segment that led on
        node, rest = self._root, _levels(pattern)
        while rest:
            child = node.child(rest[0])
            if child is None or rest[1 : 1 + len(child.skip)] != child.skip:
                raise KeyError(pattern.text)
            path.append((node, rest[0]))
            node, rest = child, rest[1 + len(child.skip) :]
        here = node.tails if pattern.has_tail else node.values
        if value not in here:
            raise KeyError(pattern.text)
        left = tuple(other for other in here if other != value)
        if pattern.has_tail:
            node.tails = left
        else:
            node.values = left
        self._length -= 1
        for parent, segment in reversed(path):
            if not node.is_empty:
                return
            parent.adopt(segment, None)
            node = parent

    def match(self, address: str) -> list[T]:
        """The values of all patterns that match a concrete address; a value once for each such pattern."""
        segments = tuple(address.split("/"))
        end = len(segments)
        found: list[T] = []
        ahead = [(self._root, 0)]  # places, and how many segments led there
        while ahead:
            node, at = ahead.pop()
            skip = node.skip
            if skip:
                here = segments[at : at + len(skip)]
                if here != skip and not _fits(skip, here):
                    continue
                at += len(skip)
            if node.tails:
                found += node.tails
            if at == end:
                found += node.values
                continue
            segment, children = segments[at], node.children
            if children is not None and segment in children:
                ahead.append((children[segment], at + 1))
            if node.any is not None:
                ahead.append((node.any, at + 1))
        return found


def _levels(pattern: Pattern) -> tuple[str, ...]:
    return pattern.segments[:-1] if pattern.has_tail else pattern.segments


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many segments two runs begin with alike."""
    length = 0
    for left, right in zip(one, other, strict=False):  # the longer has more
        if left != right:
            break
        length += 1
    return length


def _fits(skip: tuple[str, ...], segments: tuple[str, ...]) -> bool:
    """Whether these segments, literally or by `*`, are those that must follow."""
    if len(segments) != len(skip):
        return False
    return all(wanted in ("*", segment) for wanted, segment in zip(skip, segments, strict=True))
