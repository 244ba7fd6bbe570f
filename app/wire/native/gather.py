"""Asking all, on the wire: when to stop, and the stream of answers, failures and the summary. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import orjson

from app.errors import BadRequest, RelayError
from app.wire.http import Headers
from app.wire.native import ndjson, sse
from app.wire.native.cloudevents import data_member
from app.wire.native.publication import is_text_body, media_type
from app.wire.native.query import split_options

DEFAULT_WAIT_SECONDS = 10.0
MAX_WAIT_SECONDS = 60.0
MOST_ANSWERS = 10_000
MOST_MISSING = 100  # that a summary names
END_ID = "end"  # of the summary as a server-sent event: who comes back with it has all

Why = Literal["all", "max", "first", "wait", "stall"]
"""Why it is over: everybody has answered or failed, or which rule ended it."""

_OPTIONS = ("max", "wait", "stall", "first")
_COUNT = re.compile(r"[0-9]{1,5}")
_DURATION = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s)?")
# They speak of the stream, not of the single answers in it.
_OF_THE_STREAM = frozenset({"accept", "accept-encoding", "last-event-id"})


class StopRules(NamedTuple):
    """When enough was heard; whichever comes first."""

    max: int | None = None  # answers
    wait_seconds: float = DEFAULT_WAIT_SECONDS  # in all
    stall_seconds: float | None = None  # since the last answer, once there is one
    first: bool = False  # the first answer with a status below 400


def parse_stop_rules(query: str) -> StopRules:
    """The options of the door's query (without `?`). Raises BadRequest: an unknown, repeated or malformed one."""
    options = split_options(query)
    unknown = sorted(name for name in options if name not in _OPTIONS)
    if unknown:
        named = ", ".join(repr(name) for name in unknown)
        raise BadRequest(
            f"Unknown query options: {named}. Known: {', '.join(_OPTIONS)}. What listeners shall know goes into the"
            " body or a header."
        )
    return StopRules(
        max=_count(options["max"]) if "max" in options else None,
        wait_seconds=_duration("wait", options["wait"]) if "wait" in options else DEFAULT_WAIT_SECONDS,
        stall_seconds=_duration("stall", options["stall"]) if "stall" in options else None,
        first=_switch(options["first"]) if "first" in options else False,
    )


def passed_headers(headers: Headers) -> Headers:
    """Those of the sender's headers that are for the listeners."""
    return [(name, value) for name, value in headers if name.lower() not in _OF_THE_STREAM]


class Who(NamedTuple):
    """A listener, as a stream names it: where it listens, its `sb-hc-id` and its instance name."""

    address: str
    listener: str | None
    instance: str | None

    def members(self) -> dict[str, Any]:
        return {name: value for name, value in self._asdict().items() if value is not None}


def answer_members(who: Who, status: int, content_type: str | None, body: bytes) -> dict[str, Any]:
    """An answer: JSON inline, text as a string, else in base64; no data where there is none."""
    members = {**who.members(), "status": status}
    if content_type is not None:
        members["content_type"] = content_type
    if body:
        is_text = is_text_body(media_type(content_type), body)
        name, data = data_member(body, is_text, content_type or "")
        members[name] = data
    return members


def failure_members(who: Who, error: RelayError) -> dict[str, Any]:
    """A listener that gave no answer, and why."""
    return {**who.members(), "error": {"status": error.status, "code": error.code, "message": error.message}}


def summary_members(asked: int, answered: int, failed: int, missing: Sequence[Who], why: Why) -> dict[str, Any]:
    """The last word: `missing` are those who were asked and neither answered nor failed; so many of them are named."""
    named = [who.members() for who in missing[:MOST_MISSING]]
    return {"asked": asked, "answered": answered, "failed": failed, "missing": named, "why": why}


Kind = Literal["answer", "failure", "summary"]


@dataclass(frozen=True, slots=True)
class GatheredLines:
    """One JSON object a line."""

    content_type: str = ndjson.CONTENT_TYPE

    def encode(self, kind: Kind, members: Mapping[str, Any]) -> bytes:
        return orjson.dumps({"type": kind, **members}) + b"\n"


@dataclass(frozen=True, slots=True)
class GatheredEvents:
    """One server-sent event each, of the type that a line would have (WHATWG HTML, section 9.2)."""

    content_type: str = sse.CONTENT_TYPE

    def encode(self, kind: Kind, members: Mapping[str, Any]) -> bytes:
        id = f"id: {END_ID}\n" if kind == "summary" else ""
        return f"event: {kind}\n{id}data: ".encode() + orjson.dumps({"type": kind, **members}) + b"\n\n"


Gathered = GatheredLines | GatheredEvents


def choose_stream(accept: Iterable[str]) -> Gathered:
    """Server-sent events where the caller's Accept headers name them, else lines."""
    wanted = {part.partition(";")[0].strip().lower() for value in accept for part in value.split(",")}
    return GatheredEvents() if sse.CONTENT_TYPE in wanted else GatheredLines()


def _count(value: str) -> int:
    if not _COUNT.fullmatch(value) or not 1 <= int(value) <= MOST_ANSWERS:
        raise BadRequest(f"'max' is a number of answers, 1 to {MOST_ANSWERS}.")
    return int(value)


def _duration(name: str, value: str) -> float:
    match = _DURATION.fullmatch(value)
    seconds = float(match[1]) / (1000 if match[2] == "ms" else 1) if match else 0.0
    if not 0 < seconds <= MAX_WAIT_SECONDS:
        raise BadRequest(f"'{name}' is a time such as 300ms, 2s or 1.5, above 0 and at most {MAX_WAIT_SECONDS:g} s.")
    return seconds


def _switch(value: str) -> bool:
    if value not in ("true", "false"):
        raise BadRequest("'first' is true or false.")
    return value == "true"
