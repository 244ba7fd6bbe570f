"""From a token's text to a grant. Deny by default; a token is verified once and remembered, a grant never trusted
without looking whether what it rests on still stands."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol
from urllib.parse import unquote_plus

from app.access.client_certificate import Certificates, ClientCertificate, Credential
from app.access.grant import MISSING_TOKEN, WRONG_AUDIENCE, Grant
from app.access.keyring import new_rule
from app.access.sas import INVALID_SIGNATURE, Token, parse_audience, parse_token
from app.access.tickets import Tickets, is_ticket, mark_of
from app.access.webtoken import is_web_token, parse_web_token
from app.closes import KEY_REVOKED, TOKEN_EXPIRED, TOKEN_REVOKED, Close
from app.errors import BadRequest, TokenExpired, Unauthorized
from app.hosts import below
from app.namespace import Mark, Namespace, Relay, Right, Rule

CACHE_SIZE = 4096

_TOKEN_HEADERS = ("servicebusauthorization", "authorization")
_REVOKED = "The token has been revoked."
_SINGLE = ("jti", "token")  # kinds of marks that one token has, whenever its issuer's clock says it was made


class WebTokens(Protocol):
    """Who vouches for the holders of JSON Web Tokens: `app.access.voucher.Vouchers`."""

    def grant(self, text: str, namespace: Namespace, now: float) -> Grant:
        """What a token gives. Raises `Unauthorized`, `KeysPending`, `IssuerUnreachable`."""
        ...


class Authorizer:
    """Verifies tokens: signatures by a rule of a namespace or of a relay in it, JSON Web Tokens, tickets.

    `clock` gives unix seconds; `mount_of` tells where the paths of a host name (lower case, no port) lie in a
    namespace, None when the name is not the namespace's (`app.hosts.Hosts.mount`).
    Tokens stay good for `grace_seconds` past their expiry, because the SDKs renew only at that instant.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        mount_of: Callable[[Namespace, str], str | None],
        grace_seconds: float = 300.0,
        web_tokens: WebTokens | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self._clock = clock
        self._mount_of = mount_of
        self._grace_seconds = grace_seconds
        self._web_tokens = web_tokens
        self._certificates = certificates
        self._cache: OrderedDict[tuple[Credential, Namespace, Relay | None], Grant] = OrderedDict()
        self._shared: OrderedDict[tuple[str, Namespace], Grant] = OrderedDict()  # by rules of a namespace
        self._nobody = new_rule("nobody", Right.NONE)
        self._ended: set[Mark] = set()  # tokens that a test has let expire
        self.tickets = Tickets(clock)

    def authorize(self, token: Credential | None, namespace: Namespace, relay: Relay | None) -> Grant:
        """The grant of a token, or of a client certificate, for a call on `relay` (None: on the namespace, or on
        nothing that exists).

        Raises `Unauthorized` when it is missing, malformed, not signed by a rule in force or meant for another
        host, `TokenExpired` when it is older than the grace period; `KeysPending` or `IssuerUnreachable` where the
        keys to verify it are not here. What the grant reaches and permits is asked of the grant, so that an unknown
        entity shows as 404 only to those with a good token.
        """
        if not token:
            raise Unauthorized(MISSING_TOKEN)
        slot = (token, namespace, relay)
        grant = self._cache.get(slot)
        now = self._clock()
        if grant is not None and self.is_live(grant, now):
            self._cache.move_to_end(slot)
            return grant
        self._cache.pop(slot, None)
        if isinstance(token, ClientCertificate):
            grant = self._of_certificate(token, namespace)
        elif is_ticket(bare := _bare(token)):
            grant = self.tickets.take(bare, namespace)
        elif is_web_token(bare):
            slot = (token, namespace, None)  # it says the same of every relay
            grant = self._cache.get(slot)
            if grant is None or not self.is_live(grant, now):
                grant = self._verify_web_token(bare, namespace, now)
        else:
            shared = self._shared.get((token, namespace))
            # A rule of the relay goes before one of the namespace that is called the same.
            if shared is None or relay is None or shared.rule in relay.rules or not self.is_live(shared, now):
                grant = self._verify(bare, namespace, relay)
                if grant.relay is None:
                    self._shared[token, namespace] = grant
                    if len(self._shared) > CACHE_SIZE:
                        self._shared.popitem(last=False)
            else:
                grant = shared
        self._must_stand(grant, now)
        if not grant.by_ticket:
            self._cache[slot] = grant
            if len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)
        return grant

    def expire(self, token: str) -> None:
        """Let a token be expired from now, whatever it says itself."""
        self._ended.add(mark_of(_bare(token)))

    def begin_anew(self) -> None:
        """Forget what was issued and let expire, and all that was verified: as after a start."""
        self._ended.clear()
        self.tickets = Tickets(self._clock)
        self.forget()

    def forget(self) -> None:
        """Verify every token anew: host names have changed, and with them what an audience means."""
        self._cache.clear()
        self._shared.clear()

    def anonymous(self, namespace: Namespace) -> Grant:
        """The grant of someone without a token: no rights. Whether that suffices the relay's settings say."""
        return Grant(namespace, Right.NONE, None, "", "", "", float("inf"))

    def is_live(self, grant: Grant, now: float) -> bool:
        """Whether what the grant rests on still stands, and its time with the grace period is not over at `now`."""
        if grant.is_anonymous:
            return True
        if now > self.deadline(grant):
            return False
        if grant.namespace.revocations and self._is_revoked(grant):
            return False
        if grant.bearer is not None:
            is_signed = grant.bearer.key is None or not grant.bearer.key.is_withdrawn
            return is_signed and not grant.namespace.is_deleted
        if grant.relay is None:
            rule = grant.namespace.rules.get(grant.rule)
        elif grant.namespace.relays.get(grant.relay.key) is grant.relay:
            rule = grant.relay.rules.get(grant.rule)
        else:
            return False
        # Compared with our own copy of the key, nothing a caller chose: an ordinary comparison is enough.
        return rule is not None and rule.rights == grant.rights and grant.key in (rule.primary_key, rule.secondary_key)

    def close_of(self, grant: Grant) -> Close:
        """How a connection ends whose grant is not live any more."""
        if self._clock() > self.deadline(grant):
            return TOKEN_EXPIRED
        return TOKEN_REVOKED if self._is_revoked(grant) else KEY_REVOKED

    def deadline(self, grant: Grant) -> float:
        """The unix time at which what lives on this grant ends unless it is renewed."""
        if self._ended and not self._ended.isdisjoint(grant.marks):
            return 0.0
        return grant.expires_at if grant.by_ticket else grant.expires_at + self._grace_seconds

    def check(self, grant: Grant) -> None:
        """Return when a grant still stands. Raises `TokenExpired`, `Unauthorized`."""
        if not grant.is_anonymous:
            self._must_stand(grant, self._clock())

    def _must_stand(self, grant: Grant, now: float) -> None:
        if now > self.deadline(grant):
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(grant.expires_at))
            raise TokenExpired(f"ExpiredToken: The token is expired. Expiration time: '{stamp}'.")
        if self._is_revoked(grant):
            raise Unauthorized(_REVOKED)
        if not self.is_live(grant, now):  # a ticket whose rule is gone
            raise Unauthorized(INVALID_SIGNATURE)

    def _is_revoked(self, grant: Grant) -> bool:
        revocations = grant.namespace.revocations
        if not revocations:
            return False
        now = self._clock()
        issued_at = grant.bearer.issued_at if grant.bearer is not None else None
        for mark in grant.marks:
            found = revocations.get(mark)
            if found is not None and (found.until is None or now <= found.until):
                if mark.kind in _SINGLE or issued_at is None or issued_at <= found.before:
                    return True
        return False

    def _of_certificate(self, certificate: ClientCertificate, namespace: Namespace) -> Grant:
        grant = self._certificates.grant(certificate, namespace) if self._certificates is not None else None
        if grant is None:  # nobody's, and there is no token
            raise Unauthorized(MISSING_TOKEN)
        return grant

    def _verify_web_token(self, token: str, namespace: Namespace, now: float) -> Grant:
        if self._web_tokens is None:
            parse_web_token(token)
            raise Unauthorized(INVALID_SIGNATURE)
        grant = self._web_tokens.grant(token, namespace, now)
        return replace(grant, marks=(*grant.marks, mark_of(token)))

    def _verify(self, text: str, namespace: Namespace, relay: Relay | None) -> Grant:
        token = parse_token(text)
        owner = relay if relay is not None else self._named_relay(token, namespace)
        home, rule, key = self._signer(token, namespace, owner)
        host, path = parse_audience(token.audience)
        mount = self._mount_of(namespace, host)
        if mount is None:
            raise Unauthorized(WRONG_AUDIENCE)
        by_rule = Mark("rule", token.rule if home is None else f"{home.key}/{token.rule}")
        marks = by_rule, *map(mark_of, (text, *token.usual_texts(rule)))
        scope = below(mount, path)
        return Grant(namespace, rule.rights, home, scope, token.rule, key, token.expires_at, marks=marks)

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


def _bare(token: str) -> str:
    """A token without the scheme `Bearer`, which may stand before it wherever it is given."""
    scheme, _, rest = token.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else token.strip()
