"""What Azure's SDKs ask about an entity, and the Atom entry that answers them (protocol guide, "Runtime information").

Their reader is a data-contract deserializer: the order of the elements matters, late ones are dropped silently.
"""

from __future__ import annotations

import time
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from app.wire.azure.headers import Headers, values_of

ENTRY_CONTENT_TYPE = "application/atom+xml;type=entry;charset=utf-8"

_ENTRY = """<entry xmlns="http://www.w3.org/2005/Atom"><id>{url}</id><title type="text">{title}</title>\
<published>{created}</published><updated>{updated}</updated><author><name>{author}</name></author>\
<link rel="self" href={link}/><content type="application/xml"><HybridConnectionDescription \
xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect" \
xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><CreatedAt>{created}</CreatedAt><UpdatedAt>{updated}</UpdatedAt>\
<RequiresClientAuthorization>{authorized}</RequiresClientAuthorization><UserMetadata>{metadata}</UserMetadata>\
<ListenerCount>{listeners}</ListenerCount></HybridConnectionDescription></content></entry>"""


class RuntimeInformation(NamedTuple):
    """What is told of a hybrid connection; times in unix seconds."""

    name: str
    created_at: float
    updated_at: float
    requires_client_authorization: bool
    user_metadata: str
    listener_count: int


def is_for_management(headers: Headers) -> bool:
    """Whether a request is meant for the relay itself, not for a listener: `X-PROCESS-AT: ServiceBus` says so."""
    return any(value.strip().lower() == "servicebus" for value in values_of(headers, "x-process-at"))


def encode_entry(information: RuntimeInformation, url: str, author: str) -> bytes:
    """The entry for `GET {url}`; `author` is the namespace's host."""
    return _ENTRY.format(
        url=escape(url),
        title=escape(information.name),
        created=_stamp(information.created_at),
        updated=_stamp(information.updated_at),
        author=escape(author),
        link=quoteattr(url),
        authorized=str(information.requires_client_authorization).lower(),
        metadata=escape(information.user_metadata),
        listeners=information.listener_count,
    ).encode()


def _stamp(unix_time: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_time))
