"""What a relay asks of the events published there beyond what the gateway asks of all: a size, a JSON Schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.errors import PayloadTooLarge, QuotaExceeded, RelayError, SchemaViolation, Unsupported
from app.event_schema import compile_schema
from app.namespace import Relay
from app.wire.native.publication import Publication
from app.wire.native.terms import Terms
from fanout.retained import Retained

if TYPE_CHECKING:
    from app.edge.context import Context


def max_event_bytes(context: Context, relay: Relay) -> int:
    """The most bytes of payload that an event may hold there: the relay's setting never widens the gateway's."""
    allowed = context.settings.limits.event_bytes
    return allowed if relay.max_event_bytes is None else min(allowed, relay.max_event_bytes)


def check_event(relay: Relay, publication: Publication, work: int = 0) -> int:
    """Return when the event may be published there: how much work all was that its request took so far.

    The caller has seen to the gateway's own limits. Raises PayloadTooLarge, SchemaViolation, Unsupported.
    """
    payload, most = publication.payload, relay.max_event_bytes
    if most is not None and len(payload) > most:
        raise PayloadTooLarge(f"An event may hold at most {most} bytes at '{relay.name}'.")
    if publication.terms is not None:
        _check_terms(relay, publication.terms)
    if not relay.event_schema or (relay.retain == "last" and not payload):  # which clears its address
        return work
    if not publication.is_text:
        raise SchemaViolation("The payload is binary, and this relay's schema asks for JSON.")
    return compile_schema(relay.event_schema).check(payload, work)


def check_events(relay: Relay, publications: Sequence[Publication]) -> None:
    """The same for all events of a request, of which a message names the first that may not be."""
    work = 0
    for number, publication in enumerate(publications, 1):
        try:
            work = check_event(relay, publication, work)
        except RelayError as error:
            if len(publications) == 1:
                raise
            raise type(error)(f"Event {number}: {error.message}") from error


def check_room(relay: Relay, retained: Retained | None, address: str, publications: Sequence[Publication]) -> None:
    """Return when each of these events may become the last of its address, or need not. Raises QuotaExceeded."""
    if retained is None:
        return
    sizes = [len(each.payload) for each in publications if each.terms is None or each.terms.retain is not False]
    if sizes and not retained.has_room(address, max(sizes)):
        raise QuotaExceeded(
            f"'{relay.name}' keeps the last events of {len(retained)} addresses, and has no room for this one. "
            "An event with an empty payload clears its address."
        )


def _check_terms(relay: Relay, terms: Terms) -> None:
    if terms.retain and relay.retain == "none":
        raise Unsupported(f"'{relay.name}' keeps no last events: its setting 'retain' is 'none'.")
