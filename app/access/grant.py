"""Grants: what a verified token lets its holder do, and the one permission check of the gateway.

Every path on which a payload can travel (live, replay, long poll, requests, sockets, management) asks
`Grant.permits` for the concrete address, or `Grant.covers` for a pattern. Nothing else decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from app.errors import ClaimMissing, Unauthorized
from app.namespace import Namespace, Profile, Relay, Right, fold

if TYPE_CHECKING:
    from fanout.address import Pattern

MISSING_TOKEN = "MissingToken: The authorization header was not found."
WRONG_AUDIENCE = "InvalidAudience: The authorization header contains a token with a wrong audience."

_UNNAMEABLE = "\0"  # a segment that no token's scope can hold


@dataclass(frozen=True, slots=True)
class Grant:
    """The verified permission to use some rights until a time.

    `relay` is set when the rule belongs to a relay: then the grant is good there and nowhere else.
    `scope` is the decoded path of the token's `sr` ('' reaches everything). `expires_at` is the
    token's own expiry in unix seconds; the grace period is the authorizer's. A grant without a
    `rule` is the anonymous one.
    """

    namespace: Namespace = field(repr=False)
    rights: Right
    relay: Relay | None
    scope: str
    rule: str
    key: str = field(repr=False)
    expires_at: float

    @property
    def is_anonymous(self) -> bool:
        return not self.rule

    @property
    def reach(self) -> tuple[Relay | None, str, Right]:
        """All that decides what is permitted, apart from time: grants of one reach let the same through."""
        return self.relay, self.scope, self.rights

    def permits(self, right: Right, relay: Relay, address: str) -> bool:
        """Whether the holder may use `right` at this concrete, decoded address, which `relay` owns."""
        return _needed(right, relay) in self.rights and self.reaches(relay, address)

    def covers(self, right: Right, relay: Relay, pattern: Pattern) -> bool:
        """Whether the holder may use `right` at every address of `relay` that the pattern can match.

        A scope is a literal path, so it holds all matches exactly when it holds the pattern's literal prefix.
        """
        return _needed(right, relay) in self.rights and self.reaches(relay, pattern.prefix)

    def reaches(self, relay: Relay, address: str) -> bool:
        """Whether the token's audience takes in the address: whole segments, whatever the rights."""
        if self.relay is not None and self.relay is not relay:
            return False
        if not self.scope:
            return True
        held, wanted = _comparable(relay, self.scope), _comparable(relay, address)
        return wanted == held or wanted.startswith(held + "/")

    def require(self, right: Right, relay: Relay, address: str) -> None:
        """Return when `permits` holds.

        Raises `Unauthorized` without a token or when its `sr` does not reach the address, and
        `ClaimMissing` when the token is good but lacks the right (protocol guide, "error codes").
        """
        if self.is_anonymous:
            raise Unauthorized(MISSING_TOKEN)
        if not self.reaches(relay, address):
            raise Unauthorized(WRONG_AUDIENCE)
        self.require_right(_needed(right, relay))

    def require_all(self, right: Right, relay: Relay, pattern: Pattern) -> None:
        """Return when `covers` holds; raises as `require`, and `ClaimMissing` for a wildcard that reaches too far."""
        if pattern.is_concrete or self.is_anonymous:
            return self.require(right, relay, pattern.text)
        if not self.reaches(relay, pattern.prefix):
            raise ClaimMissing(
                "Unauthorized access. The token does not cover every address that the pattern can match."
            )
        self.require_right(_needed(right, relay))

    def require_right(self, right: Right) -> None:
        """Return when the rule has `right`; raises `Unauthorized` when anonymous, else `ClaimMissing`."""
        if self.is_anonymous:
            raise Unauthorized(MISSING_TOKEN)
        if right not in self.rights:
            raise ClaimMissing(f"Unauthorized access. '{right.label}' claim(s) are required to perform this operation.")


def _needed(right: Right, relay: Relay) -> Right:
    """What the gateway tells of itself is for managers, whichever way it is asked."""
    return Right.MANAGE if relay.is_system else right


def opaque_address(relay: Relay, suffix: str) -> str:
    """The address that permissions are judged by when a suffix is passed on verbatim (Azure's profiles).

    `suffix` is the raw path after the relay's, percent-encoded, empty or with its leading '/'. One in which
    decoding could move a segment boundary (`..`, `%2F`, a backslash) becomes a segment that no scope names:
    a token for the relay still reaches it, a token for something below does not.
    """
    segments = [unquote(segment, errors="replace") for segment in suffix.rstrip("/").split("/")[1:]]
    if not segments:
        return relay.name
    if any(segment in (".", "..") or "/" in segment or "\\" in segment for segment in segments):
        return f"{relay.name}/{_UNNAMEABLE}"
    return "/".join([relay.name, *segments])


def _comparable(relay: Relay, path: str) -> str:
    """Relay paths compare without case; what follows compares exactly, except on Azure's profiles."""
    if relay.profile is not Profile.NATIVE:
        return fold(path)
    length = len(relay.name)
    return fold(path[:length]) + path[length:]
