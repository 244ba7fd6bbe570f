"""The permission check of a subscription: what every way out of a relay asks before it gives an event to anybody."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.access.grant import Grant
from app.edge.realm import Reach
from app.namespace import Relay, Right


@dataclass(frozen=True, slots=True)
class Gate:
    """The permission check of a subscription: the grant, asked for each concrete address.

    Gates are equal when they let the same through, whichever token they came from, so that a plan asks once
    for all.
    """

    grant: Grant = field(compare=False)
    relay: Relay
    reach: Reach

    @classmethod
    def of(cls, grant: Grant, relay: Relay) -> Gate:
        return cls(grant, relay, grant.reach)

    def __call__(self, address: str) -> bool:
        return self.grant.permits(Right.SUBSCRIBE, self.relay, address)
