"""What may be a relay's JSON Schema, and what it says of payloads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.errors import BadRequest, SchemaViolation
from app.event_schema import MAX_SCHEMA_BYTES, MAX_WORK, compile_schema

ORDER = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "https://example.com/order",
    "type": "object",
    "required": ["total"],
    "properties": {
        "total": {"type": "number", "minimum": 0},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
        "a/b": {"const": 1},
    },
    "$defs": {"line": {"type": "object", "properties": {"sku": {"type": "string", "pattern": "^[A-Z]+$"}}}},
}


def doubled(levels: int) -> dict[str, Any]:
    """A small schema that asks each value twice as often with every level."""
    defs = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{levels}": {}}}


def unevaluated(levels: int) -> dict[str, Any]:
    """A small schema whose every level asks what those below have looked at."""
    schema: dict[str, Any] = {"properties": {"a": {"type": "object"}}}
    for _ in range(levels):
        schema = {"anyOf": [schema, {"properties": {"b": True}}], "unevaluatedProperties": {"type": "integer"}}
    return schema


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize("payload", ['{"total": 1}', '{"total": 0.5, "lines": [{"sku": "AB"}], "more": null}'])
def test_a_payload_that_satisfies_it_passes(payload: str) -> None:
    compile_schema(json.dumps(ORDER)).check(payload.encode())


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("{}", "at '': \"total\" is a required property"),
        ('{"total": -1}', "at '/total': -1 is less than"),
        ('{"total": 1, "lines": [{}, {"sku": "a"}]}', "at '/lines/1/sku'"),
        ('{"total": 1, "a/b": 2}', "at '/a~1b'"),
    ],
)
def test_a_payload_that_does_not_is_told_where_and_why(payload: str, says: str) -> None:
    with pytest.raises(SchemaViolation) as caught:
        compile_schema(json.dumps(ORDER)).check(payload.encode())
    assert says in caught.value.message


def test_the_reason_is_short_whatever_the_payload() -> None:
    with pytest.raises(SchemaViolation) as caught:
        compile_schema('{"type": "number"}').check(json.dumps("x" * 100_000).encode())
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ("{", "not JSON"),
        ("[]", "no JSON Schema"),
        ('{"type": "nope"}', "at '/type'"),
        ('{"pattern": "("}', "at '/pattern'"),
        ('{"pattern": "(?=a)b"}', "at '/pattern'"),
        ('{"pattern": "(a{0,1000}){0,1000}"}', "at '/pattern'"),
        ('{"$schema": "http://example.com/mine"}', "meta-schema"),
        ('{"$ref": "http://example.com/other"}', "only places in itself"),
        ('{"$ref": "file:///etc/passwd"}', "only places in itself"),
        ('{"$ref": "other.json#/x"}', "only places in itself"),
        ('{"$ref": "https://json-schema.org/draft/2020-12/schema"}', "only places in itself"),
        ('{"$ref": "#/nowhere"}', "where nothing is"),
        ('{"$ref": "#"}', "may not recur"),
        ('{"properties": {"next": {"$ref": "#"}}}', "may not recur"),
        ('{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}', "may not recur"),
        ('{"$dynamicRef": "#x"}', "not understood"),
        ('{"items": {"$id": "http://example.com/other"}}', "not understood"),
        (json.dumps(doubled(12)), "asks too much"),
        (json.dumps(unevaluated(7)), "asks too much"),
        (json.dumps({"anyOf": [{"const": n} for n in range(2100)]}), "asks too much"),
        (json.dumps(nested(70)), "nested deeper"),
        (json.dumps({"title": "x" * MAX_SCHEMA_BYTES}), "at most"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(schema: str, says: str) -> None:
    with pytest.raises(BadRequest) as caught:
        compile_schema(schema)
    assert says in caught.value.message


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}},
        {"default": {"$ref": "http://example.com/other"}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {}}, "$ref": "#/definitions/a"},
        nested(30),
        doubled(5),
        unevaluated(3),
    ],
)
def test_what_looks_alike_but_is_harmless_can_be_used(schema: Any) -> None:
    compile_schema(json.dumps(schema)).check(b"1")


def test_formats_are_not_asked_for() -> None:
    compile_schema('{"format": "date-time"}').check(b'"tomorrow"')


def test_a_payload_that_would_take_too_long_is_refused() -> None:
    costly = compile_schema(json.dumps({"items": {"anyOf": [{"const": n} for n in range(100)]}}))
    costly.check(json.dumps([1] * 1000).encode())
    with pytest.raises(SchemaViolation, match="too many values"):
        costly.check(json.dumps([1] * 100_000).encode())


def test_the_payloads_of_one_request_share_its_work() -> None:
    costly = compile_schema(json.dumps({"items": {"anyOf": [{"const": n} for n in range(100)]}}))
    payload, work = json.dumps([1] * 1000).encode(), 0
    for _ in range(5):
        work = costly.check(payload, work)
    assert 0 < work < MAX_WORK
    with pytest.raises(SchemaViolation, match="too many values"):
        costly.check(payload, MAX_WORK - 1)
