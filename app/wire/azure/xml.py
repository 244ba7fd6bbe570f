"""XML in and out: what strangers send is read without entities or document types; what we send is well-formed."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape, quoteattr

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from app.errors import BadRequest

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2
_NOT_KEPT = {"\r": "&#13;"}  # a parser would take a bare one for a line feed (XML 1.0, 2.11)


def escaped(text: str) -> str:
    """`text` as the content of an element; what XML cannot hold becomes `?`."""
    return escape(_NOT_XML.sub("?", text), _NOT_KEPT)


def quoted(text: str) -> str:
    """`text` as an attribute's value, with its quotes."""
    return quoteattr(_NOT_XML.sub("?", text), _NOT_KEPT)


def parse_xml(body: bytes) -> Element:
    """The root of a document; the caller has bounded its size. Raises `BadRequest` with where and why."""
    try:
        root: Element = fromstring(body, forbid_dtd=True)
    except DefusedXmlException:
        raise BadRequest("The body holds a document type or entities, which are not read here.") from None
    except (ParseError, ValueError, LookupError) as error:  # the latter two: an encoding that nobody knows
        raise BadRequest(f"The body is not well-formed XML: {error}.") from None
    return root


def name_of(element: Element) -> tuple[str, str]:
    """An element's namespace ('' for none) and local name."""
    head, _, local = element.tag.rpartition("}")
    return head[1:], local
