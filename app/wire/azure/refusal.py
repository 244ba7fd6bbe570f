"""The words of Azure's service for a refusal, and the forms they take on its doors.

A refusal is told in the reason phrase (SDKs read nothing else of a failed handshake), again in a
small XML body, and in a Close frame's reason. The caller adds the tracking part (`app.telemetry.sentence`).
"""

from __future__ import annotations

from app.errors import AcceptTimeout, EndpointNotFound, NoListener, RelayError
from app.wire.azure.xml import escaped

XML_CONTENT_TYPE = "application/xml; charset=utf-8"

# Texts that Azure's clients and their tests know; other refusals keep the words of the layer that raised
# them (those about tokens are Azure's already).
SENTENCES: dict[type[RelayError], str] = {
    EndpointNotFound: "Endpoint does not exist.",
    NoListener: "There are no listeners connected for the endpoint.",
    AcceptTimeout: "None of the connected listeners accepted the connection within the allowed timeout.",
}

FILTERED = "None of the connected listeners meet the AllowedListeners/DisallowedListeners criteria."


def xml_body(status: int, sentence: str) -> bytes:
    """The body of a refused request, in the shape of Azure's own errors; its type is `XML_CONTENT_TYPE`."""
    return f"<Error><Code>{status}</Code><Detail>{escaped(sentence)}</Detail></Error>".encode()
