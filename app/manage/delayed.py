"""`/-/api/delayed`: the events of a relay that wait for their time, to be looked at and cancelled."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field

from app.errors import EndpointNotFound
from app.manage.callers import REFUSALS, Caller, Calling
from app.manage.shapes import FailureBody, Shape
from fanout.event import DelayedEvent

router = APIRouter(prefix="/-/api/delayed", tags=["delayed"], responses=REFUSALS)


class DelayedView(Shape):
    """An event that waits."""

    number: int = Field(description="Its name here, and in its receipt.")
    address: str
    id: str
    due: datetime = Field(description="When it is published.")
    accepted_at: datetime
    expires_at: datetime | None = Field(description="When nobody is given it any more.")
    size: int = Field(description="Bytes of its payload.")

    @classmethod
    def of(cls, waiting: DelayedEvent) -> DelayedView:
        event = waiting.event
        return cls(
            number=waiting.number,
            address=event.address,
            id=event.id,
            due=_time(waiting.due),
            accepted_at=_time(event.received_at),
            expires_at=None if event.expires_at == float("inf") else _time(event.expires_at),
            size=waiting.size,
        )


class DelayedList(Shape):
    """The next first; `count` is how many there are in all."""

    delayed: list[DelayedView]
    count: int


OfRelay = Annotated[str, Query(alias="relay", description="Path of the relay.")]
Limit = Annotated[int, Query(ge=1, le=10_000, description="Most that are listed.")]
Number = Annotated[int, Path(ge=1, le=(1 << 53) - 1)]
_UNDER_WAY: dict[int | str, dict[str, Any]] = {
    409: {"model": FailureBody, "description": "It is just being published."}
}


@router.get("", summary="Events of a relay that wait for their time")
async def list_delayed(caller: Calling, path: OfRelay, limit: Limit = 1000) -> DelayedList:
    relay, delayed = caller.manage_relay(path), caller.context.delayed
    found = await delayed.of(caller.namespace, relay, limit)
    return DelayedList(
        delayed=[DelayedView.of(waiting) for waiting in found], count=delayed.count(caller.namespace, relay)
    )


@router.delete("", status_code=204, summary="Cancel all of a relay")
async def cancel_all(caller: Calling, path: OfRelay) -> None:
    """What is just being published is not among them."""
    await caller.context.delayed.cancel_all(caller.namespace, caller.manage_relay(path))


@router.get("/{number}", summary="An event that waits")
async def get_delayed(caller: Calling, number: Number) -> DelayedView:
    return DelayedView.of(await _find(caller, number))


@router.delete("/{number}", status_code=204, summary="Cancel an event that waits", responses=_UNDER_WAY)
async def cancel(caller: Calling, number: Number) -> None:
    await caller.context.delayed.cancel(await _find(caller, number))


async def _find(caller: Caller, number: int) -> DelayedEvent:
    """It, if the token manages its relay; before that nobody learns whether there is one."""
    caller.grant()
    waiting = await caller.context.delayed.one(caller.namespace, number)
    if waiting is None:
        raise EndpointNotFound("No such event waits.")
    caller.manage_relay(waiting.relay)
    return waiting


def _time(unix_time: float) -> datetime:
    return datetime.fromtimestamp(unix_time, UTC)
