"""The forms that a refusal takes on Azure's doors; its words and status are `app.wire.azure.choices`'.

A refusal is told in the reason phrase (SDKs read nothing else of a failed handshake), again in a
small XML body, and in a Close frame's reason. The caller adds the tracking part (`app.telemetry.sentence`).
"""

from __future__ import annotations

from app.wire.azure.xml import escaped

XML_CONTENT_TYPE = "application/xml; charset=utf-8"


def xml_body(status: int, sentence: str) -> bytes:
    """The body of a refused request, in the shape of Azure's own errors; its type is `XML_CONTENT_TYPE`."""
    return f"<Error><Code>{status}</Code><Detail>{escaped(sentence)}</Detail></Error>".encode()
