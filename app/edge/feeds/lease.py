"""What something live rests on: a grant that stands until its time, its key or its relay is gone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.access.grant import Grant
from app.closes import KEY_REVOKED, Close
from app.edge.realm import Realm
from app.edge.wheel import Deadline
from app.namespace import Relay

if TYPE_CHECKING:
    from app.edge.context import Context


class Lease:
    """Tells its holder once, by `on_over`, that the grant or the relay is gone; `release` it when it leaves first.

    `relay` None is for holders that outlive single relays; others rest on the relay owning the address `place`.
    """

    __slots__ = ("_context", "_deadline", "_on_over", "_place", "_realm", "grant", "relay")

    def __init__(
        self,
        context: Context,
        realm: Realm,
        relay: Relay | None,
        grant: Grant,
        on_over: Callable[[Close], None],
        place: str = "",
    ) -> None:
        self._context = context
        self._realm = realm
        self._on_over = on_over
        self._deadline: Deadline | None = None
        self._place = place
        self.relay = relay
        self.renew(grant)

    def renew(self, grant: Grant) -> None:
        """Rest on `grant` from now."""
        self.grant = grant
        self._cancel()
        seconds = self._context.authorizer.deadline(grant) - self._context.clock()
        if math.isfinite(seconds):
            self._deadline = self._context.wheel.after(max(seconds, 0.0), self._on_deadline)

    def review(self) -> None:
        """Something provisioned changed: see whether all still stands."""
        close = self._over()
        if close is not None:
            self._tell(close)

    def release(self) -> None:
        """The holder leaves: it is told nothing more, and let go, so that it need not wait for the collector."""
        self._cancel()
        self._on_over = _tell_nobody

    def _over(self) -> Close | None:
        relay, grant = self.relay, self.grant
        if relay is not None and (close := self._realm.ending(relay, self._place or relay.name)) is not None:
            return close
        if grant.is_anonymous:
            return KEY_REVOKED if relay is not None and relay.requires_client_authorization else None
        if self._context.is_live(grant):
            return None
        return self._context.authorizer.close_of(grant)

    def _on_deadline(self) -> None:
        close = self._over()
        if close is None:
            self.renew(self.grant)  # the wall clock moved
        else:
            self._tell(close)

    def _tell(self, close: Close) -> None:
        on_over = self._on_over
        self.release()
        on_over(close)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _tell_nobody(close: Close) -> None:
    pass
