"""Commands of the listener's control channel (Azure Relay protocol guide), without I/O.

`accept` and `request` come from the gateway, `response` and `renewToken` go to it; HTTP bodies are
the binary message after their command.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, urlencode

from fanway.errors import ConfigurationError, RelayError

CONTROL_BODY_BYTES = 64 * 1024  # a larger body goes by a rendezvous


class CommandError(RelayError):
    """The gateway sent a command that cannot be understood."""


@dataclass(frozen=True, slots=True)
class AcceptCommand:
    """A sender wants a socket: connect to `address` to accept it."""

    address: str = field(repr=False)  # the URL is the credential
    id: str
    headers: Mapping[str, str]
    remote: str


@dataclass(frozen=True, slots=True)
class RequestCommand:
    """An HTTP request. `method` is None in the address-only form: fetch it from `address`."""

    address: str = field(repr=False)
    id: str
    method: str | None
    target: str
    headers: Mapping[str, str]
    remote: str
    has_body: bool


def parse_command(text: str) -> AcceptCommand | RequestCommand | None:
    """A command from the gateway; None for one of a later version. Raises CommandError."""
    try:
        message = json.loads(text)
        if "accept" in message:
            body = message["accept"]
            return AcceptCommand(body["address"], body["id"], body.get("connectHeaders") or {}, _remote(body))
        if "request" in message:
            body = message["request"]
            return RequestCommand(
                body["address"],
                body["id"],
                body.get("method"),
                body.get("requestTarget", ""),
                body.get("requestHeaders") or {},
                _remote(body),
                bool(body.get("body")),
            )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CommandError(f"The gateway sent a malformed command ({type(error).__name__}).") from None
    return None


def encode_response(request_id: str, status: int, reason: str, headers: Mapping[str, str], has_body: bool) -> str:
    """The `response` command for a request."""
    body = {
        "requestId": request_id,
        "statusCode": status,
        "statusDescription": reason,
        "responseHeaders": dict(headers),
        "body": has_body,
    }
    return json.dumps({"response": body}, separators=(",", ":"))


def encode_renewal(token: str) -> str:
    """The `renewToken` command."""
    return json.dumps({"renewToken": {"token": token}}, separators=(",", ":"))


Profile = Literal["native", "hybridConnection", "http", "netTcp", "netOneway", "netEvent"]
Demand = Literal["none", "required"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a listener says of the relay that it opens. None: nothing, so that it takes the relay as it is.

    The gateway refuses terms that differ from those of a relay that exists (409).
    """

    profile: Profile | None = None
    client_authorization: Demand | None = None
    transport_security: Demand | None = None
    is_public: bool | None = None
    display_name: str | None = None

    def headers(self) -> dict[str, str]:
        """The same as headers of the control channel; the display name, which may be any text, is for its query."""
        discovery = None if self.is_public is None else "public" if self.is_public else "private"
        said = {
            "Fanway-Relay-Profile": self.profile,
            "Fanway-Client-Authorization": self.client_authorization,
            "Fanway-Transport-Security": self.transport_security,
            "Fanway-Discovery": discovery,
        }
        return {name: value for name, value in said.items() if value is not None}


INSTANCE_HEADER = "Fanway-Instance"
_INSTANCE = re.compile(r"[A-Za-z0-9._~-]{1,64}")


def instance_fields(instance: str | None) -> dict[str, str]:
    """The header by which a listener has a name, and a sender names it; none for None. Raises ConfigurationError."""
    if instance is None:
        return {}
    if not _INSTANCE.fullmatch(instance):
        raise ConfigurationError(f"{instance!r} is no instance name: 1 to 64 of A-Z a-z 0-9 . _ ~ and -.")
    return {INSTANCE_HEADER: instance}


def listen_url(base: str, path: str, listener_id: str, display_name: str | None = None) -> str:
    """The control channel of an encoded address."""
    name = "" if display_name is None else f"&sb-hc-display-name={quote(display_name, safe='')}"
    return f"{base}/$hc/{path}?sb-hc-action=listen&sb-hc-id={quote(listener_id)}{name}"


def connect_url(base: str, path: str, tracking_id: str) -> str:
    """Where a sender opens a socket to an encoded address."""
    return f"{base}/$hc/{path}?sb-hc-action=connect&sb-hc-id={quote(tracking_id)}"


def reject_url(address: str, status: int, reason: str) -> str:
    """The rendezvous URL that refuses a sender with a status and words."""
    return f"{address}&{urlencode({'sb-hc-statusCode': status, 'sb-hc-statusDescription': reason})}"


def _remote(body: Mapping[str, Mapping[str, object]]) -> str:
    endpoint = body.get("remoteEndpoint") or {}
    return f"{endpoint.get('address', '')}:{endpoint.get('port', '')}"
