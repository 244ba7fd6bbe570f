"""Which exchange answers a request where WCF Relay's profiles are in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.edge.exchange import Exchange
from app.edge.oneway import OneWay
from app.edge.requests import RelayedRequest
from app.edge.soap import SoapRequest, may_bring_token
from app.errors import RelayError
from app.namespace import Profile
from app.wire.azure.handshake import matching_path
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.seam import Seam


def exchange_for(seam: Seam, head: Head) -> Exchange:
    """A one-way message, a request that may bring its token along, or one like any other.

    What cannot be served is refused when its turn comes.
    """
    try:
        relay = seam.context.realm(head.host).find(matching_path(head.path.removeprefix("/")))
        if relay is None or not relay.profile.is_wcf:
            return RelayedRequest(seam, head)
        if relay.profile.is_one_way:
            return OneWay(seam, head)
        if relay.profile is Profile.HTTP and may_bring_token(head):
            return SoapRequest(seam, head, takes_anybody=not relay.requires_client_authorization)
    except RelayError:
        pass
    return RelayedRequest(seam, head)
