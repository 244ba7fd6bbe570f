"""Grants: what a verified token lets its holder do, and the one permission check of the gateway.

Every path on which a payload can travel (live, replay, long poll, requests, sockets, management) asks
`Grant.permits` for the concrete address, or `Grant.covers` for a pattern. Nothing else decides, whatever kind of
token the grant came from: a signature of a rule bounds it by a relay and a path, a JSON Web Token or a ticket by
limits, which are lists of patterns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from app.errors import ClaimMissing, Unauthorized
from app.namespace import Mark, Namespace, Profile, Relay, Right, fold
from fanout.address import Pattern

if TYPE_CHECKING:
    from app.access.keyset import Key

MISSING_TOKEN = "MissingToken: The authorization header was not found."
WRONG_AUDIENCE = "InvalidAudience: The authorization header contains a token with a wrong audience."

_UNNAMEABLE = "\0"  # a segment that no token's scope can hold


class Allowance(NamedTuple):
    """Some rights at the addresses of a pattern; None is every address."""

    rights: Right
    pattern: Pattern | None


Limit = tuple[Allowance, ...]
"""What is permitted where: at least one of these has to permit it. An empty one permits nothing."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who a grant is for, where that is said by somebody else than our own rules.

    `name` is for the log. `key` is the issuer's key that signed, None where none did.
    """

    name: str
    key: Key | None = field(default=None, repr=False)
    issued_at: float | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """The verified permission to use some rights until a time.

    `relay` is set when the rule belongs to a relay: then the grant is good there and nowhere else.
    `scope` is the decoded path of the token's `sr` ('' reaches everything). `expires_at` is the
    token's own expiry in unix seconds; the grace period is the authorizer's. A grant without a
    `rule` and a `bearer` is the anonymous one. Each of its `limits` narrows it further. `marks` are the names under
    which it may be revoked. A grant `by_ticket` is good for this one call and what lives on it, without grace.
    """

    namespace: Namespace = field(repr=False)
    rights: Right
    relay: Relay | None
    scope: str
    rule: str
    key: str = field(repr=False)
    expires_at: float
    limits: tuple[Limit, ...] = ()
    bearer: Bearer | None = None
    marks: tuple[Mark, ...] = field(default=(), repr=False)
    by_ticket: bool = False

    @property
    def is_anonymous(self) -> bool:
        return not self.rule and self.bearer is None

    @property
    def holder(self) -> str:
        """Who acts, for the log: never a secret."""
        if self.bearer is not None:
            return self.bearer.name
        if not self.rule:
            return "anonymous"
        return f"rule {self.rule}" if self.relay is None else f"rule {self.rule} of {self.relay.name}"

    @property
    def reach(self) -> tuple[Relay | None, str, Right, tuple[Limit, ...]]:
        """All that decides what is permitted, apart from time: grants of one reach let the same through."""
        return self.relay, self.scope, self.rights, self.limits

    def permits(self, right: Right, relay: Relay, address: str) -> bool:
        """Whether the holder may use `right` at this concrete, decoded address, which `relay` owns."""
        right = _needed(right, relay)
        if right not in self.rights or not self.reaches(relay, address):
            return False
        return not self.limits or self._is_within_limits(right, lambda held: _matches(relay, held, address))

    def covers(self, right: Right, relay: Relay, pattern: Pattern) -> bool:
        """Whether the holder may use `right` at every address of `relay` that the pattern can match.

        A scope is a literal path, so it holds all matches exactly when it holds the pattern's literal prefix. Of a
        limit one pattern alone has to cover them.
        """
        right = _needed(right, relay)
        if right not in self.rights or not self.reaches(relay, pattern.prefix):
            return False
        return not self.limits or self._is_within_limits(right, lambda held: _covers(relay, held, pattern))

    def permits_all(self, right: Right, relay: Relay) -> bool:
        """Whether the holder may use `right` at every address of `relay`."""
        return self.covers(right, relay, _everything(relay.name))

    def permits_everywhere(self, right: Right) -> bool:
        """Whether the holder may use `right` in the whole namespace, whatever comes to be provisioned there."""
        if right not in self.rights or self.relay is not None or self.scope:
            return False
        return all(any(a.pattern is None and right in a.rights for a in limit) for limit in self.limits)

    def reaches(self, relay: Relay, address: str) -> bool:
        """Whether the token's audience takes in the address: whole segments, whatever the rights."""
        if self.relay is not None and self.relay is not relay:
            return False
        if not self.scope:
            return True
        held, wanted = _comparable(relay, self.scope), _comparable(relay, address)
        return wanted == held or wanted.startswith(held + "/")

    def meets(self, relay: Relay, prefix: str) -> bool:
        """Whether the token's audience takes in `prefix`, or lies below it."""
        if self.reaches(relay, prefix):
            return True
        below = _comparable(relay, self.scope).startswith(_comparable(relay, prefix) + "/")
        return below and self.relay in (None, relay)

    def require(self, right: Right, relay: Relay, address: str) -> None:
        """Return when `permits` holds.

        Raises `Unauthorized` without a token or when its `sr` does not reach the address, and
        `ClaimMissing` when the token is good but lacks the right (protocol guide, "error codes").
        """
        if self.is_anonymous:
            raise Unauthorized(MISSING_TOKEN)
        if not self.reaches(relay, address):
            raise Unauthorized(WRONG_AUDIENCE)
        right = _needed(right, relay)
        if right not in self.rights or (
            self.limits and not self._is_within_limits(right, lambda held: _matches(relay, held, address))
        ):
            raise _missing(right)

    def require_all(self, right: Right, relay: Relay, pattern: Pattern) -> None:
        """Return when `covers` holds; raises as `require`, and `ClaimMissing` for a wildcard that reaches too far."""
        if pattern.is_concrete or self.is_anonymous:
            return self.require(right, relay, pattern.text)
        self.require_right(_needed(right, relay))
        if not self.covers(right, relay, pattern):
            raise ClaimMissing(
                "Unauthorized access. The token does not cover every address that the pattern can match."
            )

    def require_whole(self, right: Right, relay: Relay) -> None:
        """Return when `permits_all` holds: who changes a relay, or sees its keys, must reach all of it.

        Raises as `require`.
        """
        self.require(right, relay, relay.name)
        if not self.permits_all(right, relay):
            raise ClaimMissing("Unauthorized access. The token does not reach the whole relay.")

    def require_right(self, right: Right) -> None:
        """Return when there is `right` somewhere; raises `Unauthorized` when anonymous, else `ClaimMissing`."""
        if self.is_anonymous:
            raise Unauthorized(MISSING_TOKEN)
        if right not in self.rights or (
            self.limits and not all(any(right in each.rights for each in limit) for limit in self.limits)
        ):
            raise _missing(right)

    def _is_within_limits(self, right: Right, holds: Callable[[Pattern], bool]) -> bool:
        return all(
            any(right in rights and (pattern is None or holds(pattern)) for rights, pattern in limit)
            for limit in self.limits
        )


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


def _missing(right: Right) -> ClaimMissing:
    return ClaimMissing(f"Unauthorized access. '{right.label}' claim(s) are required to perform this operation.")


def _matches(relay: Relay, held: Pattern, address: str) -> bool:
    if address.endswith("/" + _UNNAMEABLE):  # which may stand for any number of segments
        return _covers(relay, held, _everything(relay.name))
    return _folded(held, *_folding(relay)).matches(_comparable(relay, address))


def _covers(relay: Relay, held: Pattern, wanted: Pattern) -> bool:
    folding = _folding(relay)
    return _folded(held, *folding).covers(_folded(wanted, *folding))


def _folding(relay: Relay) -> tuple[int, bool]:
    """How many first segments compare without case, or whether all do: as `_comparable` has it."""
    return relay.name.count("/") + 1, relay.profile is not Profile.NATIVE


@lru_cache(maxsize=4096)
def _folded(pattern: Pattern, depth: int, is_whole: bool) -> Pattern:
    depth = len(pattern.segments) if is_whole else depth
    segments = tuple(fold(each) if place < depth else each for place, each in enumerate(pattern.segments))
    literal = pattern.prefix.count("/") + 1
    return replace(pattern, text="/".join(segments), segments=segments, prefix="/".join(segments[:literal]))


@lru_cache(maxsize=4096)
def _everything(name: str) -> Pattern:
    segments = (*name.split("/"), "**")  # made by hand: it may be longer than a pattern that somebody sends
    return Pattern("/".join(segments), segments, is_concrete=False, has_tail=True, prefix=name)
