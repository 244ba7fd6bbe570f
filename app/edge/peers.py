"""Whether a peer may reach a namespace at all, by its network rules: when it comes, and again when they change.

The address is that of the connection, or the one that a trusted proxy vouches for. A refusal looks like that of a bad
token and does not tell of the rules, as Azure has it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from app.closes import PEER_REFUSED, Close
from app.edge.origin import remote_endpoint
from app.edge.realm import Realm
from app.errors import Unauthorized
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.context import Context

REFUSAL = "Unauthorized access."


class Peer(Protocol):
    """A live connection that has been let into a namespace."""

    realm: Realm

    def peer_address(self) -> str:
        """Where it comes from."""

    def end(self, close: Close) -> None:
        """End in good order."""


def check_peer(context: Context, transport: asyncio.Transport, head: Head) -> None:
    """Return when the peer may reach the namespace of its Host. Raises Unauthorized."""
    if context.has_network_rules:
        check_address(context.realm(head.host), remote_endpoint(context, transport, head)[0])


def check_address(realm: Realm, address: str) -> None:
    """Return when somebody from this address may reach the namespace. Raises Unauthorized."""
    if not realm.network.admits(address):
        raise Unauthorized(REFUSAL)


def review_peers(context: Context, realm: Realm) -> None:
    """The rules have changed: whoever may not be here any more is sent away."""
    if realm.network.is_open:
        return
    for live in list(context.lives):
        if getattr(live, "realm", None) is realm:  # else it has not been let in yet
            peer = cast(Peer, live)
            if not realm.network.admits(peer.peer_address()):
                peer.end(PEER_REFUSED)
