"""What a listener says of the relay that it opens: request headers of its control channel's upgrade, or its query.

WCF Relay's listeners state such things in their binding and endpoint behaviours (`RelayClientAuthenticationType`,
`EndToEndWebHttpSecurityMode`, `ServiceRegistrySettings`); whoever speaks Hybrid Connections states them here.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from app.errors import BadRequest
from app.wire.azure.headers import Headers, values_of

MOST_NAME_CHARS = 256

PROFILES = ("native", "hybridConnection", "http", "netTcp", "netOneway", "netEvent")

# What each is called as a header and in the query, with its values in lower case.
_PROFILE = "fanway-relay-profile", "sb-hc-profile", {name.lower(): name for name in PROFILES}
_AUTHORIZATION = (
    "fanway-client-authorization",
    "sb-hc-client-authorization",
    {"none": False, "required": True, "relayaccesstoken": True},
)
_SECURITY = "fanway-transport-security", "sb-hc-transport-security", {"none": False, "required": True}
_DISCOVERY = "fanway-discovery", "sb-hc-discovery", {"private": False, "public": True}
_DISPLAY_NAME = "fanway-display-name", "sb-hc-display-name"


class StatedTerms(NamedTuple):
    """What was said; None where nothing was."""

    profile: str | None = None
    requires_client_authorization: bool | None = None
    requires_transport_security: bool | None = None
    is_public: bool | None = None
    display_name: str | None = None


NOTHING_STATED = StatedTerms()


def parse_terms(headers: Headers, query: str) -> StatedTerms:
    """The terms of an upgrade; of two that differ, and of values that mean nothing, `BadRequest` says so."""
    asked: dict[str, str] = {}
    if "sb-hc-" in query.lower():
        asked = {name.lower(): value for name, value in parse_qsl(query, keep_blank_values=True)}
    if not asked and not any(name.lower().startswith("fanway-") for name, _ in headers):
        return NOTHING_STATED
    name = _said(_DISPLAY_NAME[0], headers, asked.get(_DISPLAY_NAME[1]))
    if name is not None and not (len(name) <= MOST_NAME_CHARS and name.isprintable()):
        raise BadRequest(f"A display name is at most {MOST_NAME_CHARS} printable characters.")
    return StatedTerms(
        _chosen(*_PROFILE, headers, asked),
        _chosen(*_AUTHORIZATION, headers, asked),
        _chosen(*_SECURITY, headers, asked),
        _chosen(*_DISCOVERY, headers, asked),
        name,
    )


def _chosen(header: str, parameter: str, values: dict[str, Any], headers: Headers, asked: dict[str, str]) -> Any:
    text = _said(header, headers, asked.get(parameter))
    if text is None:
        return None
    if text.lower() not in values:
        spelled = ", ".join(str(value) if isinstance(value, str) else key for key, value in values.items())
        raise BadRequest(f"{header.title()} is one of {spelled}.")
    return values[text.lower()]


def _said(header: str, headers: Headers, asked: str | None) -> str | None:
    said = {_decoded(value).strip() for value in values_of(headers, header)}
    if asked is not None:
        said.add(asked.strip())
    if len(said) > 1:
        raise BadRequest(f"{header.title()} is said twice, and differently.")
    return said.pop() if said else None


def _decoded(value: str) -> str:
    """A header's value, which came as latin-1, as UTF-8 where it is that: clients write either."""
    with contextlib.suppress(UnicodeError):
        return value.encode("latin-1").decode("utf-8")
    return value
