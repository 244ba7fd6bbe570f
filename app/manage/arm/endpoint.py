"""Where clients of the data plane reach a namespace: what stands in connection strings."""

from __future__ import annotations

from typing import NamedTuple

from app.hosts import Hosts, host_name, own_names
from app.namespace import Namespace


class Ports(NamedTuple):
    """Where the gateway listens; `tls` is None without a certificate."""

    plain: int
    tls: int | None


class Endpoint(NamedTuple):
    """A host with its port, and whether it is reached by TLS."""

    host: str
    is_tls: bool

    @property
    def url(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://{self.host}/"

    @property
    def scheme(self) -> str:
        """As a connection string has it: `sb` is taken to mean TLS."""
        return "sb" if self.is_tls else "http"

    def connection_string(self, rule: str, key: str, entity: str = "") -> str:
        """`entity` is the relay that the rule is of, '' for a namespace's rule."""
        path = f";EntityPath={entity}" if entity else ""
        return f"Endpoint={self.scheme}://{self.host}/;SharedAccessKeyName={rule};SharedAccessKey={key}{path}"


def find_endpoint(namespace: Namespace, hosts: Hosts, ports: Ports, advertised: str | None, reached: str) -> Endpoint:
    """How to reach a namespace: the advertised URL when it leads there, else as the caller has reached us if that
    does, else one of the namespace's own names.

    `advertised` and `reached` are URLs without path; `reached` is the one by which this caller came.
    """
    if advertised and hosts.mount(namespace, host_name(_netloc(advertised))) == "":
        return _with_port(advertised)
    host = _netloc(reached)
    if hosts.mount(namespace, host_name(host)) == "":  # the host of one address is no endpoint of all
        if reached.startswith("https:"):
            return _with_port(reached)
        host = host_name(host)
    else:
        host = _own_name(namespace)
    bare = f"[{host}]" if ":" in host else host
    return Endpoint(f"{bare}:{ports.tls or ports.plain}", ports.tls is not None)


def _own_name(namespace: Namespace) -> str:
    """An alias of the whole namespace, its name if that is a host name, else the name that it has on this machine."""
    alias = next((host for host, address in sorted(namespace.aliases.items()) if not address), None)
    name, on_this_machine = own_names(namespace.name)
    return alias or (name if "." in name else on_this_machine)


def _with_port(url: str) -> Endpoint:
    is_tls = url.startswith("https:")
    host = _netloc(url)
    has_port = not host.endswith("]") and ":" in host.rpartition("]")[2]
    return Endpoint(host if has_port else f"{host}:{443 if is_tls else 80}", is_tls)


def _netloc(url: str) -> str:
    return url.partition("//")[2].rstrip("/")
