"""Header lists as Azure Relay's JSON can carry them: one string per name, nothing that could split a line.

The JSON object of a command has one member per header, so repeats are joined (RFC 9110, section 5.3;
cookies by RFC 9113, section 8.2.3) under the first spelling of the name. What cannot stand in an
HTTP/1.1 head is dropped, never repaired.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

Headers = list[tuple[str, str]]  # latin-1 decoded, names as received

MAX_REASON_CHARS = 4096

TOKEN_HEADER = "servicebusauthorization"
# Ours, which no sender can say for itself: the address that its host name leads to, where it leads to one; and that
# it is a `net.tcp` session.
MOUNT_HEADER = "Fanway-Mount"
NET_TCP_HEADER = "Fanway-Net-Tcp"
SCHEME_HEADER = "X-Forwarded-Proto"
RELAYS_OWN = frozenset({TOKEN_HEADER, MOUNT_HEADER.lower(), NET_TCP_HEADER.lower()})
INSTANCE_HEADER = "fanway-instance"  # by which a sender names the one listener that it wants
LISTENER_FILTERS = frozenset(
    {"microsoft-relay-allowedlisteners", "microsoft-relay-disallowedlisteners", INSTANCE_HEADER}
)

# RFC 9110, 7.6.1, and the protocol guide's list of what is not relayed. All of `proxy-*` is tested apart.
HOP_BY_HOP = frozenset(
    {"connection", "content-length", "te", "trailer", "transfer-encoding", "upgrade", "close", "keep-alive", "expect"}
)
# A sender must not make the relay forget these by naming them in `Connection`.
_NOT_NAMEABLE = frozenset({"host", "via"})

_UNPRINTABLE = re.compile(r"[^\t\x20-\x7e\xa0-\xff]")
_FIELD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\n[\t\x20-\x7e\x80-\xff]*")  # the line feed is in neither part


def values_of(headers: Headers, name: str) -> list[str]:
    """Every value of the header `name` (given in lower case), in order."""
    return [value for key, value in headers if key.lower() == name]


def is_relayable(name: str, value: str) -> bool:
    """Whether a header can stand in an HTTP/1.1 head: a token, and a latin-1 value without controls (RFC 9110, 5.5)."""
    return _FIELD.fullmatch(f"{name}\n{value}") is not None


def named_in_connection(headers: Headers) -> set[str]:
    """Lower-case names that `Connection` declares to belong to this hop only."""
    named = {
        option.strip().lower() for value in values_of(headers, "connection") for option in value.split(",") if option
    }
    return named - _NOT_NAMEABLE


def is_proxy_header(name: str) -> bool:
    """Whether a lower-case name belongs to a proxy hop (`Proxy-Connection`, `Proxy-Authorization`, ...)."""
    return name.startswith("proxy-")


def joined(headers: Headers, dropped: frozenset[str] = frozenset()) -> dict[str, str]:
    """One string per name, ignoring case, without the (lower-case) `dropped` names, `proxy-*` and the not relayable.

    A name with `_` is dropped where its `-` spelling is present or dropped too, or steers a hop: applications
    that map both to one variable would otherwise read a value that nobody checked.
    """
    spelling: dict[str, str] = {}
    result: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        if key in dropped or is_proxy_header(key) or not is_relayable(name, value):
            continue
        if "_" in key and ((plain := key.replace("_", "-")) in dropped or _is_shadow(plain, headers)):
            continue
        if key not in spelling:
            spelling[key] = name
            result[name] = value
        else:
            result[spelling[key]] += ("; " if key == "cookie" else ", ") + value
    return result


def origin_headers(mount: str, scheme: str) -> dict[str, str]:
    """What tells a listener under which scheme, and below which address, its sender sees it."""
    return {SCHEME_HEADER: scheme, MOUNT_HEADER: quote(mount)} if mount else {SCHEME_HEADER: scheme}


def vouch(headers: dict[str, str], own: Mapping[str, str]) -> None:
    """Put `own` in place of every header that an application could read as one of them, with `_` for `-` too."""
    names = {name.lower() for name in own}
    for name in [name for name in headers if name.lower().replace("_", "-") in names]:
        del headers[name]
    headers.update(own)


def one_line(text: str) -> str:
    """`text` as a reason phrase can hold it (RFC 9112, section 4): one line of printable latin-1, at most 4096 long."""
    return _UNPRINTABLE.sub(_replacement, text)[:MAX_REASON_CHARS].strip()


def _replacement(match: re.Match[str]) -> str:
    return "?" if match.group() > "\xff" else " "


def _is_shadow(plain: str, headers: Headers) -> bool:
    return plain in HOP_BY_HOP or is_proxy_header(plain) or bool(values_of(headers, plain))
