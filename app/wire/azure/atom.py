"""The Atom of Azure's data plane: entries and feeds of entities, and the signs by which such a call is known.

Forms: RFC 4287; what is in an entry: `app.wire.azure.description`; when a request is management: protocol guide,
"When is a data-plane HTTPS request management?".
"""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import BadRequest
from app.wire.azure.description import CONNECT, Description, encode_description, parse_description, stamp
from app.wire.azure.headers import Headers, values_of
from app.wire.azure.xml import escaped, name_of, parse_xml, quoted

ATOM = "http://www.w3.org/2005/Atom"
ENTRY_CONTENT_TYPE = "application/atom+xml;type=entry;charset=utf-8"
FEED_CONTENT_TYPE = "application/atom+xml;type=feed;charset=utf-8"
MAX_BODY_BYTES = 256 * 1024
VERSIONS = ("2016-07", "2017-04")

_XML_TYPES = ("application/xml", "text/xml")


def is_for_management(headers: Headers) -> bool:
    """Whether a request is meant for the relay itself, not for a listener: `X-PROCESS-AT: ServiceBus` says so."""
    return any(value.strip().lower() == "servicebus" for value in values_of(headers, "x-process-at"))


def is_atom_body(headers: Headers) -> bool:
    """Whether the body says that it is Atom."""
    types = (value.partition(";")[0].strip().lower() for value in values_of(headers, "content-type"))
    return any(kind == "application/atom+xml" for kind in types)


def encode_entry(description: Description, url: str, author: str) -> bytes:
    """The entry for `GET {url}`; `author` is the namespace's host."""
    return _entry(description, url, author, f' xmlns="{ATOM}"').encode()


def encode_feed(
    entries: Sequence[tuple[Description, str]], url: str, author: str, *, count: int | None, following: str | None
) -> bytes:
    """A feed of descriptions, each with its URL; `count` is how many there are in all, `following` the next page."""
    updated = stamp(max((description.updated_at for description, _ in entries), default=0.0))
    counted = "" if count is None else f'<count xmlns="{CONNECT}">{count}</count>'
    more = "" if following is None else f'<link rel="next" href={quoted(following)}/>'
    inside = "".join(_entry(description, link, author, "") for description, link in entries)
    return (
        f'<feed xmlns="{ATOM}"><title type="text">{escaped(author)}</title><id>{escaped(url)}</id>'
        f'<updated>{updated}</updated><author><name>{escaped(author)}</name></author><link rel="self" '
        f"href={quoted(url)}/>{more}{counted}{inside}</feed>"
    ).encode()


def _entry(description: Description, url: str, author: str, namespace: str) -> str:
    created, updated = stamp(description.created_at), stamp(description.updated_at)
    return (
        f'<entry{namespace}><id>{escaped(url)}</id><title type="text">{escaped(description.path)}</title>'
        f"<published>{created}</published><updated>{updated}</updated><author><name>{escaped(author)}</name></author>"
        f'<link rel="self" href={quoted(url)}/>'
        f'<content type="application/xml">{encode_description(description)}</content></entry>'
    )


def parse_entry(body: bytes) -> Description:
    """The description that an entry brings. Raises `BadRequest` saying what is wrong with it."""
    root = parse_xml(body)
    namespace, local = name_of(root)
    if (namespace, local) != (ATOM, "entry"):
        raise BadRequest(f"The body is <{local[:64]}>; it should be an <entry> in the namespace '{ATOM}'.")
    contents = [child for child in root if name_of(child) == (ATOM, "content")]
    if len(contents) != 1:
        raise BadRequest(f"The entry has {len(contents)} <content> elements; it should have one.")
    kind = contents[0].get("type", _XML_TYPES[0]).partition(";")[0].strip().lower()
    if kind not in _XML_TYPES:
        raise BadRequest(f"The content's type is '{kind[:64]}'; it should be application/xml.")
    described = list(contents[0])
    if len(described) != 1:
        raise BadRequest(f"The content holds {len(described)} elements; it should hold one description.")
    return parse_description(described[0])
