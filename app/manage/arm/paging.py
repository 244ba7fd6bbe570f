"""Lists in pages: the rest of a list is behind an absolute URL with a `$skiptoken`, which says where it goes on.

The token holds the last name that was seen, so what comes or goes between two pages neither hides nor repeats others.
"""

from __future__ import annotations

import base64
import binascii
import heapq
from collections.abc import Callable, Iterable
from typing import Annotated, TypeVar
from urllib.parse import quote, urlencode

from fastapi import Query

from app.errors import BadRequest
from app.manage.arm.places import Call

T = TypeVar("T")

SkipToken = Annotated[str | None, Query(alias="$skiptoken", include_in_schema=False)]  # opaque, in `nextLink` only


def page(
    call: Call, things: Iterable[T], key: Callable[[T], str], skip_token: str | None
) -> tuple[list[T], str | None]:
    """The page after `skip_token` in the order of `key`, and the URL of the next one. Raises `BadRequest`."""
    size = call.context.arm.page_items
    after = _read(skip_token) if skip_token is not None else None
    left = things if after is None else (thing for thing in things if key(thing) > after)
    found = heapq.nsmallest(size + 1, left, key=key)
    if len(found) <= size:
        return found, None
    query = urlencode({"api-version": call.version, "$skiptoken": _write(key(found[size - 1]))}, safe="$")
    return found[:size], f"{call.origin}{quote(call.request.url.path)}?{query}"


def _write(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def _read(token: str) -> str:
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise BadRequest("The $skiptoken is none that was given out here.") from None
