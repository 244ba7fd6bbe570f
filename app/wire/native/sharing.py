"""With whom a subscription is shared, and how: what a session's `sub`, a query and the API say of it. No I/O.

Numbers come as JSON numbers from a session, as text from a query; both mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.errors import BadRequest
from fanout.address import check_address

MOST_CREDIT = 65_536
MOST_DELIVERIES = 1000
MOST_IN_FLIGHT = 10_000
MOST_ACK_WAIT_SECONDS = 3600.0
MOST_DELAY_SECONDS = 3600.0
MOST_REASON_CHARACTERS = 256

_NAME = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,64}")
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,6})?")

OF_DURABLES = ("ack_wait", "max_deliveries", "max_in_flight", "dead_letter")
OPTIONS = ("group", "durable", "key", "credit", *OF_DURABLES)


@dataclass(frozen=True, slots=True)
class Sharing:
    """A group or a durable subscription, by name, and what is said of it; None: nothing, so that it is as it is."""

    group: str | None = None
    durable: str | None = None
    key: str | None = None
    credit: int | None = None
    ack_wait: float | None = None  # seconds
    max_deliveries: int | None = None  # 0: no end
    max_in_flight: int | None = None
    dead_letter: str | None = None  # an address; '': none


def parse_sharing(options: Mapping[str, object]) -> Sharing | None:
    """What `options` say of sharing; None where they say nothing. Raises BadRequest."""
    given = [name for name in OPTIONS if name in options]
    if not given:
        return None
    _check_together(given)
    return Sharing(
        group=_name(options, "group"),
        durable=_name(options, "durable"),
        key=_key(options),
        credit=_whole(options, "credit", 1, MOST_CREDIT),
        ack_wait=_seconds(options, "ack_wait", 1.0, MOST_ACK_WAIT_SECONDS),
        max_deliveries=_whole(options, "max_deliveries", 0, MOST_DELIVERIES),
        max_in_flight=_whole(options, "max_in_flight", 1, MOST_IN_FLIGHT),
        dead_letter=_dead_letter(options),
    )


def check_name(text: str) -> str:
    """The name of a group or a durable subscription. Raises BadRequest."""
    if not _NAME.fullmatch(text):
        raise BadRequest("A name of a group or a durable subscription is 1 to 64 of the characters A-Z a-z 0-9 . _ ~ -")
    return text


def parse_delay(value: object, default: float) -> float:
    """The `delay` of a `nack`, in seconds. Raises BadRequest."""
    found = _seconds({"delay": value}, "delay", 0.0, MOST_DELAY_SECONDS) if value is not None else None
    return default if found is None else found


def parse_reason(value: object) -> str:
    """The `reason` of a `nack`. Raises BadRequest."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MOST_REASON_CHARACTERS or not value.isprintable():
        raise BadRequest(f"'reason' is a text of at most {MOST_REASON_CHARACTERS} printable characters.")
    return value


def _check_together(given: Iterable[str]) -> None:
    if "group" in given and "durable" in given:
        raise BadRequest("'group' and 'durable' exclude each other: consumers of a durable subscription share it.")
    for name in given:
        if name in OF_DURABLES and "durable" not in given:
            raise BadRequest(f"'{name}' is of durable subscriptions; name one with 'durable'.")
        if name in ("key", "credit") and not ("durable" in given or "group" in given):
            raise BadRequest(f"'{name}' needs a 'group' or a 'durable' subscription.")


def _name(options: Mapping[str, object], option: str) -> str | None:
    value = options.get(option)
    if value is None:
        return None
    return check_name(value if isinstance(value, str) else "")


def _key(options: Mapping[str, object]) -> str | None:
    value = options.get("key")
    if value is not None and not (isinstance(value, str) and _ATTRIBUTE.fullmatch(value)):
        raise BadRequest("'key' names an attribute, such as partitionkey: lower-case ASCII letters and digits.")
    return value


def _dead_letter(options: Mapping[str, object]) -> str | None:
    value = options.get("dead_letter")
    if value is None or value == "":
        return None if value is None else ""
    if not isinstance(value, str):
        raise BadRequest("'dead_letter' is an address.")
    return check_address(value)


def _whole(options: Mapping[str, object], name: str, least: int, most: int) -> int | None:
    found = _seconds(options, name, least, most)
    if found is not None and found != int(found):
        raise BadRequest(f"'{name}' is a whole number from {least} to {most}.")
    return None if found is None else int(found)


def _seconds(options: Mapping[str, object], name: str, least: float, most: float) -> float | None:
    value = options.get(name)
    if value is None:
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BadRequest(f"{name!r} is a number from {least:g} to {most:g}.")
    return float(value)
