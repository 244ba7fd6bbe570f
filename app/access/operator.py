"""Who may manage the whole gateway: bearer tokens of operators (RFC 6750), asked of one verifier after the other."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

from app.access.voucher import Vouchers
from app.access.webtoken import is_web_token
from app.errors import KeysPending, Unauthorized

MISSING_BEARER = "Authentication failed. The 'Authorization' header is missing or is not 'Bearer <token>'."
INVALID_BEARER = "The access token is not good here."


class Verifier(Protocol):
    """One way to prove to be an operator."""

    async def verify(self, bearer: str) -> None:
        """Return when `bearer`, the token without its scheme, is an operator's. Raises `Unauthorized`."""


class StaticToken:
    """The one token that lies in the data folder, or that the settings give."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    async def verify(self, bearer: str) -> None:
        """In time that does not depend on how much of the token is right. Raises `Unauthorized`."""
        if not hmac.compare_digest(bearer.encode("utf-8", "surrogateescape"), self._token):
            raise Unauthorized(INVALID_BEARER)


class WebTokenOperators:
    """Holders of JSON Web Tokens whose claims say so. `clock` is unix seconds."""

    def __init__(self, vouchers: Vouchers, clock: Callable[[], float]) -> None:
        self._vouchers = vouchers
        self._clock = clock

    async def verify(self, bearer: str) -> None:
        """Once the keys of its issuer are there. Raises `Unauthorized`, `IssuerUnreachable`."""
        if not is_web_token(bearer):
            raise Unauthorized(INVALID_BEARER)
        try:
            is_operator = self._vouchers.is_operator(bearer, self._clock())
        except KeysPending as pending:
            ready = asyncio.Event()
            pending.then(ready.set)
            await ready.wait()
            is_operator = self._vouchers.is_operator(bearer, self._clock())
        if not is_operator:
            raise Unauthorized(INVALID_BEARER)


class Operators:
    """All who may manage the whole gateway. A token is good when one verifier takes it."""

    def __init__(self, verifiers: Sequence[Verifier]) -> None:
        self._verifiers = list(verifiers)

    async def verify(self, bearer: str) -> None:
        """Raises `Unauthorized` as the last verifier does, so that the one that knows most stands last."""
        refusal = Unauthorized(INVALID_BEARER)
        for verifier in self._verifiers:
            try:
                return await verifier.verify(bearer)
            except Unauthorized as error:
                refusal = error
        raise refusal


def bearer_of(authorization: str | None) -> str:
    """The token in an `Authorization` header (RFC 6750, 2.1). Raises `Unauthorized` when there is none."""
    scheme, _, bearer = (authorization or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not bearer.strip():
        raise Unauthorized(MISSING_BEARER)
    return bearer.strip()


def new_operator_token() -> str:
    """A fresh token, 256 random bits."""
    return secrets.token_urlsafe(32)
