"""What a publisher sends, understood: bare bodies, CloudEvents in three modes, NDJSON. No I/O.

A request is checked whole before anything of it is published. CloudEvents 1.0.2, its JSON event format
and its HTTP protocol binding are the specification; the only liberty is taken on bare bodies, where each
`ce-` header is optional and a missing id is made up.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import orjson

from app.errors import BadRequest, PayloadTooLarge, RelayError, Unsupported
from app.wire.frames import is_utf8
from app.wire.native.terms import KEY, Terms, own_terms, parse_time
from fanout.event import EXPIRY, NO_ATTRIBUTES, Event, new_event

MAX_LINES = 10_000
MAX_BATCH_BYTES = 1 << 20
MAX_METADATA_BYTES = 3072  # so that any event's header fits the 8 KiB of the session protocol, escapes included

JSON = "application/json"
OWN_PREFIX = (
    "fanway"  # extensions that the relay adds; dropped on publish, so that a received event can be re-published
)

_NAME = re.compile(r"[a-z0-9]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_JSON_TYPE = re.compile(r"application/json|text/json|[^/\s]+/[^/\s]+\+json")
_TEXT_TYPE = re.compile(
    r"text/.*|application/(?:json|xml|javascript|ecmascript|yaml|x-www-form-urlencoded|x-ndjson)|.*\+(?:json|xml)"
)
_INDEPENDENT = ("specversion", "id", "source", "type", "datacontenttype", "time")
_APART = (*_INDEPENDENT, EXPIRY)  # what is kept in fields of its own


class Publication(NamedTuple):
    """One event as its publisher gave it; it becomes an Event when it gets its offset."""

    id: str  # empty: none was given
    payload: bytes = b""
    is_text: bool = True
    content_type: str | None = None
    type: str | None = None
    source: str | None = None
    time: str | None = None  # RFC 3339
    attributes: Mapping[str, str] = NO_ATTRIBUTES  # all other CloudEvents attributes, `subject` among them
    terms: Terms | None = None  # none of them, as nearly always

    def as_event(self, address: str, offset: int, received_at: float) -> Event:
        id, payload, is_text, content_type, type, source, time, attributes, terms = self
        expires_at = inf if terms is None else terms.expiry(received_at)
        is_retained = terms is None or terms.retain is not False
        fields = (id, payload, is_text, content_type, type, source, time, received_at, attributes, expires_at)
        return new_event(Event, (address, offset, *fields, is_retained))

    def wishing(self, asked: Terms | None, key: str | None) -> Publication:
        """This one with what its request asks for, as far as it says nothing of that itself."""
        wished = self
        if asked is not None:
            wished = wished._replace(terms=asked if self.terms is None else self.terms.over(asked))
        if key is not None and KEY not in self.attributes:
            wished = wished._replace(attributes={**self.attributes, KEY: key})
        return wished


class Publications(NamedTuple):
    """A request's events, in order; `is_batch` when the answer is an array of receipts."""

    events: list[Publication]
    is_batch: bool


def parse_publications(
    headers: Iterable[tuple[str, str]],
    body: bytes,
    max_event_bytes: int,
    max_batch_bytes: int = MAX_BATCH_BYTES,
    max_lines: int = MAX_LINES,
) -> Publications:
    """The events of a POST, all of them sound. Raises BadRequest, PayloadTooLarge, Unsupported (415)."""
    content_type, ce_headers = _sort_headers(headers)
    media = media_type(content_type)
    is_ndjson = media == "application/x-ndjson" and "specversion" not in ce_headers
    if is_ndjson or media == "application/cloudevents-batch+json":
        if len(body) > max_batch_bytes:
            raise PayloadTooLarge(f"A batch may hold at most {max_batch_bytes} bytes.")
        if is_ndjson:
            return Publications(_parse_lines(body, max_event_bytes, max_lines), True)
        return Publications(_parse_batch(body, max_event_bytes, max_lines), True)
    if media == "application/cloudevents+json":
        return Publications([parse_envelope(body, max_event_bytes)], False)
    if media.startswith("application/cloudevents"):
        raise Unsupported("Of CloudEvents formats only JSON is understood.", status=415)
    if "specversion" in ce_headers:
        _check_required(ce_headers)
    publication = make_publication(
        ce_headers, body, is_text_body(media, body), content_type, max_event_bytes=max_event_bytes
    )
    return Publications([publication], False)


def parse_envelope(body: bytes, max_event_bytes: int) -> Publication:
    """One CloudEvent in the JSON event format. Raises BadRequest, PayloadTooLarge."""
    return _from_envelope(_json_object(body, "a CloudEvent"), max_event_bytes)


def make_publication(
    attributes: Mapping[str, str],
    payload: bytes,
    is_text: bool,
    content_type: str | None,
    *,
    max_event_bytes: int,
) -> Publication:
    """A checked publication. Raises BadRequest (a bad attribute), PayloadTooLarge."""
    if len(payload) > max_event_bytes:
        raise PayloadTooLarge(f"An event may hold at most {max_event_bytes} bytes.")
    if not attributes and content_type is None:
        return Publication("", payload, is_text)
    others: dict[str, str] = {}
    size = len(content_type or "")
    for name, value in attributes.items():
        if not _NAME.fullmatch(name):
            raise BadRequest(f"The attribute name {name[:40]!r} is not made of lower-case ASCII letters and digits.")
        if name == "data":
            raise BadRequest("'data' is no attribute name.")
        if _CONTROL.search(value):
            raise BadRequest(f"The attribute {name!r} holds control characters or non-characters.")
        size += len(name) + len(value.encode())
        if name not in _APART and not name.startswith(OWN_PREFIX):
            others[name] = value
    if size > MAX_METADATA_BYTES:
        raise PayloadTooLarge(f"The attributes of an event may hold at most {MAX_METADATA_BYTES} bytes.")
    for name in ("id", "type", "source", "subject"):
        if attributes.get(name) == "":
            raise BadRequest(f"The attribute {name!r} is empty.")
    if content_type is not None and (_CONTROL.search(content_type) or "/" not in content_type):
        raise BadRequest("The content type is not a media type.")
    return Publication(
        id=attributes.get("id", ""),
        payload=payload,
        is_text=is_text,
        content_type=content_type or None,
        type=attributes.get("type"),
        source=attributes.get("source"),
        time=_check_time(attributes.get("time")),
        attributes=others,
        terms=own_terms(attributes),
    )


def bare_publication(content_type: str | None, payload: bytes) -> Publication:
    """What is published of a message that was sent for another reason: its bytes, and what they are said to be."""
    if content_type is not None and (len(content_type) > MAX_METADATA_BYTES // 3 or "/" not in content_type):
        content_type = None
    return Publication("", payload, is_text_body(media_type(content_type), payload), content_type)


def media_type(content_type: str | None) -> str:
    """The media type alone, in lower case, without parameters; empty when there is none."""
    return (content_type or "").partition(";")[0].strip().lower()


def is_json_type(media: str) -> bool:
    """Whether a media type declares JSON (CloudEvents JSON format, 3.1)."""
    return _JSON_TYPE.fullmatch(media) is not None


def _sort_headers(headers: Iterable[tuple[str, str]]) -> tuple[str | None, dict[str, str]]:
    content_type: str | None = None
    ce_headers: dict[str, str] = {}
    for raw_name, value in headers:
        name = raw_name.lower()
        if name == "content-type":
            if content_type is not None:
                raise BadRequest("Content-Type may stand only once.")
            content_type = value.strip() or None
        elif name == "content-encoding" and value.strip().lower() != "identity":
            raise Unsupported("A Content-Encoding is not understood here; send the body as it is.", status=415)
        elif name.startswith("ce-") and name != "ce-datacontenttype":  # binary mode: Content-Type is its place
            if name[3:] in ce_headers:
                raise BadRequest(f"The header {name} may stand only once.")
            ce_headers[name[3:]] = _decode_header(name, value)
    return content_type, ce_headers


def _decode_header(name: str, value: str) -> str:
    """A `ce-` header's value: unquoted, then percent-decoded once (CloudEvents HTTP binding, 3.1.3.2)."""
    quoted = _QUOTED.fullmatch(value.strip())
    text = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else value.strip()
    try:
        return unquote_to_bytes(text.encode("latin-1")).decode()
    except UnicodeError as error:
        raise BadRequest(f"The header {name} is not percent-encoded UTF-8.") from error


def _check_required(attributes: Mapping[str, Any]) -> None:
    if attributes.get("specversion") != "1.0":
        raise BadRequest("Only CloudEvents of specversion 1.0 are understood.")
    missing = [name for name in ("id", "source", "type") if not attributes.get(name)]
    if missing:
        raise BadRequest(f"A CloudEvent needs the attributes {', '.join(missing)}.")


def _check_time(time: str | None) -> str | None:
    if time is None:
        return None
    if parse_time(time) is None:
        raise BadRequest("The attribute 'time' is not an RFC 3339 time.")
    return time


def _parse_lines(body: bytes, max_event_bytes: int, max_lines: int) -> list[Publication]:
    """NDJSON: a line that is an object with `specversion` is a CloudEvent, any other JSON value is the data."""
    if body.rstrip(b"\n").count(b"\n") >= max_lines:
        raise PayloadTooLarge(f"NDJSON may hold at most {max_lines} lines.")
    publications = []
    for number, line in enumerate(body.split(b"\n"), 1):
        line = line.strip(b" \t\r")
        if not line:
            continue
        try:
            value = _json(line)
            if isinstance(value, dict) and "specversion" in value:
                publications.append(_from_envelope(value, max_event_bytes))
            else:
                publications.append(make_publication({}, line, True, JSON, max_event_bytes=max_event_bytes))
        except RelayError as error:
            raise type(error)(f"Line {number}: {error.message}") from error
    return publications


def _parse_batch(body: bytes, max_event_bytes: int, max_lines: int) -> list[Publication]:
    values = _json(body)
    if not isinstance(values, list):
        raise BadRequest("A batch is a JSON array of CloudEvents.")
    if len(values) > max_lines:
        raise PayloadTooLarge(f"A batch may hold at most {max_lines} events.")
    publications = []
    for number, value in enumerate(values, 1):
        try:
            if not isinstance(value, dict):
                raise BadRequest("Not a JSON object.")
            publications.append(_from_envelope(value, max_event_bytes))
        except RelayError as error:
            raise type(error)(f"Event {number}: {error.message}") from error
    return publications


def _from_envelope(value: dict[str, Any], max_event_bytes: int) -> Publication:
    _check_required(value)
    attributes: dict[str, str] = {}
    for name, member in value.items():
        if name in ("data", "data_base64") or member is None:
            continue
        if isinstance(member, bool):
            attributes[name] = "true" if member else "false"
        elif isinstance(member, str | int):
            attributes[name] = str(member)
        else:
            raise BadRequest(f"The attribute {name[:40]!r} is not a string, an integer or a boolean.")
        if name in (*_INDEPENDENT, "subject", "dataschema") and not isinstance(member, str):
            raise BadRequest(f"The attribute {name!r} is not a string.")
    content_type = attributes.pop("datacontenttype", None)
    payload, is_text, content_type = _read_data(value, content_type)
    return make_publication(attributes, payload, is_text, content_type, max_event_bytes=max_event_bytes)


def _read_data(value: dict[str, Any], content_type: str | None) -> tuple[bytes, bool, str | None]:
    """`data` or `data_base64` as payload, whether it is text, and its type (CloudEvents JSON format, 3.1)."""
    encoded, data = value.get("data_base64"), value.get("data")
    if "data_base64" in value and "data" in value and encoded is not None and data is not None:
        raise BadRequest("'data' and 'data_base64' exclude each other.")
    if encoded is not None:
        try:
            return base64.b64decode(encoded, validate=True), False, content_type
        except (binascii.Error, ValueError, TypeError) as error:
            raise BadRequest("'data_base64' is not base64.") from error
    if "data" not in value:
        return b"", True, content_type
    if content_type is None or is_json_type(media_type(content_type)):
        return orjson.dumps(data), True, content_type or JSON
    if not isinstance(data, str):
        raise BadRequest("'data' is a string unless 'datacontenttype' declares JSON.")
    return data.encode(), True, content_type


def is_text_body(media: str, payload: bytes) -> bool:
    """Whether a payload is text: its media type, if it has one, says so, and it is UTF-8."""
    return (not media or _TEXT_TYPE.fullmatch(media) is not None) and is_utf8(payload)


def _json(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"Not JSON: {error}.") from error


def _json_object(text: bytes, what: str) -> dict[str, Any]:
    value = _json(text)
    if not isinstance(value, dict):
        raise BadRequest(f"Not a JSON object, so not {what}.")
    return value
