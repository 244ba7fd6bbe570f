"""What a publisher asks of the relay beside the event itself: until when it is good, from when, whether it is kept.

It is said for a whole request in the query, for one event by CloudEvents attributes (`expirytime` is the extension of
that name; the others are ours, and no receiver sees them), in a session by members of `pub`. What an event says itself
stands before what its request says. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import inf
from typing import NamedTuple

from app.errors import BadRequest
from fanout.event import EXPIRY

NOT_BEFORE = "fanwaynotbefore"
RETAIN = "fanwayretain"
KEY = "partitionkey"

MAX_TTL_SECONDS = 31_536_000.0
MAX_KEY_BYTES = 128

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")
_PERIOD = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhd]?)")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Terms(NamedTuple):
    """What a publisher asks for; None: nothing. Times are unix seconds.

    `ttl_seconds`, from when it is published, or `expires_at`: how long it may be given to anybody. `delay_seconds`,
    from when it is accepted, or `not_before`: when it is published. `retain`: whether it becomes its address's last
    event, where the relay keeps those.
    """

    ttl_seconds: float | None = None
    expires_at: float | None = None
    delay_seconds: float | None = None
    not_before: float | None = None
    retain: bool | None = None

    def expiry(self, published_at: float) -> float:
        """When nobody is given it any more."""
        if self.expires_at is not None:
            return self.expires_at
        return inf if self.ttl_seconds is None else published_at + self.ttl_seconds

    def due(self, accepted_at: float) -> float:
        """When it is published; `accepted_at` or earlier: at once."""
        if self.not_before is not None:
            return self.not_before
        return accepted_at + (self.delay_seconds or 0.0)

    def over(self, others: Terms) -> Terms:
        """These, and what `others` ask for where these say nothing."""
        kept = self
        if self.ttl_seconds is None and self.expires_at is None:
            kept = kept._replace(ttl_seconds=others.ttl_seconds, expires_at=others.expires_at)
        if self.delay_seconds is None and self.not_before is None:
            kept = kept._replace(delay_seconds=others.delay_seconds, not_before=others.not_before)
        return kept if self.retain is not None else kept._replace(retain=others.retain)


NO_TERMS = Terms()


def read_terms(said: Mapping[str, str]) -> Terms | None:
    """The terms among texts named as in the query: `ttl`, `not-before`, `retain`; None if there are none.

    Raises BadRequest.
    """
    ttl, not_before, retain = said.get("ttl"), said.get("not-before"), said.get("retain")
    if ttl is None and not_before is None and retain is None:
        return None
    terms = NO_TERMS
    if ttl is not None:
        seconds = _seconds(ttl)
        if seconds is None or not 0 < seconds <= MAX_TTL_SECONDS:
            raise BadRequest("'ttl' is a time to live, such as 30, 30s, 5m, 12h or 7d, of at most 365 days.")
        terms = terms._replace(ttl_seconds=seconds)
    if not_before is not None:
        seconds = _seconds(not_before)
        if seconds is not None:
            terms = terms._replace(delay_seconds=seconds)
        else:
            at = parse_time(not_before)
            if at is None:
                raise BadRequest(
                    "'not-before' is a time such as 2026-01-31T12:00:00Z, or a delay such as 30, 30s or 5m."
                )
            terms = terms._replace(not_before=at)
    if retain is not None:
        terms = terms._replace(retain=_flag("retain", retain))
    return terms


def own_terms(attributes: Mapping[str, str]) -> Terms | None:
    """What an event asks for by its CloudEvents attributes. Raises BadRequest."""
    expiry, not_before, retain = attributes.get(EXPIRY), attributes.get(NOT_BEFORE), attributes.get(RETAIN)
    if expiry is None and not_before is None and retain is None:
        return None
    return Terms(
        expires_at=None if expiry is None else _moment(EXPIRY, expiry),
        not_before=None if not_before is None else _moment(NOT_BEFORE, not_before),
        retain=None if retain is None else _flag(RETAIN, retain),
    )


def check_key(key: str) -> str:
    """A key that makes `partitionkey`. Raises BadRequest."""
    if not 0 < len(key.encode()) <= MAX_KEY_BYTES or not key.isprintable():
        raise BadRequest(f"'key' is 1 to {MAX_KEY_BYTES} bytes of printable text.")
    return key


def parse_time(text: str) -> float | None:
    """An RFC 3339 time as unix seconds; None if it is none."""
    if not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def _seconds(text: str) -> float | None:
    match = _PERIOD.fullmatch(text)
    return None if match is None else float(match[1]) * _UNITS[match[2]]


def _moment(name: str, text: str) -> float:
    at = parse_time(text)
    if at is None:
        raise BadRequest(f"The attribute {name!r} is not an RFC 3339 time.")
    return at


def _flag(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise BadRequest(f"{name!r} is true or false.")
    return text == "true"
