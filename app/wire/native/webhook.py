"""Events as HTTP requests (CloudEvents HTTP binding 1.0.2), and the consent of who gets them (HTTP webhooks 1.0.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import quote

from app.wire.native.cloudevents import context_of, encode_envelope
from fanout.event import Event

ORIGIN = "WebHook-Request-Origin"
RATE = "WebHook-Request-Rate"

# Printable ASCII without blank, double quote and percent sign stands as it is (HTTP binding, 3.1.3.2).
_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_RATE = re.compile(r"[1-9][0-9]{0,8}")


class Mode(StrEnum):
    """How events travel: attributes as headers, one envelope, or an array of envelopes."""

    BINARY = "binary"
    STRUCTURED = "structured"
    BATCH = "batch"


class Content(NamedTuple):
    """The headers and the body of a request that carries events."""

    headers: list[tuple[str, str]]
    body: bytes


def encode_request(events: Sequence[Event], epoch: str, mode: Mode) -> Content:
    """The request for these events, which are of one relay and epoch; more than one in `batch` only."""
    if mode is Mode.BATCH:
        body = b"[%s]" % b",".join(encode_envelope(event, epoch) for event in events)
        return Content([("Content-Type", "application/cloudevents-batch+json")], body)
    (event,) = events
    if mode is Mode.STRUCTURED:
        return Content([("Content-Type", "application/cloudevents+json")], encode_envelope(event, epoch))
    context = context_of(event, epoch)
    headers = [("Content-Type", quote(context.pop("datacontenttype").strip(), safe=_SAFE + ' "%'))]
    return Content(
        headers + [(f"ce-{name}", quote(value, safe=_SAFE)) for name, value in context.items()], event.payload
    )


class Consent(NamedTuple):
    """What a sink answered to the question whether it wants events. `rate` is requests a minute, None: any."""

    is_given: bool
    rate: int | None
    reason: str = ""


def request_consent(origin: str, rate: int | None) -> list[tuple[str, str]]:
    """The headers of the OPTIONS request that asks (HTTP webhooks, 4.1)."""
    headers = [(ORIGIN, origin)]
    return headers if rate is None else [*headers, (RATE, str(rate))]


def read_consent(headers: Mapping[str, str], origin: str, rate: int | None) -> Consent:
    """What the answer's headers, named in lower case, say (HTTP webhooks, 4.2); its status says nothing."""
    allowed = headers.get("webhook-allowed-origin", "").strip()
    if not allowed:
        return Consent(False, None, "The sink's answer to OPTIONS has no header WebHook-Allowed-Origin.")
    if allowed != "*" and allowed.lower() != origin.lower():
        return Consent(False, None, f"The sink allows another origin than {origin}.")
    granted = headers.get("webhook-allowed-rate", "").strip()
    if granted in ("", "*"):
        if rate is not None and not granted:
            return Consent(False, None, "The sink's answer to OPTIONS has no header WebHook-Allowed-Rate.")
        return Consent(True, rate)
    if not _RATE.fullmatch(granted):
        return Consent(False, None, "The sink's WebHook-Allowed-Rate is neither '*' nor a number above 0.")
    return Consent(True, min(int(granted), rate or int(granted)))
