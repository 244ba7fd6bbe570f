"""The words of Azure's service for a refusal, and the forms they take on its doors.

A refusal is told in the reason phrase (SDKs read nothing else of a failed handshake), again in a
small XML body, and in a Close frame's reason. The caller adds the tracking part (`app.telemetry.sentence`).
"""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from app.errors import AcceptTimeout, EndpointNotFound, NoListener, RelayError

CLOSE_REASON_BYTES = 123  # RFC 6455, 5.5: a control frame holds 125 bytes, two of them the code
XML_CONTENT_TYPE = "application/xml; charset=utf-8"

# Texts that Azure's clients and their tests know; other refusals keep the words of the layer that raised
# them (those about tokens are Azure's already).
SENTENCES: dict[type[RelayError], str] = {
    EndpointNotFound: "Endpoint does not exist.",
    NoListener: "There are no listeners connected for the endpoint.",
    AcceptTimeout: "None of the connected listeners accepted the connection within the allowed timeout.",
}

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2


def words(error: RelayError) -> str:
    """What Azure's doors say for `error`, without the tracking part."""
    return SENTENCES.get(type(error), error.message)


def websocket_tracker(host: str, path: str) -> str:
    """The `SystemTracker` of a WebSocket: `sb://host/path`."""
    return f"sb://{host}/{path}"


def request_tracker(host: str, path: str) -> str:
    """The `SystemTracker` of a relayed request: `host:path`."""
    return f"{host}:{path}"


def close_reason(text: str) -> str:
    """`text` cut to the 123 bytes of UTF-8 that a Close frame has room for, never inside a character."""
    return text.encode("utf-8", "replace")[:CLOSE_REASON_BYTES].decode("utf-8", "ignore")


def xml_body(status: int, sentence: str) -> bytes:
    """The body of a refused request, in the shape of Azure's own errors; its type is `XML_CONTENT_TYPE`."""
    detail = escape(_NOT_XML.sub("?", sentence))
    return f"<Error><Code>{status}</Code><Detail>{detail}</Detail></Error>".encode()
