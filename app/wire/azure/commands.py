"""The JSON commands of a listener's control channel and of request rendezvous.

Each is an object with exactly one member, which names the command; only `accept` and `request` are
ever sent, since one SDK drops the channel on any other name. What a listener sends is parsed within
a size and depth limit; of members that occur twice the last one counts.
Source: Azure Relay protocol guide, "Listener interaction" and "HTTP request/response".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, NamedTuple

import orjson

from app.errors import BadAnswer, HeadTooLarge
from app.wire.azure.headers import Headers

CONTROL_TEXT_LIMIT = 65536  # bytes; a text message must stay below it, SDKs read it into a buffer of this size

_STATUS = re.compile(r"[0-9]{1,5}")


class Response(NamedTuple):
    """A listener's answer to the request `request_id`; a body message follows when `has_body`."""

    request_id: str
    status: int
    description: str | None
    headers: Headers
    has_body: bool


@dataclass(frozen=True, slots=True)
class RenewToken:
    """A listener's new token, not yet verified."""

    token: str

    def __repr__(self) -> str:
        return "RenewToken(...)"


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message that is no command: to be logged and ignored."""

    why: str


def encode_accept(address: str, id: str, headers: dict[str, str], peer: tuple[str, int]) -> bytes:
    """`accept`: come to `address` and meet the sender `peer`. Raises `HeadTooLarge` at the text limit."""
    command = {"address": address, "id": id, "connectHeaders": headers, "remoteEndpoint": _endpoint(peer)}
    return _encoded({"accept": command})


def encode_request(
    address: str,
    id: str,
    target: str,
    method: str,
    headers: dict[str, str],
    has_body: bool,
    peer: tuple[str, int],
) -> bytes:
    """`request` in full; the body message, if any, follows. Raises `HeadTooLarge` at the text limit."""
    command = {
        "address": address,
        "id": id,
        "requestTarget": target,
        "method": method,
        "remoteEndpoint": _endpoint(peer),
        "requestHeaders": headers,
        "body": has_body,
    }
    return _encoded({"request": command})


def encode_request_address(address: str, id: str) -> bytes:
    """`request` by address only: come and fetch it. SDKs know it by the absence of both `method` and `body`."""
    return _encoded({"request": {"address": address, "id": id}})


def parse_command(text: bytes | str) -> Response | RenewToken | Unknown:
    """Understand a text message from a listener.

    Raises `BadAnswer` with its `request_id` for a response that names its request but cannot be
    relayed. Everything else that is no command is `Unknown`.
    """
    if len(text) >= CONTROL_TEXT_LIMIT:
        return Unknown("the message is too large for a command")
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        return Unknown("the message is not JSON")
    if not isinstance(message, dict) or len(message) != 1:
        return Unknown("the message is not an object with one member")
    [(name, command)] = message.items()
    if name == "response" and isinstance(command, dict):
        return _parse_response(command)
    if name == "renewToken" and isinstance(command, dict):
        token = command.get("token")
        return RenewToken(token) if isinstance(token, str) and token else Unknown("renewToken without a token")
    return Unknown(f"no such command: {name[:64]!r}")


def _parse_response(command: dict[str, Any]) -> Response | Unknown:
    request_id = command.get("requestId")
    if not isinstance(request_id, str) or not request_id:
        return Unknown("response without a requestId")
    description = command.get("statusDescription")
    headers = command.get("responseHeaders")
    has_body = command.get("body")
    if has_body in ("true", "false"):  # as early versions of the Java SDK spell it
        has_body = has_body == "true"
    if description is not None and not isinstance(description, str):
        raise BadAnswer("The listener's statusDescription is not a string.", request_id=request_id)
    if headers is not None and not isinstance(headers, dict):
        raise BadAnswer("The listener's responseHeaders are not an object.", request_id=request_id)
    if has_body is not None and not isinstance(has_body, bool):
        raise BadAnswer("The listener's answer does not say whether a body follows.", request_id=request_id)
    status = _status(command.get("statusCode"))
    if status is None:
        raise BadAnswer("The listener's statusCode is not a final status, 200 to 999.", request_id=request_id)
    return Response(request_id, status, description or None, _headers(headers or {}), bool(has_body))


def _status(value: object) -> int | None:
    """A final status from a number or its text (both are on the wire); None if it cannot be relayed."""
    if isinstance(value, str) and _STATUS.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 200 <= value <= 999:
        return value
    return None


def _headers(members: dict[str, Any]) -> Headers:
    """Header lines of an answer: strings, numbers as their text, a list as one line each; others are left out."""
    headers: Headers = []
    for name, value in members.items():
        if isinstance(value, str):
            headers.append((name, value))
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str):
                headers.append((name, item))
            elif isinstance(item, int | float) and not isinstance(item, bool):
                headers.append((name, str(item)))
    return headers


def _endpoint(peer: tuple[str, int]) -> dict[str, str | int]:
    return {"address": _ip_literal(peer[0]), "port": peer[1]}


@lru_cache(maxsize=1024)
def _ip_literal(host: str) -> str:
    """`host` if it is an IP literal; one SDK requires an address and would resolve a name."""
    host = host.partition("%")[0]  # the zone of a link-local address means nothing to others
    try:
        ip_address(host)
    except ValueError:
        return "0.0.0.0"
    return host


def _encoded(command: dict[str, Any]) -> bytes:
    text = orjson.dumps(command)
    if len(text) >= CONTROL_TEXT_LIMIT:
        raise HeadTooLarge("The headers are too large to be relayed: a command must stay below 64 KiB.")
    return text
