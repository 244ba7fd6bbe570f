"""Who calls the management API: the Host header selects the namespace, a token with Manage opens it.

A token that reaches one relay only, by its rule or by its `sr`, manages that relay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol

from fastapi import Depends, Query, Request

from app.access.authorize import Authorizer, one_token
from app.access.grant import Grant
from app.access.operator import Operators
from app.errors import ClaimMissing, EndpointNotFound
from app.hosts import Hosts
from app.manage.audit import identify
from app.manage.durable_control import DurableControl
from app.manage.emulator import Emulation
from app.manage.pushing import Pushing
from app.manage.shapes import FailureBody, RelayView
from app.namespace import Namespace, Relay, Right, fold
from app.store.registry import Registry
from app.store.revocations import Revocations
from app.wire.azure.choices import Choices
from fanout.event import DelayedEvent
from fanout.history import History


class Delayed(Protocol):
    """What is needed of `app.edge.feeds.delayed`; see there, also for the errors."""

    def count(self, namespace: Namespace, relay: Relay) -> int: ...

    async def of(self, namespace: Namespace, relay: Relay, limit: int) -> list[DelayedEvent]: ...

    async def one(self, namespace: Namespace, number: int) -> DelayedEvent | None: ...

    async def cancel(self, waiting: DelayedEvent) -> None: ...

    async def cancel_all(self, namespace: Namespace, relay: Relay) -> None: ...


class Keeper(Protocol):
    """What is live in a namespace."""

    def history(self, relay: Relay) -> History:
        """The relay's history, with what it retains."""

    def forget_retained(self, relay: Relay, addresses: Sequence[str]) -> None:
        """Keep no last event of these."""


class Context(Protocol):
    """What the API needs of the gateway."""

    registry: Registry
    revocations: Revocations

    @property
    def authorizer(self) -> Authorizer: ...

    @property
    def hosts(self) -> Hosts: ...

    @property
    def choices(self) -> Choices:
        """What the operator chose where Azure's documentation leaves it open."""

    @property
    def operators(self) -> Operators: ...

    @property
    def pushing(self) -> Pushing: ...

    @property
    def durables(self) -> DurableControl: ...

    @property
    def emulator(self) -> Emulation | None:
        """What `--emulator` adds."""

    def counts(self, namespace: Namespace, relay: Relay) -> tuple[int, int]:
        """How many listeners and subscriptions a relay has."""

    @property
    def delayed(self) -> Delayed:
        """The events that wait for their time."""

    def keeper(self, namespace: Namespace) -> Keeper:
        """What keeps the last events of its relays."""

    def presence(
        self, namespace: Namespace, relay: Relay | None, kind: str | None, after: int, limit: int
    ) -> dict[str, Any]:
        """Who is there, on one relay or in the whole namespace: a page, and how many there are."""

    def status(self, namespace: Namespace) -> dict[str, Any]:
        """What the operator wants to see at a glance."""

    def now(self) -> float:
        """Unix seconds by the gateway's clock."""

    def is_ready(self) -> bool:
        """Whether the gateway serves, and is not draining."""


class Caller:
    """Who calls: the namespace of the Host header and the verified grant."""

    def __init__(self, request: Request) -> None:
        context: Context = request.app.state.context
        self.context = context
        self._request = request
        self.namespace = context.hosts.find(request.headers.get("host"))
        self._token = one_token(request.headers.items(), request.url.query)

    def grant(self, relay: Relay | None = None) -> Grant:
        grant = self.context.authorizer.authorize(self._token, self.namespace, relay)
        identify(self._request, grant.holder)
        return grant

    def manage_namespace(self) -> Namespace:
        """The namespace, when the token reaches all of it with Manage."""
        grant = self.grant()
        grant.require_right(Right.MANAGE)
        if not grant.permits_everywhere(Right.MANAGE):
            raise ClaimMissing("Unauthorized access. The token does not reach the whole namespace.")
        return self.namespace

    def manage_relay(self, path: str) -> Relay:
        """The relay, when it exists and the token reaches it with Manage."""
        relay = self.namespace.relays.get(fold(path))
        if relay is None:
            self.grant()
            raise EndpointNotFound("Endpoint does not exist.")
        self.grant(relay).require_whole(Right.MANAGE, relay)
        return relay

    def scope(self, path: str | None) -> tuple[Namespace, Relay | None]:
        """Where rules are managed: on a relay, or on the namespace when no path is given."""
        if path is None:
            return self.manage_namespace(), None
        return self.namespace, self.manage_relay(path)

    def view(self, relay: Relay) -> RelayView:
        return RelayView.of(relay, self.context.counts(self.namespace, relay))


Calling = Annotated[Caller, Depends(Caller)]
OnRelay = Annotated[str | None, Query(alias="relay", description="Path of the relay whose rules are meant.")]

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": FailureBody, "description": "Not understood; the message says what is wrong and where."},
    401: {"model": FailureBody, "description": "No token, or one that is not good here."},
    403: {"model": FailureBody, "description": "The token lacks Manage or does not reach so far; or a quota is full."},
    404: {"model": FailureBody, "description": "There is no such thing."},
}
TAKEN: dict[str, Any] = {"model": FailureBody, "description": "The name is taken."}
