"""`POST /-/tickets`: a token in a header, for a ticket that may stand in a URL.

For browsers, whose EventSource and WebSocket cannot set headers: a page, or the backend behind it, exchanges its token
and opens `/-/events/orders?sb-hc-token={ticket}`. The body is JSON, or empty:

    {"seconds": 60, "once": false, "until": 1767225600, "allow": {"subscribe": ["user/42/**"]}}

`seconds`: in which the ticket can be used; `until`: when what it opened ends, at the latest with the token; `allow`:
patterns for each action, where the ticket shall do less than the token.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import orjson

from app.access.addresses import ACTIONS, allowances_of
from app.access.authorize import one_token
from app.access.grant import MISSING_TOKEN, Grant, Limit
from app.access.tickets import MAX_SECONDS
from app.edge.credentials import credential_of
from app.edge.exchange import Exchange
from app.edge.feeds.callers import cors_headers, token_of
from app.edge.feeds.exchange import Misdirected, Preflight, WholeBody
from app.edge.realm import Realm
from app.errors import BadRequest, ClaimMissing, MethodNotAllowed, Unauthorized
from app.namespace import Relay
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.seam import Seam

DOOR = "/-/tickets"
MAX_BODY_BYTES = 64 * 1024

_MEMBERS = {"seconds", "once", "until", "allow"}


def exchange_for(seam: Seam, head: Head) -> Exchange:
    """The exchange that answers a request at this door."""
    if head.method == "OPTIONS":
        return Preflight(seam, head)
    if head.method != "POST":
        return Misdirected(seam, head, MethodNotAllowed("Tickets are had by POST."))
    return TicketExchange(seam, head)


class TicketExchange(WholeBody):
    """One ticket."""

    most_bytes = MAX_BODY_BYTES

    def start(self) -> None:
        self._realm = self.context.realm(self.head.host)
        if one_token([], self.head.query) is not None:
            raise BadRequest("Give the token in a header: it is to stand in no URL.")
        self._authorize()
        self.await_body()

    def _authorize(self) -> Grant:
        token = credential_of(self.context, self.seam.transport, self.head, token_of(self.head))
        if token is None:
            raise Unauthorized(MISSING_TOKEN)
        return self.context.authorizer.authorize(token, self._realm.namespace, None)

    def on_whole_body(self, body: bytes) -> None:
        grant, authorizer = self._authorize(), self.context.authorizer  # again: the body may have taken its time
        asked = _parsed(body)
        seconds = _number(asked, "seconds", self.context.settings.identity.ticket_seconds)
        if not 0 < seconds <= MAX_SECONDS:
            raise BadRequest(f"'seconds' should be more than 0 and at most {MAX_SECONDS:g}.")
        ends_at = min(_number(asked, "until", math.inf), authorizer.deadline(grant))
        if ends_at <= self.context.clock():
            raise BadRequest("'until' is over.")
        is_single = asked.get("once", False)
        if not isinstance(is_single, bool):
            raise BadRequest("'once' should be true or false.")
        limit = _limit(self._realm, grant, asked["allow"]) if "allow" in asked else None
        text, ticket = authorizer.tickets.issue(grant, ends_at, seconds, limit, is_single=is_single)
        answer = {"ticket": text, "usable_until": ticket.usable_until, "ends_at": ends_at}
        headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
        self.respond(201, [*headers, *cors_headers(self.context, self.head)], orjson.dumps(answer))


def _parsed(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("The body is not JSON.") from None
    if not isinstance(asked, dict):
        raise BadRequest("The body should be a JSON object.")
    if unknown := sorted(set(asked) - _MEMBERS):
        raise BadRequest(f"'{unknown[0]}' is not known here; known are seconds, once, until and allow.")
    return asked


def _number(asked: dict[str, Any], name: str, default: float) -> float:
    value = asked.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f"'{name}' should be a number of seconds.")
    return float(value)


def _limit(realm: Realm, grant: Grant, allow: Any) -> Limit:
    """What the ticket shall be limited to, which the grant has to cover."""
    if not isinstance(allow, dict):
        raise BadRequest("'allow' should hold patterns for each action.")
    if unknown := sorted(set(allow) - set(ACTIONS)):
        raise BadRequest(f"'{unknown[0]}' is no action; known are {', '.join(ACTIONS)}.")
    try:
        limit = allowances_of(allow)
    except ValueError as error:
        raise BadRequest(f"'allow': {error}") from None
    for right, pattern in limit:
        assert pattern is not None
        relay = realm.find(pattern.prefix) or Relay(pattern.segments[0])
        if not grant.covers(right, relay, pattern):
            raise ClaimMissing(f"The token does not cover '{pattern.text}', so no ticket of it can.")
    return limit
