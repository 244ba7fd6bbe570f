"""What a caller shows: a token, or, where there is none, the client certificate of its connection."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, cast

from app.access.client_certificate import ClientCertificate, Credential, read_certificate
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.context import Context

_READ = "fanway_client_certificate"  # an attribute of the connection's `ssl.SSLObject`, once it was looked at


def credential_of(context: Context, transport: asyncio.Transport, head: Head, token: str | None) -> Credential | None:
    """The token if there is one, else the certificate, if the settings know of any and the connection has one.

    A page of another origin may not use the certificate of who looks at it, unless the settings list that origin.
    """
    if token is not None or not context.settings.identity.certificates:
        return token
    origin = head.get("origin")
    if origin is not None and origin not in context.settings.cors_origins and not _is_own(origin, head):
        return None
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if tls is None:
        return None
    if not hasattr(tls, _READ):
        der = tls.getpeercert(binary_form=True)
        setattr(tls, _READ, read_certificate(der) if der else None)
    return cast(ClientCertificate | None, getattr(tls, _READ))


def _is_own(origin: str, head: Head) -> bool:
    """Whether a page of that origin came by TLS from the very host that is asked now."""
    return origin.lower() == f"https://{head.host.lower()}"
