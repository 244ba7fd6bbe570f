"""The settings group `identity`: who, beside the rules of a namespace, vouches for those who call.

Only the shape of it; what it means is in `app.access`. Everything is checked here, so that a gateway with a bad
setting does not start.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from fanout.address import check_pattern
from fanout.errors import InvalidPattern

RightName = Literal["Listen", "Send", "Manage"]

RELAY_AUDIENCES = ("https://relay.azure.net/", "https://relay.azure.net")
MANAGEMENT_AUDIENCES = (
    "https://management.azure.com/",
    "https://management.azure.com",
    "https://management.core.windows.net/",
)
EVERY_NAMESPACE = "*"
MIN_SECRET_BYTES = 32  # RFC 7518, 3.2, of HS256
MAX_KEY_FILE_BYTES = 64 * 1024


_ATTRIBUTE = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+)=.+", re.DOTALL)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _checked_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        try:
            check_pattern(pattern)
        except InvalidPattern as error:
            raise ValueError(f"{pattern!r}: {error}") from None
    return patterns


class ClaimRule(_Part):
    """What a value in a claim gives its holder. A claim may be a list, or text with blanks between its values."""

    claim: str = Field(min_length=1)
    value: str = Field(min_length=1)
    rights: tuple[RightName, ...] = Field(min_length=1)
    relays: tuple[str, ...] = ()  # patterns; none: everywhere in the namespace

    _check_patterns = field_validator("relays")(_checked_patterns)


def _built_in() -> tuple[ClaimRule, ...]:
    """Azure's roles in `roles`, and scopes of the rights' own names in `scp` and `scope`."""
    roles: tuple[tuple[str, RightName], ...] = (("Owner", "Manage"), ("Listener", "Listen"), ("Sender", "Send"))
    rights: tuple[RightName, ...] = ("Listen", "Send", "Manage")
    return tuple(
        [ClaimRule(claim="roles", value=f"Azure Relay {role}", rights=(right,)) for role, right in roles]
        + [ClaimRule(claim=claim, value=right, rights=(right,)) for claim in ("scp", "scope") for right in rights]
    )


class Issuer(_Part):
    """An OpenID Connect provider whose tokens are taken."""

    issuer: str = Field(min_length=1, max_length=2048)
    audiences: tuple[str, ...] = Field(default=RELAY_AUDIENCES, min_length=1)
    jwks_uri: str | None = None  # None: as its /.well-known/openid-configuration says
    namespace: str | None = None  # None: the gateway's own; `*`: every
    grants: tuple[ClaimRule, ...] = Field(default_factory=_built_in)
    operators: tuple[ClaimValue, ...] = ()  # who of them may manage the whole gateway, as Azure's management API does
    operator_audiences: tuple[str, ...] = Field(default=MANAGEMENT_AUDIENCES, min_length=1)

    @model_validator(mode="after")
    def _is_reachable(self) -> Issuer:
        for url in (self.jwks_uri,) if self.jwks_uri is not None else (self.issuer,):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
                raise ValueError("issuer or jwks_uri should be an http or https URL")
            if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
                raise ValueError("keys are fetched by https, or by http from this machine only")
        return self


class ClaimValue(_Part):
    """A value that a claim has to hold."""

    claim: str = Field(min_length=1)
    value: str = Field(min_length=1)


class Signer(_Part):
    """A user's own backend, which signs tokens that list patterns for each action."""

    name: str = Field(pattern=r"^[A-Za-z0-9._~-]{1,128}$")
    algorithm: Literal["HS256", "RS256", "ES256"]
    key: SecretStr | None = None  # text: the secret of HS256, or a PEM
    key_file: Path | None = None
    issuer: str | None = None
    audience: str | None = None
    namespace: str | None = None  # as for an issuer

    @model_validator(mode="after")
    def _has_one_key(self) -> Signer:
        if (self.key is None) == (self.key_file is None):
            raise ValueError(f"{self.name}: give either key or key_file")
        return self


class Certificate(_Part):
    """A client certificate by exactly one name in it, and what its holder may do."""

    san: str | None = Field(default=None, pattern=r"^(DNS|URI|email):[^\x00-\x1f\x7f]+$")
    subject: tuple[str, ...] = ()  # `TYPE=value` each, in the order of the certificate
    rights: tuple[RightName, ...] = Field(min_length=1)
    relays: tuple[str, ...] = ()
    namespace: str | None = None

    _check_patterns = field_validator("relays")(_checked_patterns)

    @model_validator(mode="after")
    def _has_one_name(self) -> Certificate:
        if (self.san is None) == (not self.subject):
            raise ValueError("a certificate is known by either san or subject")
        if not all(_ATTRIBUTE.fullmatch(each) for each in self.subject):
            raise ValueError('subject should be a list such as ["O=Example", "CN=agent"], as in the certificate')
        return self


class Identity(_Part):
    """Who else vouches for callers."""

    issuers: tuple[Issuer, ...] = Field(
        default=(), description="OpenID Connect providers; see docs/operations.md, Identity."
    )
    signers: tuple[Signer, ...] = Field(
        default=(), description="Own backends that sign tokens with patterns for each action; see there."
    )
    certificates: tuple[Certificate, ...] = Field(
        default=(), description="Client certificates by a name in them, and their rights; see there."
    )
    client_ca: Path | None = Field(
        default=None, description="PEM file of the authority of client certificates. Without it none is asked for."
    )
    client_certificate: Literal["optional", "required"] = Field(
        default="optional", description="Whether TLS connections need a client certificate, where there is `client_ca`."
    )
    fetch_seconds: float = Field(default=5, gt=0, le=30, description="For an issuer to give its keys.")
    refresh_seconds: float = Field(default=3600, gt=0, description="After which an issuer's keys are fetched anew.")
    skew_seconds: float = Field(default=60, ge=0, le=600, description="That an issuer's clock may be ahead of ours.")
    ticket_seconds: float = Field(
        default=60, gt=0, le=3600, description="In which a ticket is to be used, if the asker names no time."
    )

    @model_validator(mode="after")
    def _are_distinct(self) -> Identity:
        names = [signer.name for signer in self.signers]
        if len(set(names)) < len(names):
            raise ValueError("two signers have the same name")
        places = [(issuer.issuer, issuer.namespace) for issuer in self.issuers]
        if len(set(places)) < len(places):
            raise ValueError("an issuer stands here twice for the same namespace")
        if self.certificates and self.client_ca is None:
            raise ValueError("certificates need client_ca")
        return self


Issuer.model_rebuild()
