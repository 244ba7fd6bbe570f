"""A relayed answer that still streams, as whoever reviews what is live sees it: it may go on for hours.

Requests that are answered at once are over before anybody could take a right back; they are not kept account of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.closes import DRAINING, Close
from app.edge.origin import remote_endpoint
from app.edge.realm import Admitted, Realm
from app.errors import ListenerGone

if TYPE_CHECKING:
    from app.edge.requests import RelayedRequest


class StreamedAnswer:
    """Live from its making until `release`."""

    __slots__ = ("_grant", "_relay", "_request", "realm")

    def __init__(self, request: RelayedRequest, realm: Realm, admitted: Admitted) -> None:
        self._request = request
        self._relay, _, self._grant = admitted
        self.realm = realm
        request.context.lives.add(self)

    def review(self) -> None:
        """End if the relay or the key is gone. A token's expiry ends no request under way."""
        authorizer = self._request.context.authorizer
        if self.realm.namespace.relays.get(self._relay.key) is not self._relay:
            self.abort()
        elif not authorizer.is_live(self._grant, 0.0):
            self.end(authorizer.close_of(self._grant))

    def end(self, close: Close) -> None:
        """Cut the answer, unless the gateway drains: then it has time to end by itself."""
        if close is not DRAINING:
            self._request.refuse(ListenerGone(close.reason))

    def abort(self) -> None:
        self._request.refuse(ListenerGone("The relay is gone."))

    def peer_address(self) -> str:
        """Where the sender comes from; behind a trusted proxy what that says."""
        request = self._request
        return remote_endpoint(request.context, request.seam.transport, request.head)[0]

    def release(self) -> None:
        """The answer is over."""
        self._request.context.lives.discard(self)
