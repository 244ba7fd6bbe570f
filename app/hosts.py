"""Which namespace a host name belongs to. Never a fallback: a name that is nobody's gets 404.

The names of this machine, and that of the advertised URL, are the primary namespace's own. The one exception is
a gateway with a single namespace that listens on loopback only, or is an emulator: there every name means that
namespace.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from app.errors import UnknownHost
from app.namespace import Namespace

_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


class Hosts:
    """Host names to namespaces.

    `namespaces` is read at every call, so aliases and namespaces may come and go. `is_loopback` says that all
    listeners are bound to loopback, or that nobody else matters; `advertised` is the host name of the URL the
    gateway is known by, if any; `primary` names the namespace that the gateway was started for.
    """

    def __init__(
        self,
        namespaces: Sequence[Namespace],
        *,
        is_loopback: bool,
        advertised: str | None = None,
        primary: str | None = None,
    ) -> None:
        self._namespaces = namespaces
        self._is_loopback = is_loopback
        self._advertised = advertised.lower() if advertised else None
        self._primary = primary

    def find(self, host: str | None) -> Namespace:
        """The namespace for a `Host` header (port ignored); raises `UnknownHost`."""
        name = host_name(host or "")
        for namespace in self._namespaces:
            if self.accepts(namespace, name):
                return namespace
        raise UnknownHost("No namespace answers to this host name.")

    def accepts(self, namespace: Namespace, name: str) -> bool:
        """Whether `name` (lower case, no port) is one of the namespace's. It judges a token's audience too."""
        if name in namespace.aliases or name in (namespace.name.lower(), f"{namespace.name.lower()}.localhost"):
            return True
        is_alone = len(self._namespaces) == 1
        if is_alone and self._is_loopback:
            return True
        if not is_alone and namespace.name != self._primary:
            return False
        is_ours = name == self._advertised or name in _THIS_MACHINE
        return is_ours and (is_alone or not any(name in other.aliases for other in self._namespaces))


def host_name(host: str) -> str:
    """The bare lower-case name in `host[:port]` (RFC 9110, 7.2), brackets of an IPv6 address removed."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].removesuffix(".")


def is_loopback(host: str) -> bool:
    """Whether a bind address is reachable from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
