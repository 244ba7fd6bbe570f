"""Where a sink lies: its URL, checked, and which addresses may be connected to.

The rule it upholds: a URL is parsed once, here, and what was parsed is what is connected to; and an address is good
only if it is public, or lies in a network that the operator has named. It is asked for every address that a name has,
at registration and again at each connect.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from app.errors import BadRequest

MAX_URL_CHARACTERS = 2048

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(#.*)?")
_VISIBLE = re.compile(r"[!-~]+")
_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # a last label like this makes a host an IPv4 address (WHATWG URL, 3.5)
_PORTS = {"http": 80, "https": 443}

_PRIVATE_V4 = [
    (ipaddress.IPv4Network(network), why)
    for network, why in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier's customers"),
        ("127.0.0.0/8", "this machine's own"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
]
# Of IPv6 only global unicast is public (RFC 4291, 2.4), and of that not what carries another address within.
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
_PRIVATE_V6 = [
    (ipaddress.IPv6Network(network), why)
    for network, why in (
        ("::1/128", "this machine's own"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "reserved, or of a tunnel"),  # Teredo among them
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "of a tunnel"),  # 6to4
        ("3fff::/20", "for documentation"),
    )
]
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # NAT64 (RFC 6052), whose last 32 bits are the IPv4 address


class SinkRefused(Exception):
    """A sink may not be connected to; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """A sink's URL in its parts. `host` is a lower-case name without a last dot, or an address without brackets."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    path: str  # with its query, as it is sent

    @property
    def authority(self) -> str:
        """What stands in the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


@dataclass(frozen=True, slots=True)
class Reach:
    """Which sinks the operator lets be reached beside public ones by https."""

    networks: tuple[IpNetwork, ...] = ()
    allows_http: bool = False

    def check(self, host: str, addresses: Iterable[IpAddress]) -> None:
        """Return when all addresses of a host may be connected to. Raises `SinkRefused`, also when there are none."""
        found = False
        for address in addresses:
            found = True
            if why := self._objection(address):
                raise SinkRefused(
                    f"The sink's host {host} leads to an address that is {why}; the operator can allow its network by "
                    "the setting push.allowed_networks."
                )
        if not found:
            raise SinkRefused(f"The sink's host {host} has no address.")

    def _objection(self, address: IpAddress) -> str:
        inner = _inner(address)
        if any(each in network for network in self.networks for each in {address, inner}):
            return ""
        if isinstance(inner, ipaddress.IPv4Address):
            return next((why for network, why in _PRIVATE_V4 if inner in network), "")
        why = next((why for network, why in _PRIVATE_V6 if inner in network), "")
        return why or ("" if inner in _PUBLIC_V6 else "not public")


def parse_target(url: str, reach: Reach) -> Target:
    """The parts of a sink's URL. Raises `BadRequest` with a sentence that says what to write instead."""
    if len(url) > MAX_URL_CHARACTERS:
        raise BadRequest(f"A sink's URL holds at most {MAX_URL_CHARACTERS} characters.")
    if not _VISIBLE.fullmatch(url) or "\\" in url:
        raise BadRequest(
            "A sink's URL is printable ASCII without blanks and backslashes; write other characters percent-encoded,"
            " and host names in their ASCII form (xn--…)."
        )
    match = _URL.fullmatch(url)
    if match is None or (scheme := match[1].lower()) not in _PORTS:
        raise BadRequest("A sink is a URL that begins with https://; events are pushed by HTTP only.")
    if scheme == "http" and not reach.allows_http:
        raise BadRequest("A sink is reached by https://; the operator can allow http by the setting push.allow_http.")
    if match[4] is not None:
        raise BadRequest("A sink's URL has no fragment; leave out '#' and what follows.")
    host, port = _authority(match[2], _PORTS[scheme])
    path = match[3] if match[3].startswith("/") else f"/{match[3]}"
    return Target("https" if scheme == "https" else "http", host, port, path)


def literal(host: str) -> IpAddress | None:
    """The address that a host is, None when it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def parse_networks(texts: Iterable[str]) -> tuple[IpNetwork, ...]:
    """Networks such as `10.0.0.0/8`; a single address is one of its own. Raises ValueError."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def _authority(text: str, default_port: int) -> tuple[str, int]:
    if "@" in text:
        raise BadRequest("A sink's URL carries no name and password; give them as 'sinkcredential'.")
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:]*)(?::([0-9]{1,5}))?", text)
    if match is None or not match[1]:
        raise BadRequest("A sink's URL names a host, and perhaps a port: https://example.com:8443/path.")
    port = int(match[2]) if match[2] else default_port
    if not 1 <= port <= 65535:
        raise BadRequest("A sink's port lies between 1 and 65535.")
    return _host(match[1].lower()), port


def _host(text: str) -> str:
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1] if "%" not in text else ""))
        except ValueError:
            raise BadRequest("What stands in brackets in a sink's URL is no IPv6 address.") from None
    name = text.removesuffix(".")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise BadRequest(
                "An IPv4 address in a sink's URL is four decimal numbers without leading zeros, such as 192.0.2.7."
            ) from None
    if not _NAME.fullmatch(name):
        raise BadRequest("The host in a sink's URL is not a host name.")
    return name


def _inner(address: IpAddress) -> IpAddress:
    """The IPv4 address that an IPv6 one stands for, if it does, in the end."""
    if isinstance(address, ipaddress.IPv6Address) and (address in _MAPPED or address in _TRANSLATED):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
