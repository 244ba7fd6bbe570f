"""Filters: read or refused with a sentence, equal when they ask the same, and true exactly when they should be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire.native.cloudevents import encode_envelope
from fanout.errors import InvalidFilter
from fanout.event import Event
from fanout.filters import MAX_CHARACTERS, MAX_COMPARISONS, MAX_DEPTH, Attributes, Filter, Probe, parse_filter

TEXTS = ["a", "b", "ab", "aab", "fanway.event", "/x", "text/plain", "1.0"]
NAMES = ["type", "source", "subject", "id", "time", "datacontenttype", "specversion", "fanwayaddress", "colour"]
COMPARISONS = st.tuples(
    st.sampled_from(["exact", "prefix", "suffix"]),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(TEXTS), min_size=1, max_size=2),
).map(lambda pair: {pair[0]: pair[1]})


def joined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.tuples(st.sampled_from(["all", "any"]), st.lists(inner, min_size=1, max_size=3))
    return st.one_of(inner.map(lambda one: {"not": one}), lists.map(lambda pair: {pair[0]: pair[1]}))


SIMPLE = st.one_of(COMPARISONS, COMPARISONS.map(lambda one: {"not": one}))
ONES = st.one_of(SIMPLE, joined(SIMPLE), joined(COMPARISONS).map(lambda one: {"any": [one, one]}))
FILTERS = st.one_of(ONES, st.lists(joined(COMPARISONS), max_size=3))
GIVEN = st.none() | st.sampled_from(TEXTS)
EVENTS = st.builds(
    lambda address, id, is_text, content_type, type, source, others: Event(
        address, 7, id or "", b"", is_text, content_type, type, source, None, 1e9, others
    ),
    st.sampled_from(["a", "x", "a/ü"]),
    GIVEN,
    st.booleans(),
    GIVEN,
    GIVEN,
    GIVEN,
    st.dictionaries(st.sampled_from(["subject", "colour"]), st.sampled_from(TEXTS)),
)


def holds(value: Any, context: Mapping[str, str]) -> bool:
    """The specification, read aloud."""
    if isinstance(value, list):
        return all(holds(each, context) for each in value)
    [(dialect, content)] = value.items()
    if dialect == "not":
        return not holds(content, context)
    if dialect == "all":
        return all(holds(each, context) for each in content)
    if dialect == "any":
        return any(holds(each, context) for each in content)
    compare = {"exact": str.__eq__, "prefix": str.startswith, "suffix": str.endswith}[dialect]
    return all(name in context and bool(compare(context[name], text)) for name, text in content.items())


def context_of(event: Event) -> dict[str, str]:
    """The attributes that a subscriber sees, but for the event's place."""
    context: dict[str, str] = json.loads(encode_envelope(event, "0a1b2c3d"))
    del context["fanwaycursor"]
    if not event.id:
        del context["id"]
    return context


def read(value: Any) -> Filter:
    found = parse_filter(value)
    assert found is not None
    return found


@given(FILTERS, EVENTS)
def test_a_filter_holds_where_the_specification_says(value: Any, event: Event) -> None:
    found = parse_filter(value)
    if found is None:
        assert value == []
    else:
        assert found.matches(event) is holds(value, context_of(event))


@given(EVENTS)
def test_attributes_are_those_that_subscribers_see(event: Event) -> None:
    """But for an id that the gateway made up, and the cursor."""
    context, attributes = context_of(event), Attributes(event)
    assert {name: attributes[name] for name in context} == context
    assert attributes["nothing"] == ""


@given(FILTERS, FILTERS, EVENTS)
def test_equal_filters_give_equal_answers(one: Any, other: Any, event: Event) -> None:
    left, right = parse_filter(one), parse_filter(other)
    if left is not None and left == right:
        assert hash(left) == hash(right)
        assert left.matches(event) == right.matches(event)
        assert (left.required, left.is_membership, left.cost) == (right.required, right.is_membership, right.cost)


@given(FILTERS, EVENTS)
def test_what_passes_has_each_required_text_and_where_that_decides_nothing_else_is_needed(
    value: Any, event: Event
) -> None:
    found = parse_filter(value)
    if found is None:
        return
    attributes = Attributes(event)
    has_all = all(probe.of(attributes) in texts for probe, texts in found.required.items())
    if found.matches(event):
        assert has_all
    if found.is_membership:
        assert len(found.required) == 1
        assert has_all == found.matches(event)


@pytest.mark.parametrize(
    "same",
    [
        [{"exact": {"type": "a", "subject": "b"}}, {"all": [{"exact": {"subject": "b"}}, {"exact": {"type": "a"}}]}],
        [{"exact": {"type": "a"}}, [{"exact": {"type": "a"}}], {"any": [{"exact": {"type": "a"}}] * 3}],
        [{"not": {"not": {"prefix": {"type": "a"}}}}, {"prefix": {"type": "a"}}],
        [
            {"any": [{"exact": {"type": "a"}}, {"any": [{"exact": {"type": "b"}}, {"exact": {"type": "c"}}]}]},
            {"any": [{"exact": {"type": text}} for text in "cba"]},
        ],
    ],
)
def test_filters_that_ask_the_same_are_equal_however_written(same: list[Any]) -> None:
    assert {read(value) for value in same} == {read(same[0])}
    assert all(parse_filter(read(value).value) == read(value) for value in same)


TYPE, SUBJECT, SUBJECT_BEGINS = Probe("exact", "type"), Probe("exact", "subject"), Probe("prefix", "subject", 2)


@pytest.mark.parametrize(
    ("value", "required", "is_membership"),
    [
        ({"exact": {"type": "a"}}, {TYPE: {"a"}}, True),
        ({"any": [{"exact": {"type": "a"}}, {"exact": {"type": "b"}}]}, {TYPE: {"a", "b"}}, True),
        ({"any": [{"exact": {"type": "a"}}, {"exact": {"subject": "b"}}]}, {}, False),
        ({"exact": {"type": "a", "subject": "b"}}, {TYPE: {"a"}, SUBJECT: {"b"}}, False),
        ([{"exact": {"type": "a"}}, {"prefix": {"subject": "bc"}}], {TYPE: {"a"}, SUBJECT_BEGINS: {"bc"}}, False),
        ([{"exact": {"type": "a"}}, {"exact": {"type": "b"}}], {TYPE: set()}, False),
        ({"not": {"exact": {"type": "a"}}}, {}, False),
        ({"prefix": {"subject": "ab"}}, {SUBJECT_BEGINS: {"ab"}}, True),
        ({"any": [{"prefix": {"subject": "ab"}}, {"prefix": {"subject": "cd"}}]}, {SUBJECT_BEGINS: {"ab", "cd"}}, True),
        ({"any": [{"prefix": {"subject": "ab"}}, {"prefix": {"subject": "c"}}]}, {}, False),
        ({"any": [{"prefix": {"subject": "ab"}}, {"suffix": {"subject": "ab"}}]}, {}, False),
    ],
)
def test_what_a_filter_requires_is_found(value: Any, required: dict[Probe, set[str]], is_membership: bool) -> None:
    found = read(value)
    assert (found.required, found.is_membership) == (required, is_membership)


def nested(depth: int) -> Any:
    value: Any = {"exact": {"type": "a"}}
    for _ in range(depth):
        value = {"not": value}
    return value


def listed(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (nested(10_000), "deeper than 7"),
        (nested(MAX_DEPTH - 1), "deeper than 7"),
        (listed(10_000), "an object with one dialect"),
        ([nested(10_000)], "deeper than 7"),
        ({"any": [{"exact": {"type": str(number)}} for number in range(10_000)]}, "64 comparisons"),
        ([{"exact": {"type": "a"}}] * 10_000, "64 comparisons"),
        ({"exact": {f"a{number}": "x" for number in range(MAX_COMPARISONS + 1)}}, "64 comparisons"),
        ({"exact": {"type": "x" * 10_000_000}}, "4096 characters"),
        ({"any": [{"prefix": {"type": "x" * (MAX_CHARACTERS // 2)}}] * 2}, "4096 characters"),
        ({"x" * 10_000_000: {}}, "'xxxxxxx"),
        ({"exact": {"x" * 10_000_000: "a"}}, "no attribute name"),
        ({"exact": {"Type": "a"}}, "no attribute name"),
        ({"exact": {"": "a"}}, "no attribute name"),
        ({"exact": {"type": ""}}, "is empty"),
        ({"exact": {"type": 7}}, "not a string"),
        ({"exact": {"type": ["a"]}}, "not a string"),
        ({"exact": {"type": "a\ud800"}}, "lone surrogate"),
        ({"exact": {"data": "a"}}, "not its data"),
        ({"suffix": {"fanwaycursor": ":7"}}, "begin there with 'from'"),
        ({"exact": {}}, "an object of attribute names"),
        ({"prefix": "type"}, "an object of attribute names"),
        ({"all": []}, "a list of one filter or more"),
        ({"any": {"exact": {"type": "a"}}}, "a list of one filter or more"),
        ({"not": [{"exact": {"type": "a"}}]}, "an object with one dialect"),
        ({"sql": "type = 'a'"}, "'sql' is not one of: exact, prefix, suffix, all, any, not"),
        ({"exact": {"type": "a"}, "prefix": {"type": "a"}}, "an object with one dialect"),
        ({}, "an object with one dialect"),
        (None, "an object with one dialect"),
        (True, "an object with one dialect"),
        (7.5, "an object with one dialect"),
        ("exact", "an object with one dialect"),
        ([[]], "an object with one dialect"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)
def test_bad_filters_are_refused_with_a_sentence(value: Any, words: str) -> None:
    """W16: deep, wide, huge, or nothing of the kind; never a recursion error."""
    with pytest.raises(InvalidFilter) as caught:
        parse_filter(value)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["exact", "prefix", "all", "any", "not", "sql", "type"]), inner, max_size=2),
    ),
)


@given(JSON)
def test_any_json_is_a_filter_or_refused_as_one(value: Any) -> None:
    """S50."""
    try:
        found = parse_filter(value)
    except InvalidFilter as refused:
        assert len(str(refused)) < 200  # noqa: PT017 (most are refused, some are not)
    else:
        assert (found is None) == (value == [])


def test_as_much_as_is_allowed_is_read() -> None:
    assert read(nested(MAX_DEPTH - 2)) == read({"not": {"exact": {"type": "a"}}})
    deep = {"all": [{"any": [{"not": {"exact": {f"a{one}": "x", f"b{one}": "y"}}} for one in range(32)]}]}
    assert read(deep).cost == MAX_COMPARISONS
    assert read({"exact": {"type": "x" * (MAX_CHARACTERS - 4)}}).cost == 1
    assert parse_filter([]) is None
