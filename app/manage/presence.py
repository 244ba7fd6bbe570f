"""`/-/api/presence`: who listens and who subscribes now, page by page."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from app.manage.callers import REFUSALS, Calling
from app.manage.shapes import AwareMoment, Shape

router = APIRouter(prefix="/-/api/presence", tags=["presence"], responses=REFUSALS)

MOST = 1000
Kind = Literal["listener", "subscriber"]


class MemberView(Shape):
    """Somebody who is there."""

    kind: Kind
    id: str = Field(description="Names it as long as it lives, here and in the events of `-/sys/presence/**`.")
    relay: str
    address: str | None = Field(default=None, description="Where a listener listens.")
    pattern: str | None = Field(default=None, description="What a subscriber subscribes to.")
    count: int = Field(description="How many of this kind are at just this address or pattern.")
    transport: str
    holder: str = Field(description="The rule or the subject of its token.")
    remote_address: str
    since: AwareMoment
    listener: str | None = Field(default=None, description="A listener's `sb-hc-id`.")
    instance: str | None = Field(default=None, description="A listener's instance name.")
    session: str | None = Field(default=None, description="The session to which a subscription belongs.")
    group: str | None = Field(default=None, description="The group in which it shares.")
    durable: str | None = Field(default=None, description="The durable subscription in which it shares.")


class Presence(Shape):
    """Some of those who are there, in the order in which they came."""

    listener_count: int
    subscription_count: int
    members: list[MemberView]
    next: int | None = Field(description="`after` of the next page; null: there is none.")


@router.get("", summary="Who listens and who subscribes")
async def list_presence(
    caller: Calling,
    path: Annotated[
        str | None, Query(alias="relay", description="Path of a relay; left out: the whole namespace.")
    ] = None,
    kind: Annotated[Kind | None, Query(description="Only listeners, or only subscribers.")] = None,
    after: Annotated[int, Query(ge=0, le=1 << 53, description="`next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
) -> Presence:
    """Subscriptions to system addresses are left out, as in the events."""
    namespace, relay = caller.scope(path)
    return Presence.model_validate(caller.context.presence(namespace, relay, kind, after, limit))
