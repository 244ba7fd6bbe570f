"""Who may do what where: the steps every door takes before it serves, in one order.

Authenticate against the namespace's rules first, so that only holders of a good token learn what exists;
then the relay; then the right at the address.
"""

from __future__ import annotations

from app.access.grant import MISSING_TOKEN, Grant, opaque_address
from app.edge.context import Context
from app.edge.realm import NO_ENDPOINT, Realm
from app.errors import BadRequest, EndpointNotFound, Unauthorized
from app.namespace import Profile, Relay, Right
from app.wire.azure.handshake import matching_path
from fanout.address import parse_address


def admit(
    context: Context, realm: Realm, right: Right, raw_path: str, token: str | None, *, opens_dynamic: bool = False
) -> tuple[Relay, str, Grant]:
    """The relay, the concrete address and the grant for a call on `raw_path` (no leading slash).

    Raises Unauthorized, ClaimMissing, EndpointNotFound; BadRequest where the path is no address.
    """
    path = matching_path(raw_path)
    if not path:
        raise BadRequest("The path names no address.")
    relay = realm.find(path)
    if relay is not None and right is Right.SEND and not relay.requires_client_authorization:
        return relay, address_of(relay, raw_path), context.authorizer.anonymous(realm.namespace)
    if token is None:
        raise Unauthorized(MISSING_TOKEN)
    grant = context.authorizer.authorize(token, realm.namespace, relay)
    if relay is None:
        if not opens_dynamic:
            raise EndpointNotFound(NO_ENDPOINT)
        parse_address(raw_path)
        relay = realm.find_or_open(path, grant, right)
    address = address_of(relay, raw_path)
    grant.require(right, relay, address)
    return relay, address, grant


def address_of(relay: Relay, raw_path: str) -> str:
    """The one form of the address that routes and permissions use. Raises InvalidAddress on native relays.

    On Azure's profile the suffix is opaque: only what a token's audience must be compared with is decoded.
    """
    if relay.profile is Profile.NATIVE:
        address = parse_address(raw_path)
        return relay.name + address[len(relay.name) :]
    suffix = raw_path.split("/")[relay.name.count("/") + 1 :]
    return opaque_address(relay, "/" + "/".join(suffix) if suffix else "")
