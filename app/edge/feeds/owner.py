"""Who owns a durable subscription: the rule that made it, or whoever an issuer said its maker was.

What is delivered by it is bounded twice: by what each consumer may receive, and by what its owner still may. A rule
that is gone, or grants Listen no more, stops it; it goes on when the rule is back, whatever its keys are then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.access.authorize import Authorizer
from app.access.grant import Allowance, Bearer, Grant, Limit
from app.namespace import Mark, Namespace, Right
from fanout.address import check_pattern


@dataclass(frozen=True, slots=True)
class Owner:
    """`rule` by its folded name, `relay` the key of the relay that it is of ('': of the namespace), or a `bearer`.

    `rights` and `limits` are those of the grant by which the subscription was made, `made_at` (unix seconds) when that
    was issued, by which it may be revoked.
    """

    rule: str
    relay: str
    bearer: str
    rights: Right
    limits: tuple[Limit, ...]
    marks: tuple[Mark, ...]
    made_at: float

    @classmethod
    def of(cls, grant: Grant, now: float) -> Owner:
        """The owner that the holder of this grant becomes."""
        relay = grant.relay.key if grant.relay is not None else ""
        bearer = grant.bearer.name if grant.bearer is not None else ""
        marks = tuple(mark for mark in grant.marks if mark.kind in ("sub", "rule"))  # not of the one token
        issued_at = grant.bearer.issued_at if grant.bearer is not None else None
        made_at = now if issued_at is None else issued_at
        return cls(grant.rule, relay, bearer, grant.rights, grant.limits, marks, made_at)

    @property
    def name(self) -> str:
        """For people."""
        if self.bearer:
            return self.bearer
        return f"rule {self.rule}" + (f" of {self.relay}" if self.relay else "")

    def is_holder_of(self, grant: Grant) -> bool:
        """Whether a grant is this owner's."""
        other = Owner.of(grant, 0.0)
        return (self.rule, self.relay, self.bearer) == (other.rule, other.relay, other.bearer)

    def grant(self, namespace: Namespace, authorizer: Authorizer, now: float) -> Grant | None:
        """What the owner may do now; None while it may do nothing."""
        never = float("inf")
        if self.bearer:
            bearer = Bearer(self.bearer, None, self.made_at)
            grant = Grant(namespace, self.rights, None, "", "", "", never, self.limits, bearer, self.marks)
        else:
            relay = namespace.relays.get(self.relay) if self.relay else None
            rules = namespace.rules if not self.relay else relay.rules if relay is not None else {}
            rule = rules.get(self.rule)
            if rule is None:
                return None
            key = rule.primary_key
            grant = Grant(namespace, rule.rights, relay, "", self.rule, key, never, self.limits, None, self.marks)
        return grant if authorizer.is_live(grant, now) else None

    def as_json(self) -> dict[str, Any]:
        """For the journal."""
        limits = [
            [[allowance.rights.value, allowance.pattern and allowance.pattern.text] for allowance in limit]
            for limit in self.limits
        ]
        return {
            "rule": self.rule,
            "relay": self.relay,
            "bearer": self.bearer,
            "rights": self.rights.value,
            "limits": limits,
            "marks": [list(mark) for mark in self.marks],
            "made_at": self.made_at,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Owner:
        limits = tuple(
            tuple(
                Allowance(Right(rights), None if text is None else check_pattern(text, allow_system=True))
                for rights, text in limit
            )
            for limit in value["limits"]
        )
        marks = tuple(Mark(*mark) for mark in value["marks"])
        rights, made_at = Right(value["rights"]), value["made_at"]
        return cls(value["rule"], value["relay"], value["bearer"], rights, limits, marks, made_at)
