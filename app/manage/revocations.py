"""`/-/api/revocations`: tokens that are good no more, by whom or what they name. What lives on them ends at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from app.manage.audit import note
from app.manage.callers import REFUSALS, Calling
from app.manage.shapes import AwareMoment, Shape
from app.namespace import Mark, Revocation, fold

router = APIRouter(prefix="/-/api/revocations", tags=["revocations"], responses=REFUSALS)

Kind = Literal["jti", "sub", "rule", "token", "all"]
Text = Annotated[str, Field(min_length=1, max_length=1024)] | None

# What may stand beside each of the names that say which tokens are meant.
_BESIDE: dict[str, tuple[str, ...]] = {
    "jti": ("issuer",),
    "sub": ("issuer",),
    "rule": ("relay",),
    "token": (),
    "all": (),
}


def _alternatives() -> list[JsonDict]:
    """The rule of `RevocationShape` in JSON Schema."""
    companions = {each for beside in _BESIDE.values() for each in beside}
    found: list[JsonDict] = []
    for name, beside in _BESIDE.items():
        absent = [other for other in (*_BESIDE, *companions) if other != name and other not in beside]
        nulls: JsonDict = {other: {"type": "null"} for other in sorted(absent)}
        found.append({"required": [name], "properties": {name: {"type": ["string", "boolean"]}, **nulls}})
    return found


class RevocationShape(Shape):
    """Exactly one of `jti`, `sub`, `rule`, `token`, `all` says which tokens are meant."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [*_alternatives()]})

    jti: Text = Field(default=None, description="The id of a JSON Web Token.")
    sub: Text = Field(default=None, description="The subject of JSON Web Tokens.")
    issuer: Text = Field(default=None, description="Whose `jti` or `sub` is meant; left out: anybody's.")
    rule: Text = Field(default=None, description="A rule whose signatures are meant.")
    relay: Text = Field(default=None, description="The relay that the rule belongs to; left out: the namespace's.")
    token: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="One token or ticket, by the SHA-256 of its text in hex."
    )
    all: Literal[True] | None = Field(default=None, description="All JSON Web Tokens.")
    before: AwareMoment | None = Field(
        default=None, description="Only tokens issued until then, if they say when; left out: now."
    )
    until: AwareMoment | None = Field(default=None, description="When to forget it; left out: never.")
    reason: str = Field(default="", max_length=256, description="For whoever reads the list.")

    @model_validator(mode="after")
    def _names_one(self) -> RevocationShape:
        if sum(value is not None for value in (self.jti, self.sub, self.rule, self.token, self.all)) != 1:
            raise ValueError("give one of jti, sub, rule, token, all")
        if self.issuer is not None and self.jti is None and self.sub is None:
            raise ValueError("issuer goes with jti or sub")
        if self.relay is not None and self.rule is None:
            raise ValueError("relay goes with rule")
        return self

    def mark(self) -> Mark:
        if self.rule is not None:
            return Mark("rule", fold(self.rule if self.relay is None else f"{self.relay}/{self.rule}"))
        if self.token is not None:
            return Mark("token", self.token)
        if self.jti is not None:
            return Mark("jti", self.jti, self.issuer or "")
        return Mark("all") if self.sub is None else Mark("sub", self.sub, self.issuer or "")


class RevocationView(Shape):
    """A revocation as it stands; of a relay's rule the value is `relay/rule`."""

    kind: Kind
    value: str
    issuer: str
    before: datetime
    until: datetime | None
    reason: str
    created_at: datetime

    @classmethod
    def of(cls, held: Revocation) -> RevocationView:
        kind, value, issuer = held.mark
        return cls(
            kind=kind,
            value=value,
            issuer=issuer,
            before=_time(held.before),
            until=None if held.until is None else _time(held.until),
            reason=held.reason,
            created_at=_time(held.created_at),
        )


class RevocationList(Shape):
    revocations: list[RevocationView]


@router.get("", summary="All revocations of the namespace")
async def list_revocations(caller: Calling) -> RevocationList:
    namespace = caller.manage_namespace()
    return RevocationList(revocations=[RevocationView.of(each) for each in namespace.revocations.values()])


@router.post("", status_code=201, summary="Revoke tokens")
async def revoke(body: RevocationShape, caller: Calling, request: Request) -> RevocationView:
    """Listeners, sockets, subscriptions and sessions that live on them end with 1008 before this is answered; what
    was queued for them is dropped."""
    namespace = caller.manage_namespace()
    now = caller.context.now()
    before = now if body.before is None else body.before.timestamp()
    until = None if body.until is None else body.until.timestamp()
    revocation = Revocation(body.mark(), before, until, body.reason, now)
    note(request, f"revoked {revocation.mark.kind} {revocation.mark.value} {revocation.mark.issuer}".strip())
    await caller.context.revocations.put(namespace, revocation)
    return RevocationView.of(revocation)


@router.delete("", status_code=204, summary="Take a revocation back")
async def delete_revocation(
    kind: Kind, caller: Calling, value: Annotated[str, Query()] = "", issuer: Annotated[str, Query()] = ""
) -> None:
    """Tokens that it meant are good again, unless something else speaks against them."""
    await caller.context.revocations.delete(caller.manage_namespace(), Mark(kind, value, issuer))


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
