"""The `api-version`s of Azure's management, and which of them know which kind of thing."""

from __future__ import annotations

from typing import Literal, get_args

from app.errors import BadRequest, UnknownApiVersion

Version = Literal["2016-07-01", "2017-04-01", "2021-11-01", "2024-01-01", "2026-01-01"]
NewerVersion = Literal["2021-11-01", "2024-01-01", "2026-01-01"]

VERSIONS: tuple[Version, ...] = get_args(Version)  # they compare as text
NETWORKING: Version = "2021-11-01"  # from here on there are network rules, and places and times on everything
TLS: Version = "2026-01-01"  # and from here on namespaces tell their least version of TLS

_NEWER = ("namespaces/networkRuleSets", "namespaces/privateEndpointConnections", "namespaces/privateLinkResources")


def check_version(version: str, kind: str) -> None:
    """Whether there is such a version that knows this kind of thing. Raises `BadRequest`, `UnknownApiVersion`."""
    known = get_args(NewerVersion) if kind in _NEWER else VERSIONS
    if not version:
        raise BadRequest("The api-version query parameter (?api-version=) needs a value.")
    if version not in known:
        raise UnknownApiVersion(
            f"The API version '{version}' is not offered for type '{kind}'. "
            f"The supported api-versions are '{', '.join(known)}'."
        )
