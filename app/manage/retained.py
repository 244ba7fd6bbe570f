"""`/-/api/retained`: the last events that a relay keeps of its addresses, page by page; and how to be rid of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from app.errors import BadRequest, Unsupported
from app.manage.callers import REFUSALS, Calling
from app.manage.shapes import AwareMoment, Shape
from app.namespace import Relay
from fanout.address import check_pattern
from fanout.event import Event
from fanout.history import History

router = APIRouter(prefix="/-/api/retained", tags=["retained"], responses=REFUSALS)

MOST = 1000

OfRelay = Annotated[str, Query(alias="relay", description="Path of a relay that retains last events.")]
Matching = Annotated[str, Query(description="An address, or a pattern.")]


class RetainedView(Shape):
    """The last event of an address, without its payload."""

    address: str
    cursor: str
    received_at: AwareMoment
    content_type: str | None
    payload_bytes: int


class RetainedPage(Shape):
    """Some of the last events, in the order in which they were published."""

    count: int = Field(description="Of how many addresses the relay keeps one, whether they match or not.")
    events: list[RetainedView]
    next: int | None = Field(description="`after` of the next page; null: there is none.")


class Forgotten(Shape):
    """What is not retained any more."""

    forgotten: int = Field(description="Of how many addresses.")


@router.get("", summary="The last events that a relay keeps")
async def list_retained(
    path: OfRelay,
    caller: Calling,
    pattern: Matching | None = None,
    after: Annotated[int, Query(ge=0, le=1 << 53, description="`next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
) -> RetainedPage:
    relay = caller.manage_relay(path)
    history, events = _retained(caller, relay, pattern)
    found = [event for event in events if event.offset > after][: limit + 1]
    views = [
        RetainedView(
            address=event.address,
            cursor=f"{history.epoch}:{event.offset}",
            received_at=datetime.fromtimestamp(event.received_at, UTC),
            content_type=event.content_type,
            payload_bytes=len(event.payload),
        )
        for event in found[:limit]
    ]
    return RetainedPage(
        count=len(history.retained or ()), events=views, next=found[limit - 1].offset if len(found) > limit else None
    )


@router.delete("", summary="Forget last events")
async def forget_retained(path: OfRelay, pattern: Matching, caller: Calling) -> Forgotten:
    """Of one address, or of all that a pattern matches. Subscribers are told nothing of it; to tell them, publish an
    event with an empty payload."""
    relay = caller.manage_relay(path)
    addresses = [event.address for event in _retained(caller, relay, pattern)[1]]
    caller.context.keeper(caller.namespace).forget_retained(relay, addresses)
    return Forgotten(forgotten=len(addresses))


def _retained(caller: Calling, relay: Relay, text: str | None) -> tuple[History, list[Event]]:
    """The history of a relay that retains, and those of its last events that match. Raises Unsupported, BadRequest."""
    history = caller.context.keeper(caller.namespace).history(relay)
    if history.retained is None:
        raise Unsupported(f"'{relay.name}' keeps no last events: its setting 'retain' is 'none'.")
    if text is None:
        return history, [*history.retained]
    pattern = check_pattern(text)
    if caller.namespace.find(pattern.prefix) is not relay:
        raise BadRequest(f"'{text}' does not lie in '{relay.name}'.")
    pattern = check_pattern(caller.namespace.canonical(relay, text))
    if pattern.is_concrete:
        event = history.retained.get(pattern.text)
        return history, [] if event is None else [event]
    return history, [event for event in history.retained if pattern.matches(event.address)]
