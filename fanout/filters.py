"""Filters: which events of its pattern a subscription wants, by their context attributes.

The dialects are the six that CloudEvents Subscriptions asks for (1.0-wip, 3.2.4.1.1): `exact`, `prefix` and
`suffix` compare attributes with texts, `all`, `any` and `not` join such. A filter is read once, into a form in
which equal filters are equal however they were written, so that subscriptions with the same one share its answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fanout.errors import InvalidFilter
from fanout.event import DEFAULT_TYPE, EXPIRY, Event, default_content_type, default_source, rfc3339

MAX_DEPTH = 7
"""Objects and lists within each other: `all` of `any` of `not`. The header that carries one is the eighth."""
MAX_COMPARISONS = 64
MAX_CHARACTERS = 4096  # of attribute names and texts together

_NAME = re.compile(r"[a-z0-9]{1,64}")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # which JSON can spell, and no text can hold
_COMPARING = ("exact", "prefix", "suffix")
_DIALECTS = "exact, prefix, suffix, all, any, not"
_UNFILTERED = {
    "data": "is not an attribute: filters see an event's attributes, not its data",
    "fanwaycursor": "is an event's place in the stream: begin there with 'from' instead",
}

_Expression = tuple[Any, ...]
"""`("exact" | "prefix" | "suffix", name, text)`, `("all" | "any", (expression, …))` in order, `("not", expression)`."""


class Attributes(dict[str, str]):
    """The context attributes of an event as its subscribers see them, each found when it is first asked for.

    Empty is what it does not have. An id that the gateway makes up is not there: it is the place in the stream.
    """

    __slots__ = ("_event",)

    def __init__(self, event: Event) -> None:
        self._event = event

    def __missing__(self, name: str) -> str:
        read = _READERS.get(name)
        value = self[name] = self._event.attributes.get(name, "") if read is None else read(self._event)
        return value


_READERS: dict[str, Callable[[Event], str]] = {
    "specversion": lambda event: "1.0",
    "id": lambda event: event.id,
    "source": lambda event: event.source or default_source(event.address),
    "type": lambda event: event.type or DEFAULT_TYPE,
    "time": lambda event: event.time or rfc3339(event.received_at),
    "datacontenttype": lambda event: event.content_type or default_content_type(event.is_text),
    "fanwayaddress": lambda event: event.address,
    EXPIRY: lambda event: event.extensions().get(EXPIRY, ""),
}


class Probe(NamedTuple):
    """A part of an attribute by which filters can be found: all of it (`exact`), or so much of its beginning or end."""

    dialect: str
    name: str
    length: int = 0

    def of(self, attributes: Mapping[str, str]) -> str:
        """What an event has there."""
        value = attributes[self.name]
        if not self.length:
            return value
        return value[: self.length] if self.dialect == "prefix" else value[-self.length :]


class Filter:
    """A condition on an event's attributes; equal to every other that asks the same comparisons in the same way.

    `holds` answers for `Attributes`. `cost` is how many comparisons an answer takes at most. `required` are the
    probes that give one of certain values for every event that passes; if `is_membership`, that alone decides.
    `value` is the JSON value that it was read from, for those who keep filters.
    """

    __slots__ = ("_expression", "_hash", "cost", "holds", "is_membership", "required", "value")

    def __init__(self, expression: _Expression, value: Any) -> None:
        self._expression = expression
        self._hash = hash(expression)
        self.value = value
        self.cost = _cost(expression)
        self.holds: Callable[[Mapping[str, str]], bool] = _compiled(expression)
        self.required = _required(expression)
        self.is_membership = bool(self.required) and all(part[0] in _COMPARING for part in _parts(expression, "any"))

    def matches(self, event: Event) -> bool:
        """Whether the event passes."""
        return self.holds(Attributes(event))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and self._expression == other._expression

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Filter({self.value!r})"


def parse_filter(value: Any) -> Filter | None:
    """The filter that a decoded JSON value spells: one, or a list of them that all must hold. None: it asks nothing.

    Raises `InvalidFilter` with the reason; whatever the value is, that takes no longer than reading a large filter.
    """
    reader = _Reader()
    if not isinstance(value, list):
        return Filter(reader.read(value, 0), value)
    return Filter(_joined("all", [reader.read(each, 1) for each in value]), value) if value else None


class _Reader:
    """Reads one filter, and counts what it holds."""

    def __init__(self) -> None:
        self._comparisons = 0
        self._characters = 0

    def read(self, value: Any, above: int) -> _Expression:
        """One expression, with so many objects and lists around it."""
        if above + 2 > MAX_DEPTH:
            raise InvalidFilter(f"The filter is nested deeper than {MAX_DEPTH} objects and lists.")
        if not isinstance(value, dict) or len(value) != 1:
            raise InvalidFilter('A filter is an object with one dialect, such as {"exact": {"type": "order.created"}}.')
        [(dialect, content)] = value.items()
        if dialect in _COMPARING:
            return self._read_comparisons(dialect, content)
        if dialect == "not":
            inner = self.read(content, above + 1)
            return tuple(inner[1]) if inner[0] == "not" else ("not", inner)
        if dialect not in ("all", "any"):
            raise InvalidFilter(f"The filter dialect {str(dialect)[:40]!r} is not one of: {_DIALECTS}.")
        if not isinstance(content, list) or not content:
            raise InvalidFilter(f"The filter {dialect!r} holds a list of one filter or more.")
        return _joined(dialect, [self.read(each, above + 2) for each in content])

    def _read_comparisons(self, dialect: str, content: Any) -> _Expression:
        if not isinstance(content, dict) or not content:
            raise InvalidFilter(f"The filter {dialect!r} holds an object of attribute names and texts.")
        found = []
        for name, text in content.items():
            self._comparisons += 1
            if self._comparisons > MAX_COMPARISONS:
                raise InvalidFilter(f"A filter makes at most {MAX_COMPARISONS} comparisons.")
            if name in _UNFILTERED:
                raise InvalidFilter(f"{name!r} cannot be filtered by; it {_UNFILTERED[name]}.")
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise InvalidFilter(f"{str(name)[:40]!r} is no attribute name: lower-case ASCII letters and digits.")
            if not isinstance(text, str) or not text:
                raise InvalidFilter(f"The filter compares {name!r} with something that is not a string, or is empty.")
            if _SURROGATE.search(text):
                raise InvalidFilter(f"The filter compares {name!r} with half a character (a lone surrogate).")
            self._characters += len(name) + len(text)
            if self._characters > MAX_CHARACTERS:
                raise InvalidFilter(f"A filter's attribute names and texts hold at most {MAX_CHARACTERS} characters.")
            found.append((dialect, name, text))
        return _joined("all", found)


def _joined(kind: str, parts: list[_Expression]) -> _Expression:
    """All, or any, of these, in the one form that such have."""
    flat = {inner for part in parts for inner in _parts(part, kind)}
    return (kind, tuple(sorted(flat))) if len(flat) > 1 else flat.pop()


def _parts(expression: _Expression, kind: str) -> tuple[_Expression, ...]:
    """What an expression of this kind joins; any other is its own only part."""
    return expression[1] if expression[0] == kind else (expression,)


def _cost(expression: _Expression) -> int:
    kind = expression[0]
    if kind in ("all", "any"):
        return sum(map(_cost, expression[1]))
    return _cost(expression[1]) if kind == "not" else 1


def _required(expression: _Expression) -> dict[Probe, frozenset[str]]:
    """By probe, the values of which it must give one for the expression to hold."""
    kind = expression[0]
    if kind in _COMPARING:
        _, name, text = expression
        return {Probe(kind, name, 0 if kind == "exact" else len(text)): frozenset((text,))}
    found: dict[Probe, frozenset[str]] = {}
    if kind == "all":
        for part in map(_required, expression[1]):
            for probe, values in part.items():
                found[probe] = found.get(probe, values) & values
    elif kind == "any":
        first, *others = map(_required, expression[1])
        for probe, values in first.items():
            if all(probe in other for other in others):
                found[probe] = values.union(*(other[probe] for other in others))
    return found


def _compiled(expression: _Expression) -> Callable[[Mapping[str, str]], bool]:
    """The expression as a function: an attribute that is not there is an empty text, which no comparison fits."""
    kind = expression[0]
    if kind in ("all", "any"):
        parts = tuple(map(_compiled, expression[1]))
        until = kind == "any"

        def joined(attributes: Mapping[str, str]) -> bool:
            for part in parts:  # a loop: a generator costs more than most comparisons
                if part(attributes) is until:
                    return until
            return not until

        return joined
    if kind == "not":
        inner = _compiled(expression[1])
        return lambda attributes: not inner(attributes)
    _, name, text = expression
    if kind == "exact":
        return lambda attributes: attributes[name] == text
    if kind == "prefix":
        return lambda attributes: attributes[name].startswith(text)
    return lambda attributes: attributes[name].endswith(text)
