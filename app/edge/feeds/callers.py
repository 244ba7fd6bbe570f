"""Who calls at the events door, with which token, and what may be published or subscribed to by it.

The order is one: the address must be an address, the token must be good, and only then does anybody learn
what exists. Publishing and subscribing each have one function here, used by every transport.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.access.authorize import one_token
from app.access.client_certificate import Credential
from app.access.grant import MISSING_TOKEN, Grant
from app.edge.passage import check_security
from app.edge.realm import Realm
from app.errors import AccessError, ClaimMissing, Unauthorized, Unsupported
from app.namespace import Relay, Right
from app.wire.http import Head, Headers
from fanout.address import Pattern, check_pattern
from fanout.filters import Filter

if TYPE_CHECKING:
    from app.edge.context import Context

_WAYS_IN = "what is sent there goes to /{address}."
_EXPOSED = "Fanway-Cursor, TrackingId, Retry-After, WWW-Authenticate"
_PREFLIGHT_SECONDS = "7200"


def token_of(head: Head) -> str | None:
    """The token of a call, wherever it stands. Raises BadRequest when two places hold different ones."""
    return one_token(head.headers, head.query)


def grant_for(context: Context, realm: Realm, token: Credential | None, path: str) -> Grant:
    """The grant of a token for a call on a decoded path. Raises Unauthorized, TokenExpired."""
    if token is None:
        return context.authorizer.anonymous(realm.namespace)
    return context.authorizer.authorize(token, realm.namespace, realm.find(path))


def may_publish(realm: Realm, grant: Grant, address: str, *, is_secure: bool) -> tuple[Relay, str]:
    """The relay of an address and its canonical form, if the grant may publish there; `is_secure`: it came by TLS.

    Raises Unauthorized, ClaimMissing, EndpointNotFound, Unsupported, TransportSecurityRequired. Where dynamic relays
    are allowed one is opened.
    """
    relay = realm.find(address)
    if relay is None or relay.requires_client_authorization:
        if grant.is_anonymous:
            raise Unauthorized(MISSING_TOKEN)
        if address.partition("/")[0] == "-":
            raise ClaimMissing("System addresses are the gateway's own; nobody else publishes there.")
        if relay is None:
            relay = realm.find_or_open(address, grant, Right.PUBLISH)
        grant.require(Right.PUBLISH, relay, address)
    if not relay.profile.publishes:
        raise Unsupported(f"A relay of the profile '{relay.profile}' takes no events at this door; {_WAYS_IN}")
    check_security(is_secure, relay)
    return relay, realm.namespace.canonical(relay, address)


def may_publish_everywhere(grant: Grant, relay: Relay) -> bool:
    """Whether the grant may publish at each address of the relay, so that none of them need be asked for."""
    return grant.permits_all(Right.PUBLISH, relay)


def may_subscribe(realm: Realm, grant: Grant, pattern: Pattern, filter: Filter | None = None) -> tuple[Relay, Pattern]:
    """The relay of a pattern and its canonical form, if the grant may listen at every address it can match.

    Raises Unauthorized, ClaimMissing, EndpointNotFound; FiltersTooCostly when its events cannot be asked one filter
    more. Where dynamic relays are allowed one is opened.
    """
    if grant.is_anonymous:
        raise Unauthorized(MISSING_TOKEN)
    relay = realm.find(pattern.prefix) or realm.find_or_open(pattern.prefix, grant, Right.SUBSCRIBE)
    canonical = realm.namespace.canonical(relay, pattern.text)
    if canonical != pattern.text:
        pattern = check_pattern(canonical)
    grant.require_all(Right.SUBSCRIBE, relay, pattern)
    if not relay.profile.has_subscribers:
        raise Unsupported(f"A relay of the profile '{relay.profile}' has no events to subscribe to.")
    if filter is not None:
        realm.router.check_filter(relay.key, pattern, filter)
    return relay, pattern


def cors_headers(context: Context, head: Head) -> Headers:
    """What lets a page of an allowed origin read the answer; nothing for other callers (WHATWG Fetch, 3.2)."""
    origin = head.get("origin")
    allowed = context.settings.cors_origins
    if origin is None or not ("*" in allowed or origin in allowed):
        return []
    if "*" in allowed:
        return [("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", _EXPOSED)]
    return [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", _EXPOSED),
        ("Vary", "Origin"),
    ]


def preflight_headers(context: Context, head: Head) -> Headers:
    """The answer to a preflight: the methods of the door, and whichever headers the page asks for."""
    headers = cors_headers(context, head)
    if headers:
        headers += [
            ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
            ("Access-Control-Allow-Headers", head.get("access-control-request-headers") or "*"),
            ("Access-Control-Max-Age", _PREFLIGHT_SECONDS),
        ]
    return [*headers, ("Allow", "GET, POST, OPTIONS")]


def check_origin(context: Context, head: Head) -> None:
    """WebSockets know no preflight: a page of another origin is refused here. Raises AccessError (403)."""
    origin = head.get("origin")
    allowed = context.settings.cors_origins
    if origin is not None and "*" not in allowed and origin not in allowed:
        raise AccessError("Pages of this origin may not use the events door.", status=403)
