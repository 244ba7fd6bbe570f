"""How a peer reached us and who it is: what the connection says, and what a trusted proxy (only such a one) adds."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING

from app.namespace import Namespace, Profile, Relay
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.context import Context

NOBODY = ("0.0.0.0", 0)
SERVER_NAME = "fanway_server_name"  # an attribute of the connection's `ssl.SSLObject`


def base_url(context: Context, transport: asyncio.Transport, head: Head, namespace: Namespace) -> str:
    """`ws://host` or `wss://host` by which a listener reached us, and so can reach us again.

    The advertised URL goes before it; of other namespaces than the primary, whose hosts it does not name, its scheme.
    """
    advertised = context.settings.advertise
    if advertised and context.hosts.is_primary(namespace):
        return advertised.replace("http", "ws", 1).rstrip("/")
    reached = reached_url(context, transport, head).replace("http", "ws", 1)
    return reached.replace("ws:", "wss:", 1) if advertised and advertised.startswith("https:") else reached


def reached_url(context: Context, transport: asyncio.Transport, head: Head) -> str:
    """`http://host` or `https://host` by which a client reached us."""
    host = head.host
    if _is_trusted(context, transport):
        host = _last(head, "x-forwarded-host") or host
    return f"{scheme_of(context, transport, head)}://{host}"


def scheme_of(context: Context, transport: asyncio.Transport, head: Head) -> str:
    """`http` or `https`: how a peer came, see `is_secure`."""
    return "https" if is_secure(context, transport, head) else "http"


def is_secure(context: Context, transport: asyncio.Transport, head: Head) -> bool:
    """Whether a peer came by TLS: to us, or to a trusted proxy that says so."""
    if transport.get_extra_info("sslcontext") is not None:
        return True
    proto = (_last(head, "x-forwarded-proto") or "").lower() if _is_trusted(context, transport) else ""
    return proto in ("https", "wss")


def server_name(transport: asyncio.BaseTransport) -> str | None:
    """The host that a TLS client said it connects to (RFC 6066, 3), if it did; noted by `app.edge.tls`."""
    tls = transport.get_extra_info("ssl_object")
    return getattr(tls, SERVER_NAME, None) if tls is not None else None


def told_scheme(context: Context, transport: asyncio.Transport, head: Head, relay: Relay) -> str | None:
    """The scheme of a sender, where its listener is told of it: so that a WSDL, say, can name the right one.

    On hybrid connections headers pass as in Azure, without any of ours, but on a host of their own.
    """
    is_told = head.mount or relay.profile is not Profile.HYBRID_CONNECTION
    return scheme_of(context, transport, head) if is_told else None


def remote_endpoint(context: Context, transport: asyncio.Transport, head: Head) -> tuple[str, int]:
    """Address and port of the peer; behind a trusted proxy the address it vouches for, with port 0."""
    peer = transport.get_extra_info("peername")
    if _is_trusted(context, transport):
        address = _last(head, "x-forwarded-for")
        if address is not None and _is_address(address):
            return address, 0
    return (peer[0], peer[1]) if isinstance(peer, tuple) else NOBODY


def _is_trusted(context: Context, transport: asyncio.Transport) -> bool:
    trusted = context.settings.trusted_proxies
    peer = transport.get_extra_info("peername") if trusted else None
    return isinstance(peer, tuple) and peer[0] in trusted


def _last(head: Head, name: str) -> str | None:
    """The last value of a list header: the one that our own proxy wrote."""
    values = head.get_all(name)
    return values[-1].rpartition(",")[2].strip() or None if values else None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
