"""The JSON Schema that a relay's payloads must satisfy: what may be one, and what it says of a payload.

Nothing is ever fetched: a `$ref` leads to a place in the schema itself, and not back to where it stands, so that no
payload is asked without end. `format` is an annotation, as the specification has it by default. Patterns are of the
kind that takes linear time (no look-around, no back-references). The work for a payload is what the schema asks at one
place, at most, times how many values the payload holds; a schema or a payload beyond the bounds is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import jsonschema_rs
import orjson

from app.errors import BadRequest, SchemaViolation

MAX_SCHEMA_BYTES = 64 * 1024
MAX_DEPTH = 64
MAX_COST = 2_000
"""Questions that a schema may ask of one place in a payload."""
MAX_WORK = 4_000_000
"""Questions that may be asked of the payloads of one request."""

_MAX_REASON = 300  # characters; the payload's own may be among them
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=1 << 16, dfa_size_limit=1 << 20)
_PATTERN_COST = 20
_CONST_COST = 4
_CHARACTERS_A_VALUE = 16  # of text, which patterns walk through

_PLAIN = frozenset(("default", "examples", "enum", "required", "type", "dependentRequired"))
_DEFINITIONS = frozenset(("$defs", "definitions"))  # count where a `$ref` leads to them
_BY_NAME = frozenset(("properties", "patternProperties", "dependentSchemas", "dependencies"))
_UNEVALUATED = frozenset(("unevaluatedProperties", "unevaluatedItems"))
_UNEVALUATED_FACTOR = 3  # all that stands beside and below such a keyword is asked again, for it and for its reason
_REFUSED = ("$dynamicRef", "$recursiveRef")


class EventSchema:
    """A schema, ready to be asked. Made by `compile_schema`."""

    def __init__(self, ask: Any, cost: int) -> None:
        self._ask = ask
        self._cost = cost

    def check(self, payload: bytes, work: int = 0) -> int:
        """The work that it took, on top of `work`, to find that a payload satisfies it.

        Raises SchemaViolation, naming the place (a JSON pointer) and why.
        """
        try:
            value = orjson.loads(payload)
        except orjson.JSONDecodeError:
            raise SchemaViolation("The payload is not JSON, which this relay's schema asks for.") from None
        values = 1 + payload.count(b",") + payload.count(b"[") + payload.count(b"{")
        work += self._cost * (values + len(payload) // _CHARACTERS_A_VALUE)
        if work > MAX_WORK:
            raise SchemaViolation("There are too many values here to be asked at once by this relay's schema.")
        try:
            self._ask.validate(value)
        except jsonschema_rs.ValidationError as error:
            raise SchemaViolation(
                f"The payload is not what this relay's schema says, at '{_pointer(error)}': {_reason(error)}."
            ) from None
        return work


@lru_cache(maxsize=1024)
def compile_schema(text: str) -> EventSchema:
    """The schema of this JSON text. Raises BadRequest, saying why it may not be one."""
    if len(text.encode()) > MAX_SCHEMA_BYTES:
        raise BadRequest(f"An event schema holds at most {MAX_SCHEMA_BYTES} bytes.")
    try:
        schema = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The event schema is not JSON: {error}.") from error
    cost = _Walk(schema).cost(schema, "")
    try:
        ask = jsonschema_rs.validator_for(text, offline=True, validate_formats=False, pattern_options=_PATTERNS)
    except ValueError as error:
        where = f" at '{_pointer(error)}'" if getattr(error, "instance_path", None) else ""
        raise BadRequest(f"The event schema is no JSON Schema that can be used{where}: {_reason(error)}.") from None
    return EventSchema(ask, cost)


class _Walk:
    """What a schema asks of one place in a payload, at most."""

    def __init__(self, schema: Any) -> None:
        self._whole = schema
        self._known: dict[str, int] = {}
        self._under_way: set[str] = set()

    def cost(self, schema: Any, path: str, depth: int = 0) -> int:
        if depth > MAX_DEPTH:
            raise BadRequest(f"The event schema is nested deeper than {MAX_DEPTH}.")
        total = 1
        if isinstance(schema, dict):
            for name, value in schema.items():
                total += self._keyword(name, value, f"{path}/{name}", depth + 1)
            if not _UNEVALUATED.isdisjoint(schema):
                total *= _UNEVALUATED_FACTOR
        elif isinstance(schema, list):
            total += sum([self.cost(each, path, depth + 1) for each in schema])
        if total > MAX_COST:
            raise BadRequest("The event schema asks too much of a single value.")
        return total

    def _keyword(self, name: str, value: Any, path: str, depth: int) -> int:
        if name in _REFUSED or (name in ("$id", "id") and depth > 1 and isinstance(value, str)):
            raise BadRequest(f"The event schema has {name!r} at '{path}', which is not understood here.")
        if name == "$ref" and isinstance(value, str):
            return self._reference(value, depth)
        if name in _DEFINITIONS:
            return 0
        if name == "const":
            return _CONST_COST
        if name in _PLAIN:
            return len(value) // 8 if isinstance(value, list | dict | str) else 0
        if name in _BY_NAME and isinstance(value, dict):
            costs = [self.cost(each, f"{path}/{key}", depth + 1) for key, each in value.items()]
            looking = len(value) // 8
            if name == "properties":  # a place has one name
                return max(costs, default=0) + looking
            return sum(costs) + len(value) * _PATTERN_COST
        if name == "pattern":
            return _PATTERN_COST
        return self.cost(value, path, depth) if isinstance(value, dict | list) else 0

    def _reference(self, target: str, depth: int) -> int:
        if target != "#" and not target.startswith("#/"):
            raise BadRequest(f"The event schema refers to {target[:200]!r}; only places in itself, '#/…', can be.")
        if target in self._under_way:
            raise BadRequest(f"The event schema refers to {target[:200]!r} from within: references may not recur.")
        if target not in self._known:
            self._under_way.add(target)
            self._known[target] = self.cost(self._resolve(target), target, depth)
            self._under_way.discard(target)
        return self._known[target]

    def _resolve(self, target: str) -> Any:
        found = self._whole
        for step in _steps(target):
            try:
                found = found[int(step)] if isinstance(found, list) else found[step]
            except (KeyError, IndexError, ValueError, TypeError):
                raise BadRequest(f"The event schema refers to {target[:200]!r}, where nothing is.") from None
        return found


def _steps(target: str) -> Iterable[str]:
    """The steps of a JSON pointer in a fragment (RFC 6901, 6), as far as schemas are named with plain letters."""
    return [step.replace("~1", "/").replace("~0", "~") for step in target.split("/")[1:]]


def _reason(error: Any) -> str:
    reason: str = getattr(error, "message", None) or str(error)
    return reason if len(reason) <= _MAX_REASON else reason[:_MAX_REASON] + "…"


def _pointer(error: Any) -> str:
    """Where in the payload, as a JSON pointer (RFC 6901); '' is the whole."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in error.instance_path)
