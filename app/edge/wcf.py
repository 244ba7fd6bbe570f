"""Which exchange answers a request where WCF Relay's profiles are in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.edge.exchange import Exchange
from app.edge.oneway import OneWay
from app.edge.requests import RelayedRequest
from app.errors import RelayError
from app.wire.azure.handshake import matching_path
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.seam import Seam


def exchange_for(seam: Seam, head: Head) -> Exchange:
    """A one-way message, or a request like any other. What cannot be served is refused when its turn comes."""
    try:
        relay = seam.context.realm(head.host).find(matching_path(head.path.removeprefix("/")))
    except RelayError:
        return RelayedRequest(seam, head)
    if relay is not None and relay.profile.is_one_way:
        return OneWay(seam, head)
    return RelayedRequest(seam, head)
