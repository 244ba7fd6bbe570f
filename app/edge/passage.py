"""What a relay lets through: the traffic its profile carries, senders by TLS where it asks for that, and listeners
whose own terms are those that it is registered with."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.edge.origin import is_secure
from app.errors import AddressExists, TransportSecurityRequired, Unsupported
from app.namespace import Profile, Relay, RelayTerms
from app.wire.azure.terms import parse_terms
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.context import Context


def check_passage(
    context: Context, transport: asyncio.Transport, head: Head, relay: Relay, *, is_socket: bool = False
) -> None:
    """Return when the relay takes this sender's request or, with `is_socket`, its socket.

    To be asked once the sender is admitted. Raises Unsupported, TransportSecurityRequired.
    """
    if relay.requires_transport_security:
        check_security(is_secure(context, transport, head), relay)
    if not relay.profile.is_wcf:
        return
    if is_socket and not relay.profile.carries_sockets:
        raise Unsupported(f"A relay of the profile '{relay.profile}' carries requests only, no sockets.")
    if not is_socket and not relay.profile.carries_requests:
        raise Unsupported(f"A relay of the profile '{relay.profile}' carries sockets only, no requests.")


def check_security(is_by_tls: bool, relay: Relay) -> None:
    """Return when a sender that came so may use the relay. Raises TransportSecurityRequired."""
    if relay.requires_transport_security and not is_by_tls:
        raise TransportSecurityRequired("SslRequired: The endpoint must be reached by TLS (https, wss).")


def terms_of(head: Head) -> RelayTerms:
    """What a listener says of the relay it opens. Raises BadRequest."""
    stated = parse_terms(head.headers, head.query)
    return RelayTerms(
        Profile(stated.profile) if stated.profile is not None else None,
        stated.requires_client_authorization,
        stated.requires_transport_security,
        stated.is_public,
        stated.display_name,
    )


def check_terms(terms: RelayTerms, relay: Relay, path: str) -> None:
    """Return when a listener on these terms may listen at the decoded path. Raises AddressExists."""
    if why := terms.clash(relay, path):
        raise AddressExists(f"AddressAlreadyInUse: {why}")
