"""What is wrong with a body, in words for whoever sent it."""

from __future__ import annotations

from typing import Any

_NO_OBJECT = "the body should be a JSON object, and the header 'Content-Type: application/json' should say so"
_NO_OBJECT_TYPES = frozenset(("model_attributes_type", "model_type", "dict_type"))  # pydantic's names


def reason_of(item: dict[str, Any]) -> str:
    """One of the errors of a `RequestValidationError`, without its place and without the value."""
    if item["type"] in _NO_OBJECT_TYPES and tuple(item["loc"]) == ("body",):
        return _NO_OBJECT  # pydantic sees bytes where the header is missing
    if item["type"] == "extra_forbidden":
        return "is not known here"
    return str(item["msg"]).removeprefix("Value error, ")
