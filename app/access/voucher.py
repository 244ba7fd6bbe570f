"""Who vouches for the holders of JSON Web Tokens: OpenID Connect providers, and backends that sign tokens themselves.

The rule it upholds: nothing that an unverified token says has any effect but to choose among the vouchers that the
settings name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from app.access.addresses import allowances_of
from app.access.grant import Allowance, Bearer, Grant, Limit
from app.access.issuers import Fetch, IssuerKeys
from app.access.keyset import Key, signer_key
from app.access.sas import INVALID_SIGNATURE
from app.access.tickets import mark_of
from app.access.webtoken import WebToken, check_audience, lifetime, parse_web_token, values_of
from app.errors import Unauthorized
from app.identity import EVERY_NAMESPACE, MAX_KEY_FILE_BYTES, MIN_SECRET_BYTES, Identity, Issuer, Signer
from app.namespace import Mark, Namespace, Right, fold
from fanout.address import check_pattern

_RIGHTS = {"Listen": Right.LISTEN, "Send": Right.SEND, "Manage": Right.MANAGE}


class Provider:
    """An OpenID Connect provider: what its tokens must be for, and what their claims give."""

    def __init__(self, settings: Issuer, keys: IssuerKeys) -> None:
        self._settings = settings
        self._keys = keys
        self._rules = [(rule, limit_of(rule.rights, rule.relays)) for rule in settings.grants]
        self.namespace = settings.namespace

    def verify(self, token: WebToken) -> Key | None:
        """The key that made the token. Raises `KeysPending`, `IssuerUnreachable`."""
        if token.issuer != self._settings.issuer:
            return None
        return next((key for key in self._keys.candidates(token) if key.verifies(token)), None)

    def limit_of(self, token: WebToken) -> Limit:
        """What a verified token's claims give. Raises `Unauthorized` when it is meant for another audience."""
        check_audience(token, self._settings.audiences)
        found: list[Allowance] = []
        for rule, limit in self._rules:
            if rule.value in values_of(token.claims, rule.claim):
                found += limit
        return tuple(found)

    def name_of(self, token: WebToken) -> str:
        return token.issuer

    def is_operator(self, token: WebToken) -> bool:
        """Whether a verified token's claims make its holder an operator of the whole gateway.

        Raises `Unauthorized` when it is meant for another audience.
        """
        check_audience(token, self._settings.operator_audiences)
        return any(each.value in values_of(token.claims, each.claim) for each in self._settings.operators)


class Backend:
    """A user's own backend, whose tokens list patterns for each action."""

    def __init__(self, settings: Signer, key: Key) -> None:
        self._settings = settings
        self._key = key
        self.namespace = settings.namespace

    def verify(self, token: WebToken) -> Key | None:
        """The key that made the token."""
        if self._settings.issuer is not None and token.issuer != self._settings.issuer:
            return None
        return self._key if self._key.verifies(token) else None

    def limit_of(self, token: WebToken) -> Limit:
        """What a verified token's claims give. Raises `Unauthorized` for another audience, or claims of no use."""
        if self._settings.audience is not None:
            check_audience(token, (self._settings.audience,))
        try:
            return allowances_of(token.claims)
        except ValueError as error:
            raise Unauthorized(f"MalformedToken: {error}") from None

    def name_of(self, token: WebToken) -> str:
        return token.issuer or self._settings.name

    def is_operator(self, token: WebToken) -> bool:
        return False


class Vouchers:
    """All of them. `namespace` is the name of the gateway's own, which is meant where a voucher names none.

    Raises ValueError where a key cannot be used. `clock` is monotonic.
    """

    def __init__(self, settings: Identity, namespace: str, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._skew_seconds = settings.skew_seconds
        self._own = fold(namespace)
        self._keys: dict[tuple[str, str | None], IssuerKeys] = {}
        for each in settings.issuers:
            place = each.issuer, each.jwks_uri
            self._keys.setdefault(place, IssuerKeys(*place, fetch, clock, settings.refresh_seconds))
        providers = [Provider(each, self._keys[each.issuer, each.jwks_uri]) for each in settings.issuers]
        self._all: list[Provider | Backend] = [*providers, *(Backend(each, key_of(each)) for each in settings.signers)]

    def grant(self, text: str, namespace: Namespace, now: float) -> Grant:
        """The grant of a token, which may be expired already: the authorizer has a grace for that.

        Raises `Unauthorized`, and `KeysPending` or `IssuerUnreachable` where its issuer's keys are not here.
        """
        token = parse_web_token(text)
        voucher, key = self._verified(token, namespace)
        limit = voucher.limit_of(token)
        expires_at, issued_at = lifetime(token, now, self._skew_seconds)
        rights = Right.NONE
        for allowance in limit:
            rights |= allowance.rights
        name = voucher.name_of(token)
        bearer = Bearer(f"{token.subject or token.id or 'somebody'} of {name}", key, issued_at)
        return Grant(namespace, rights, None, "", "", "", expires_at, (limit,), bearer, _marks(token, name))

    def is_operator(self, text: str, now: float) -> bool:
        """Whether a token is good now and makes its holder an operator of the whole gateway. Raises as `grant`."""
        token = parse_web_token(text)
        voucher, _ = self._verified(token, None)
        expires_at, _ = lifetime(token, now, self._skew_seconds)
        return now <= expires_at and voucher.is_operator(token)

    def on_withdrawn(self, callback: Callable[[], None]) -> None:
        """Call back whenever an issuer has taken a key back: what rests on it is not live any more."""
        for keys in self._keys.values():
            keys.on_withdrawn = callback

    async def close(self) -> None:
        """Stop what is being fetched."""
        await asyncio.gather(*(keys.close() for keys in self._keys.values()))

    def _verified(self, token: WebToken, namespace: Namespace | None) -> tuple[Provider | Backend, Key]:
        for voucher in self._all:
            if namespace is None or self._vouches_in(voucher, namespace):
                key = voucher.verify(token)
                if key is not None:
                    return voucher, key
        raise Unauthorized(INVALID_SIGNATURE)

    def _vouches_in(self, voucher: Provider | Backend, namespace: Namespace) -> bool:
        if voucher.namespace == EVERY_NAMESPACE:
            return True
        return fold(namespace.name) == (self._own if voucher.namespace is None else fold(voucher.namespace))


def key_of(signer: Signer) -> Key:
    """The key of a backend, from its setting or its file. Raises ValueError."""
    text = signer.key.get_secret_value().encode() if signer.key is not None else b""
    if signer.key_file is not None:
        text = _content(signer.name, signer.key_file)
    if signer.algorithm == "HS256" and len(text) < MIN_SECRET_BYTES:
        raise ValueError(f"{signer.name}: the secret of HS256 should have at least {MIN_SECRET_BYTES} bytes")
    return signer_key(signer.name, signer.algorithm, text)


def _content(name: str, file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_KEY_FILE_BYTES).strip()
    except OSError as error:
        raise ValueError(f"{name}: {file}: {error.strerror}") from None


def limit_of(rights: tuple[str, ...], relays: tuple[str, ...]) -> Limit:
    """The limit that a setting states: these rights at these patterns, or everywhere when there are none."""
    total = Right.NONE
    for name in rights:
        total |= _RIGHTS[name]
    if not relays:
        return (Allowance(total, None),)
    return tuple(Allowance(total, check_pattern(pattern)) for pattern in relays)


def _marks(token: WebToken, issuer: str) -> tuple[Mark, ...]:
    """Under which names it may be revoked, apart from that of its text."""
    marks = [Mark("all")]
    if token.id:
        marks += [Mark("jti", token.id), Mark("jti", token.id, issuer)]
    if token.subject:
        marks += [Mark("sub", token.subject), Mark("sub", token.subject, issuer)]
    if (twin := token.twin()) is not None:
        marks.append(mark_of(twin))
    return tuple(marks)
