"""What a push subscription is, as it was asked for; the registry keeps it. It is a durable subscription with a sink."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from app.errors import BadRequest
from app.wire.native.webhook import Mode

MAX_HEADERS = 32
MAX_HEADER_CHARACTERS = 4096

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?|")
_OURS = re.compile(
    r"(?:ce|webhook|fanway|proxy)-.*|host|connection|keep-alive|upgrade|te|trailer|transfer-encoding|content-.*"
    r"|expect|user-agent|trackingid|accept-encoding|authorization",
    re.IGNORECASE,
)

ConsentState = Literal["pending", "granted", "refused"]


@dataclass(frozen=True, slots=True)
class Validation:
    """Whether the sink has agreed to get events, since when (unix seconds), and at which rate (requests a minute)."""

    state: ConsentState = "pending"
    rate: int | None = None
    reason: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Credential:
    """What a sink asks for in the header Authorization: a name and its secret, or a token of a type."""

    kind: Literal["PLAIN", "ACCESSTOKEN"]
    identifier: str  # of a token its type, as a rule Bearer
    secret: str = field(repr=False)

    @property
    def header(self) -> str:
        if self.kind == "ACCESSTOKEN":
            return f"{self.identifier} {self.secret}"
        return "Basic " + base64.b64encode(f"{self.identifier}:{self.secret}".encode()).decode()


@dataclass(frozen=True, slots=True)
class PushSettings:
    """One push subscription. `secrets`, the newest first, are one, or two while they are being changed.

    `source`, `types` and `filters` choose among the events of `pattern`, in the terms of CloudEvents.
    """

    id: str
    relay: str  # the key of the relay that owns the pattern
    pattern: str
    sink: str
    secrets: tuple[str, ...] = field(repr=False)
    source: str | None = None
    types: tuple[str, ...] = ()
    filters: tuple[dict[str, Any], ...] = ()
    mode: Mode = Mode.BINARY
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # they may hold keys
    credential: Credential | None = None
    order: Literal["none", "strict"] = "none"
    rate: int | None = None  # the most requests a minute that are asked for
    max_deliveries: int = 10
    dead_letter: str | None = None
    is_enabled: bool = True
    stopped_because: str = ""  # where the gateway itself has disabled it
    validation: Validation = Validation()
    created_at: float = 0.0


def check_headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Headers that a sink wants besides. Raises `BadRequest`, which never holds a value."""
    if len(headers) > MAX_HEADERS:
        raise BadRequest(f"A sink gets at most {MAX_HEADERS} headers of its own.")
    if len({name.lower() for name in headers}) != len(headers):
        raise BadRequest("A header of 'protocolsettings' stands there twice.")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise BadRequest("A header's name in 'protocolsettings' is no HTTP token.")
        if _OURS.fullmatch(name):
            raise BadRequest(
                f"The header {name} is the gateway's own to send; leave it out of 'protocolsettings'. A credential is"
                " given as 'sinkcredential'."
            )
        if not _VALUE.fullmatch(value) or len(value) > MAX_HEADER_CHARACTERS:
            raise BadRequest(
                f"The header {name} in 'protocolsettings' holds more than printable ASCII, or more than"
                f" {MAX_HEADER_CHARACTERS} characters."
            )
    return tuple(headers.items())


def check_credential(credential: Credential) -> Credential:
    """The credential, if it can stand in a header. Raises `BadRequest`."""
    if credential.kind == "PLAIN" and ":" in credential.identifier:
        raise BadRequest("The 'identifier' of a credential holds no colon (RFC 7617, 2).")
    if credential.kind == "ACCESSTOKEN" and not _TOKEN.fullmatch(credential.identifier):
        raise BadRequest("The 'accessTokenType' of a credential is a word such as Bearer.")
    if not _VALUE.fullmatch(credential.header) or len(credential.header) > MAX_HEADER_CHARACTERS:
        raise BadRequest("A credential is printable ASCII.")
    return credential
