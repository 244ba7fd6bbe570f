"""From a token's text to a grant. Deny by default; a token is verified once and remembered, a grant never trusted
without looking whether its rule still stands."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from urllib.parse import unquote_plus

from app.access.grant import MISSING_TOKEN, WRONG_AUDIENCE, Grant
from app.access.keyring import new_rule
from app.access.sas import INVALID_SIGNATURE, Token, parse_audience, parse_token
from app.errors import BadRequest, TokenExpired, Unauthorized
from app.hosts import below
from app.namespace import Namespace, Relay, Right, Rule

CACHE_SIZE = 4096

_TOKEN_HEADERS = ("servicebusauthorization", "authorization")


class Authorizer:
    """Verifies tokens against the rules of a namespace and of a relay in it.

    `clock` gives unix seconds; `mount_of` tells where the paths of a host name (lower case, no port) lie in a
    namespace, None when the name is not the namespace's (`app.hosts.Hosts.mount`).
    Tokens stay good for `grace_seconds` past their expiry, because the SDKs renew only at that instant.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        mount_of: Callable[[Namespace, str], str | None],
        grace_seconds: float = 300.0,
    ) -> None:
        self._clock = clock
        self._mount_of = mount_of
        self._grace_seconds = grace_seconds
        self._cache: OrderedDict[tuple[str, Namespace, Relay | None], Grant] = OrderedDict()
        self._nobody = new_rule("nobody", Right.NONE)
        self._expired: set[str] = set()  # tokens, and
        self._ended: set[Grant] = set()  # what they gave

    def authorize(self, token: str | None, namespace: Namespace, relay: Relay | None) -> Grant:
        """The grant of a token for a call on `relay` (None: on the namespace, or on nothing that exists).

        Raises `Unauthorized` when it is missing, malformed, not signed by a rule in force or meant for another
        host, `TokenExpired` when it is older than the grace period. What the grant reaches and permits is
        asked of the grant, so that an unknown entity shows as 404 only to those with a good token.
        """
        if not token:
            raise Unauthorized(MISSING_TOKEN)
        if token in self._expired:
            raise TokenExpired("ExpiredToken: The token is expired.")
        slot = (token, namespace, relay)
        grant = self._cache.get(slot)
        now = self._clock()
        if grant is not None and self.is_live(grant, now):
            self._cache.move_to_end(slot)
            return grant
        self._cache.pop(slot, None)
        grant = self._verify(parse_token(token), namespace, relay, now)
        self._cache[slot] = grant
        if len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        return grant

    def expire(self, token: str) -> None:
        """Let a token be expired from now, whatever it says itself."""
        self._expired.add(token)
        self._ended.update(grant for (text, _, _), grant in self._cache.items() if text == token)

    def forget(self) -> None:
        """Verify every token anew: host names have changed, and with them what an audience means."""
        self._cache.clear()

    def anonymous(self, namespace: Namespace) -> Grant:
        """The grant of someone without a token: no rights. Whether that suffices the relay's settings say."""
        return Grant(namespace, Right.NONE, None, "", "", "", float("inf"))

    def is_live(self, grant: Grant, now: float) -> bool:
        """Whether the rule still exists with that key and those rights, and the grace period is not over."""
        if grant.is_anonymous:
            return True
        if now > self.deadline(grant):
            return False
        if grant.relay is None:
            rule = grant.namespace.rules.get(grant.rule)
        elif grant.namespace.relays.get(grant.relay.key) is grant.relay:
            rule = grant.relay.rules.get(grant.rule)
        else:
            return False
        # Compared with our own copy of the key, nothing a caller chose: an ordinary comparison is enough.
        return rule is not None and rule.rights == grant.rights and grant.key in (rule.primary_key, rule.secondary_key)

    def deadline(self, grant: Grant) -> float:
        """The unix time at which what lives on this grant ends unless it is renewed."""
        return 0.0 if grant in self._ended else grant.expires_at + self._grace_seconds

    def _verify(self, token: Token, namespace: Namespace, relay: Relay | None, now: float) -> Grant:
        owner = relay if relay is not None else self._named_relay(token, namespace)
        home, rule, key = self._signer(token, namespace, owner)
        host, path = parse_audience(token.audience)
        mount = self._mount_of(namespace, host)
        if mount is None:
            raise Unauthorized(WRONG_AUDIENCE)
        grant = Grant(namespace, rule.rights, home, below(mount, path), token.rule, key, token.expires_at)
        if now > self.deadline(grant):
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(token.expires_at))
            raise TokenExpired(f"ExpiredToken: The token is expired. Expiration time: '{stamp}'.")
        return grant

    def _signer(self, token: Token, namespace: Namespace, relay: Relay | None) -> tuple[Relay | None, Rule, str]:
        """Which rule and key made the token: the relay's rule of that name, then the namespace's."""
        for home, rules in ((relay, relay.rules if relay else {}), (None, namespace.rules)):
            # An unknown name is tried against keys that nobody holds, so it takes as long as a wrong signature.
            rule = rules.get(token.rule, self._nobody)
            if (key := token.key_of(rule)) is not None:
                return home, rule, key
        raise Unauthorized(INVALID_SIGNATURE)

    def _named_relay(self, token: Token, namespace: Namespace) -> Relay | None:
        """The relay that the token itself names: for calls that concern no single relay, such as a session."""
        try:
            host, path = parse_audience(token.audience)
        except Unauthorized:
            return None
        return namespace.find(below(self._mount_of(namespace, host) or "", path))


def one_token(headers: Iterable[tuple[str, str]], query: str) -> str | None:
    """The token of a call on one of the gateway's own doors, wherever it stands.

    Raises `BadRequest` when two different ones are given: nobody shall be routed by one credential and judged by
    another.
    """
    pieces = (piece.partition("=") for piece in query.split("&"))
    found = {unquote_plus(value).strip() for name, _, value in pieces if unquote_plus(name).lower() == "sb-hc-token"}
    found.update(value.strip() for name, value in headers if name.lower() in _TOKEN_HEADERS)
    found.discard("")
    if len(found) > 1:
        raise BadRequest("The request carries two different tokens; send one.")
    return found.pop() if found else None
