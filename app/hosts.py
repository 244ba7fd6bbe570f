"""Which namespace a host name belongs to, and where to listen. Never a fallback: a name that is nobody's gets 404.

The names of this machine, and that of the advertised URL, are the primary namespace's own unless another has one of
them as an alias. The one exception is a gateway with a single namespace that listens on loopback only, or is an
emulator: there every name means that namespace.

Theory. All names stand in one index, made when it is needed and dropped when a namespace or an alias comes or goes;
beside it what was looked up for a Host header as it was sent. So a look-up costs the same for any number of namespaces.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.errors import BadRequest, MisdirectedRequest, UnknownHost
from app.namespace import Namespace, fold

FOUND_HEADERS = 4096  # Host headers whose place is remembered

_HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}))*")
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class Place(NamedTuple):
    """Where a host name leads: into a namespace, its paths lying under `address` there ('' is the root)."""

    namespace: Namespace
    address: str = ""


class Hosts:
    """Host names to namespaces.

    `namespaces` may change at any time, if `changed` is called then. `is_loopback` says that all listeners are bound
    to loopback, or that nobody else matters; `advertised` is the host name of the URL the gateway is known by, if
    any; `primary` names the namespace that the gateway was started for.
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
        self._index: dict[str, Place] | None = None
        self._anything: Place | None = None  # where every other name leads
        self._found: dict[str, Place] = {}  # by Host header, as it was sent
        self.on_change: list[Callable[[], None]] = []

    def changed(self) -> None:
        """A namespace came or went, or one of them has other aliases."""
        self._index = None
        self._found.clear()
        for callback in self.on_change:
            callback()

    def find(self, host: str | None) -> Namespace:
        """The namespace for a `Host` header (port ignored); raises `UnknownHost`."""
        return self.place(host or "").namespace

    def place(self, host: str) -> Place:
        """Where a `Host` header leads (port ignored); raises `UnknownHost`."""
        found = self._found.get(host)
        if found is None:
            found = self._look_up(host_name(host))
            if found is None:
                raise UnknownHost("No namespace answers to this host name.")
            if len(self._found) >= FOUND_HEADERS:
                self._found.clear()
            self._found[host] = found
        return found

    def mount(self, namespace: Namespace, name: str) -> str | None:
        """The address under which the paths of the host `name` (lower case, no port) lie in `namespace`.

        None when the name is not one of the namespace's. It judges a token's audience.
        """
        place = self._look_up(name)
        return place.address if place is not None and place.namespace is namespace else None

    def accepts(self, namespace: Namespace, name: str) -> bool:
        """Whether `name` (lower case, no port) leads to the namespace's root."""
        return self.mount(namespace, name) == ""

    def is_primary(self, namespace: Namespace) -> bool:
        """Whether the names of this machine and of the advertised URL are this namespace's."""
        return namespace is self._owner()

    def is_reserved(self, namespace: Namespace | None, name: str) -> bool:
        """Whether `name` is the gateway's own (of this machine, of its URL) and `namespace` not the one to have it.

        None stands for one that is yet to be.
        """
        is_ours = name == self._advertised or name in _THIS_MACHINE
        return is_ours and (namespace is None or not self.is_primary(namespace))

    def check_direction(self, server_name: str, host: str) -> None:
        """Return when a connection that was made to `server_name` (TLS, RFC 6066, 3) may ask `host` for something.

        Raises `MisdirectedRequest` when both are known and lead to different namespaces: the certificate that the
        client has checked, and any that it has shown, were one namespace's; the request is another's.
        """
        asked, made = self.place(host), self._found.get(server_name) or self._look_up(server_name.lower())
        if made is not None and made.namespace is not asked.namespace:
            raise MisdirectedRequest("The connection was made to a host of another namespace.")

    def _look_up(self, name: str) -> Place | None:
        if self._index is None:
            self._index = self._make_index()
        return self._index.get(name, self._anything)

    def _make_index(self) -> dict[str, Place]:
        owner = self._owner()
        self._anything = Place(owner) if owner and len(self._namespaces) == 1 and self._is_loopback else None
        index: dict[str, Place] = {}
        if owner is not None:
            index.update((name, Place(owner)) for name in (*_THIS_MACHINE, self._advertised) if name)
        for namespace in self._namespaces:
            index.update((name, Place(namespace)) for name in own_names(namespace.name))
        for namespace in self._namespaces:
            index.update((host, Place(namespace, address)) for host, address in namespace.aliases.items())
        return index

    def _owner(self) -> Namespace | None:
        if len(self._namespaces) == 1:
            return self._namespaces[0]
        return next((namespace for namespace in self._namespaces if namespace.name == self._primary), None)


def own_names(name: str) -> tuple[str, str]:
    """The host names that a namespace has by its own name, lower case."""
    return name.lower(), f"{name.lower()}.localhost"


def below(mount: str, path: str) -> str:
    """The path that a token's audience means, `path` being what stands behind a host that leads to `mount`.

    It is a path of that host, so it lies under `mount`; unless it begins with `mount`, as the SDKs write it, who
    name the whole address for `/$hc` whatever the host. It is never wider than `mount`.
    """
    if not mount or fold(f"{path}/").startswith(fold(f"{mount}/")):
        return path
    return f"{mount}/{path}" if path else mount


def check_host_name(host: str) -> str:
    """A host name without port, in lower case; raises `BadRequest` when it is none."""
    host = host.lower()
    if not _HOST_NAME.fullmatch(host):
        raise BadRequest("An alias is a host name without port.")
    return host


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


class Bind(NamedTuple):
    """Where to listen: a host name or address without brackets, and a port (0: any free one)."""

    host: str
    port: int


def parse_bind(text: str) -> Bind:
    """HOST:PORT or [IPV6]:PORT; raises ValueError."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not bare or "[" in bare or (":" in bare) != (bare != host) or not re.fullmatch("[0-9]{1,5}", port):
        raise ValueError("should be HOST:PORT, such as 127.0.0.1:8480 or [::1]:8480")
    if int(port) > 65535:
        raise ValueError("should have a port of at most 65535")
    return Bind(bare, int(port))
