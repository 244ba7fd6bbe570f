"""Who may do what where: the steps every door takes before it serves, in one order.

Authenticate against the namespace's rules first, so that only holders of a good token learn what exists;
then the relay; then the right at the address.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from app.access.client_certificate import Credential
from app.access.grant import MISSING_TOKEN, opaque_address
from app.edge.context import Context
from app.edge.realm import NO_ENDPOINT, Admitted, Realm
from app.errors import BadRequest, EndpointNotFound, NoListener, NoListenerAdmitted, Unauthorized
from app.namespace import Profile, Relay, RelayTerms, Right
from app.wire.azure.choices import SENTENCES
from app.wire.azure.handshake import matching_path
from app.wire.azure.listeners import listener_filter
from app.wire.http import Head
from fanout.address import parse_address

if TYPE_CHECKING:
    from app.edge.control import ControlChannel


def admit(
    context: Context,
    realm: Realm,
    right: Right,
    raw_path: str,
    token: Credential | None,
    *,
    opens_dynamic: RelayTerms | None = None,
) -> Admitted:
    """The relay, the concrete address and the grant for a call on `raw_path` (no leading slash).

    With `opens_dynamic` a missing relay comes into being on these terms, where that is allowed.

    Raises Unauthorized, ClaimMissing, EndpointNotFound; BadRequest where the path is no address. An answer is
    remembered until anything provisioned changes; whether its grant still stands is asked each time.
    """
    call = right, raw_path, token
    admitted = realm.admitted.get(call)
    if admitted is None or not context.is_live(admitted[2]):
        admitted = _admit(context, realm, right, raw_path, token, opens_dynamic)
        if not admitted[2].by_ticket:  # which may be good for this call only
            realm.remember(call, admitted)
    return admitted


def _admit(
    context: Context,
    realm: Realm,
    right: Right,
    raw_path: str,
    token: Credential | None,
    opens_dynamic: RelayTerms | None,
) -> Admitted:
    path = matching_path(raw_path)
    if not path:
        raise BadRequest("The path names no address.")
    relay = realm.find(path)
    if relay is not None and right in Right.SEND and not relay.requires_client_authorization:
        return relay, address_of(relay, raw_path), context.authorizer.anonymous(realm.namespace)
    if token is None:
        raise Unauthorized(MISSING_TOKEN)
    grant = context.authorizer.authorize(token, realm.namespace, relay)
    if relay is None:
        if opens_dynamic is None:
            grant.require(right, Relay(path), path)  # what does not exist is told to whom it would be open
            raise EndpointNotFound(NO_ENDPOINT)
        parse_address(raw_path)
        relay = realm.find_or_open(path, grant, right, opens_dynamic)
    address = address_of(relay, raw_path)
    grant.require(right, relay, address)
    return relay, address, grant


def check_admitted(context: Context, realm: Realm, admitted: Admitted) -> None:
    """Return when what was admitted a while ago still stands: for tickets, which may be good for one `admit` only.

    Raises Unauthorized, TokenExpired, ClaimMissing, EndpointNotFound.
    """
    relay, address, grant = admitted
    context.authorizer.check(grant)
    if realm.ending(relay, address) is not None:
        raise EndpointNotFound(NO_ENDPOINT)


def find_listener(
    realm: Realm, relay: Relay, address: str, head: Head, asked: Collection[ControlChannel] = ()
) -> ControlChannel:
    """One listener for a call at `address`, chosen fairly among those that the sender's filter admits and that
    were not `asked` before.

    Raises NoListener, NoListenerAdmitted, and BadRequest where it names an instance by what is no name.
    """
    wanted = listener_filter(head)
    place = relay.listen_address(address)
    if wanted is None and not asked:
        admits = None
    else:
        admits = lambda each: each not in asked and (wanted is None or wanted.admits(each.id, each.instance))  # noqa: E731
    listener = realm.roster.choose(relay.key, place, admits)
    if listener is not None:
        return listener
    if wanted is None or realm.roster.choose(relay.key, place) is None:
        raise NoListener(SENTENCES[NoListener])
    if wanted.instance is not None:
        raise NoListenerAdmitted(f"None of the connected listeners is the instance '{wanted.instance}'.")
    raise NoListenerAdmitted(SENTENCES[NoListenerAdmitted])


def address_of(relay: Relay, raw_path: str) -> str:
    """The one form of the address that routes and permissions use. Raises InvalidAddress on native relays.

    On Azure's profile the suffix is opaque: only what a token's audience must be compared with is decoded.
    """
    if relay.profile is Profile.NATIVE:
        address = parse_address(raw_path)
        return relay.name + address[len(relay.name) :]
    suffix = raw_path.split("/")[relay.name.count("/") + 1 :]
    return opaque_address(relay, "/" + "/".join(suffix) if suffix else "")
