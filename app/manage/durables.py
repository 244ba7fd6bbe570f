"""`/-/api/durables`: durable subscriptions, for their owners and for who manages their relay."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import Field

from app.errors import EndpointNotFound
from app.manage.audit import note
from app.manage.callers import REFUSALS, Calling
from app.manage.shapes import Shape, Whole
from app.namespace import fold

router = APIRouter(prefix="/-/api/durables", tags=["durable subscriptions"], responses=REFUSALS)

_NAME = r"^[A-Za-z0-9._~-]{1,64}$"
DurableName = Annotated[str, Path(json_schema_extra={"pattern": _NAME})]
Text = Annotated[str, Field(max_length=1024)]


class DurableShape(Shape):
    """What a durable subscription is set to; what is left out has its default."""

    pattern: Text
    filter: Any = Field(default=None, description="One filter, or a list of which all must hold.")
    from_: Text | None = Field(default=None, alias="from", description="Where a new one begins: `now` if left out.")
    key: Text | None = Field(default=None, description="The attribute by which its consumers share.")
    ack_wait: float | None = Field(default=None, description="Seconds until a delivery is made again; 30.")
    max_deliveries: Whole | None = Field(default=None, description="After which an event is dead; 0: no end.")
    max_in_flight: Whole | None = Field(default=None, description="Events under way at once; 1024.")
    dead_letter: Text | None = Field(default=None, description="The address where dead events go.")


class DurableView(Shape):
    """A durable subscription as it stands. Counters begin with the gateway's start."""

    relay: str
    name: str
    pattern: str
    filter: Any
    key: str | None
    ack_wait: float
    max_deliveries: int
    max_in_flight: int
    dead_letter: str
    owner: str
    paused: bool = Field(description="Its owner may not receive its events now, so that nobody is given any.")
    cursor: str = Field(description="All up to here is settled.")
    behind: int = Field(description="Events of the relay after the cursor, whether they are for it or not.")
    pending: int = Field(description="Events taken and not settled.")
    in_flight: int
    redelivered: int
    dead_letters: int
    lost: int = Field(description="Events delivered in vain that are no dead letters.")
    gaps: int
    consumers: int


class DurableList(Shape):
    durables: list[DurableView]


class Seek(Shape):
    to: Text = Field(description="`now` (let go of everything), `start`, a cursor, or an RFC 3339 time with `Z`.")


class Sought:
    """The relay that is meant, and the caller's grant there."""

    def __init__(
        self, caller: Calling, path: Annotated[str, Query(alias="relay", description="Path of the relay.")]
    ) -> None:
        relay = caller.namespace.relays.get(fold(path))
        self.grant = caller.grant(relay)
        if relay is None:
            raise EndpointNotFound("Endpoint does not exist.")
        self.control = caller.context.durables
        self.place = caller.namespace, relay


OnRelay = Annotated[Sought, Depends(Sought)]


@router.get("", summary="The durable subscriptions of a relay that the caller may use")
async def list_durables(on: OnRelay) -> DurableList:
    return DurableList(durables=[DurableView(**each) for each in on.control.visible(*on.place, on.grant)])


@router.get("/{name}", summary="One durable subscription")
async def get_durable(name: DurableName, on: OnRelay) -> DurableView:
    return DurableView(**on.control.get(*on.place, name, on.grant))


@router.put(
    "/{name}",
    summary="Make a durable subscription, or change it",
    responses={201: {"model": DurableView, "description": "It is new."}},
)
async def put_durable(name: DurableName, body: DurableShape, on: OnRelay, response: Response) -> DurableView:
    """201 when it is new. Pattern, key and place of one that exists stay, and its consumers subscribe again."""
    wanted = {"from" if option == "from_" else option: value for option, value in body.model_dump().items()}
    made, is_new = await on.control.put(*on.place, name, wanted, on.grant)
    if is_new:
        response.status_code = 201
    return DurableView(**made)


@router.delete("/{name}", status_code=204, summary="End a durable subscription")
async def delete_durable(name: DurableName, on: OnRelay) -> None:
    """What was not settled is not delivered any more."""
    on.control.remove(*on.place, name, on.grant)


@router.post("/{name}/seek", summary="Go on from another place")
async def seek_durable(name: DurableName, body: Seek, on: OnRelay, request: Request) -> DurableView:
    """Whatever is under way or put off is let go of."""
    note(request, f"durable {name} to {body.to}")
    return DurableView(**on.control.seek(*on.place, name, body.to, on.grant))
