"""The emulator's doors, `/-/emulator`: move the clock, make faults, cut listeners, begin anew. No token is needed.

They exist only under `--emulator`, whose key everybody knows anyway.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Depends, Request
from pydantic import Field, SecretStr, model_validator

from app.closes import Close
from app.errors import AccessError
from app.faults import Fault
from app.manage.shapes import Moment, Shape, Whole
from app.namespace import Namespace

LONGEST_SECONDS = 10 * 366 * 86400.0


class Emulation(Protocol):
    """What an emulator can be told; see `app.emulator.Emulator`."""

    def now(self) -> float: ...

    def advance(self, seconds: float) -> None: ...

    def inject(self, namespace: Namespace, fault: Fault) -> None: ...

    def faults(self, namespace: Namespace) -> list[Fault]: ...

    def clear_faults(self) -> None: ...

    def drop(self, namespace: Namespace, relay: str, listener: str | None, close: Close | None) -> int: ...

    def expire(self, token: str) -> int: ...

    async def reset(self) -> None: ...


class ClockShape(Shape):
    """How far to move the clock, or what time it shall be."""

    advance: float | None = Field(
        default=None, ge=-LONGEST_SECONDS, le=LONGEST_SECONDS, description="Seconds; deadlines follow forward only."
    )
    now: Moment | None = Field(default=None, description="The time that it shall be.")

    @model_validator(mode="after")
    def _is_one(self) -> ClockShape:
        if (self.advance is None) == (self.now is None):
            raise ValueError("give either advance or now")
        return self


class ClockView(Shape):
    """What the emulator takes the time to be."""

    now: datetime


class FaultShape(Shape):
    """What shall go wrong: a call is refused, or a command to a listener is held up."""

    kind: Literal["refuse", "delay"]
    relay: str = Field(min_length=1, max_length=512, description="The address at and below which it happens.")
    action: Literal["listen", "connect", "request", "accept"] = Field(
        description="`refuse` knows listen, connect and request; `delay` knows accept and request."
    )
    times: Whole = Field(default=1, ge=0, le=1_000_000, description="How often; 0 is until it is cleared.")
    status: Whole = Field(default=503, ge=400, le=599, description="Of a refusal.")
    message: str = Field(default="", max_length=512, description="Of a refusal.")
    seconds: float = Field(default=1.0, gt=0, le=3600, description="Of a delay.")

    @model_validator(mode="after")
    def _fits(self) -> FaultShape:
        if self.action == ("accept" if self.kind == "refuse" else "connect") or (
            self.kind == "delay" and self.action == "listen"
        ):
            raise ValueError(f"'{self.action}' is nothing to {self.kind}")
        return self

    def fault(self) -> Fault:
        seconds = self.seconds if self.kind == "delay" else None
        return Fault(self.relay.strip("/"), self.action, self.times, self.status, self.message, seconds)

    @classmethod
    def of(cls, fault: Fault) -> FaultShape:
        said = {"relay": fault.relay, "action": fault.action, "times": fault.times}
        if fault.seconds is None:
            return cls.model_validate({**said, "kind": "refuse", "status": fault.status, "message": fault.message})
        return cls.model_validate({**said, "kind": "delay", "seconds": fault.seconds})


class FaultList(Shape):
    faults: list[FaultShape]


class DropShape(Shape):
    """Whose control channels to cut; without `code` as if the cable were pulled."""

    relay: str
    listener: str | None = Field(default=None, description="The GUID that a listener's `sb-hc-id` begins with.")
    code: Annotated[int, Field(ge=1000, le=4999)] | None = None
    reason: str = Field(default="", max_length=100)


class Dropped(Shape):
    dropped: int


class ExpiryShape(Shape):
    """A token that shall be expired from now."""

    token: SecretStr = Field(min_length=1, max_length=16384)


class Ended(Shape):
    ended: int


class _Caller:
    """A program: pages in a browser, which could make a developer's emulator do things unasked, say their origin."""

    def __init__(self, request: Request) -> None:
        if "origin" in request.headers:
            raise AccessError("The emulator's doors are for programs, not for pages in a browser.", status=403)
        context = request.app.state.context
        self.emulator: Emulation = context.emulator
        self.namespace: Namespace = context.hosts.find(request.headers.get("host"))


_Calling = Annotated[_Caller, Depends(_Caller)]

router = APIRouter(prefix="/-/emulator", tags=["emulator"])


@router.get("/clock", summary="What time it is here")
async def get_clock(caller: _Calling) -> ClockView:
    return ClockView(now=datetime.fromtimestamp(caller.emulator.now(), UTC))


@router.post("/clock", summary="Move the clock: tokens expire, deadlines pass")
async def move_clock(body: ClockShape, caller: _Calling) -> ClockView:
    seconds = body.advance
    if body.now is not None:
        wanted = body.now if body.now.tzinfo else body.now.replace(tzinfo=UTC)
        seconds = wanted.timestamp() - caller.emulator.now()
    caller.emulator.advance(seconds or 0.0)
    return await get_clock(caller)


@router.get("/faults", summary="The faults that wait for their calls")
async def list_faults(caller: _Calling) -> FaultList:
    return FaultList(faults=[FaultShape.of(fault) for fault in caller.emulator.faults(caller.namespace)])


@router.post("/faults", status_code=201, summary="Let something go wrong")
async def add_fault(body: FaultShape, caller: _Calling) -> FaultShape:
    caller.emulator.inject(caller.namespace, body.fault())
    return body


@router.delete("/faults", status_code=204, summary="Let everything go as it should again")
async def clear_faults(caller: _Calling) -> None:
    caller.emulator.clear_faults()


@router.post("/drop", summary="Cut control channels")
async def drop(body: DropShape, caller: _Calling) -> Dropped:
    close = None if body.code is None else Close(body.code, body.reason, True)
    return Dropped(dropped=caller.emulator.drop(caller.namespace, body.relay.strip("/"), body.listener, close))


@router.post("/expire", summary="Let a token be expired from now")
async def expire(body: ExpiryShape, caller: _Calling) -> Ended:
    return Ended(ended=caller.emulator.expire(body.token.get_secret_value().strip()))


@router.post("/reset", status_code=204, summary="Begin anew, as after a start")
async def reset(caller: _Calling) -> None:
    await caller.emulator.reset()
