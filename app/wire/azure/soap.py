"""The token that a SOAP message brings along, and the message without it.

WCF Relay's senders may carry their token in a SOAP header instead of an HTTP one: a header block
`RelayAccessToken` that holds a `BinarySecurityToken` of WS-Security, whose text is the token in base64. That block
is cut out byte by byte and nothing else of the message is touched, so that signatures over its other parts hold.
A message is read no further than the end of its SOAP header; document type definitions are refused (SOAP 1.1,
section 3; SOAP 1.2, section 5), so nothing in it can expand.
"""

from __future__ import annotations

import base64
import binascii
import re
from xml.parsers import expat

from app.errors import BadRequest, PayloadTooLarge, Unauthorized
from app.wire.azure.headers import Headers, values_of

MAX_HEADER_BYTES = 64 * 1024  # of a message, until its SOAP header has ended

CONNECT = "http://schemas.microsoft.com/netservices/2009/05/servicebus/connect"
SECURITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"

_NO_TOKEN = "MalformedToken: The RelayAccessToken header holds no BinarySecurityToken in base64."
_SOAP_TYPE = re.compile(r"\s*(?:text/xml|application/soap\+xml)\s*(?:;|$)", re.IGNORECASE)
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([A-Za-z0-9._:\-]{1,40})", re.IGNORECASE)


class _Decided(Exception):
    """Everything of interest was seen."""


def is_soap(headers: Headers) -> bool:
    """Whether a request's body may be read as SOAP 1.1 or 1.2: by its type, and not compressed."""
    types = values_of(headers, "content-type")
    return len(types) == 1 and _SOAP_TYPE.match(types[0]) is not None and not values_of(headers, "content-encoding")


class TokenSearch:
    """Looks for the token while the message comes. `feed` until it says True, or `close` at the message's end.

    Then `token` is what was found, None for nothing, and `message` all bytes `given` so far without the header block.
    """

    def __init__(self, headers: Headers) -> None:
        charset = _CHARSET.search((values_of(headers, "content-type") or [""])[0])
        self.token: str | None = None
        self.given = b""
        self._depth = 0
        self._block: int | None = None  # depth of the header block, while inside it
        self._start = self._end = 0  # the block's place in the message
        self._has_block = self._awaits_end = False
        self._text: list[str] | None = None  # of the security token, while inside it
        self._parser = parser = expat.ParserCreate(charset[1] if charset else None, " ")
        parser.StartElementHandler = self._on_start
        parser.EndElementHandler = self._on_end
        parser.CharacterDataHandler = self._on_text
        parser.CommentHandler = self._on_other
        parser.ProcessingInstructionHandler = self._on_instruction
        parser.StartCdataSectionHandler = self._note_end
        parser.StartDoctypeDeclHandler = self._on_doctype

    @property
    def message(self) -> bytes:
        return self.given[: self._start] + self.given[self._end :]

    def feed(self, data: bytes) -> bool:
        """Take more of the message; whether the search is over.

        Raises BadRequest (it is no XML, or no sound SOAP), PayloadTooLarge (its header is too large), Unauthorized (its
        token is none).
        """
        room = MAX_HEADER_BYTES - len(self.given)
        self.given += data
        if self._parse(data[:room], False):
            return True
        if len(data) > room:
            raise PayloadTooLarge(
                f"A SOAP header in which the token is looked for ends within {MAX_HEADER_BYTES} bytes of its message."
            )
        return False

    def close(self) -> None:
        """The message has ended, and with it the search. Raises as `feed`."""
        if not self._parse(b"", True):
            raise BadRequest("The SOAP message ends before its header or body.")

    def give_up(self) -> None:
        """Nothing was found: the message is what was given."""
        self.token, self._start, self._end = None, 0, 0

    def _parse(self, data: bytes, is_final: bool) -> bool:
        try:
            self._parser.Parse(data, is_final)
        except _Decided:
            return True
        except (expat.ExpatError, LookupError, ValueError) as error:  # the latter two: of an encoding
            raise BadRequest(f"The message is no well-formed SOAP: {error}.") from None
        return False

    # --- the parser's calls ---

    def _on_start(self, name: str, _: object) -> None:
        self._note_end()
        self._depth += 1
        namespace, _, local = name.rpartition(" ")
        if self._depth == 1:
            if local != "Envelope" or namespace not in (SOAP_11, SOAP_12):
                raise _Decided  # XML of another kind, which holds no such token
            self._soap = namespace
        elif self._depth == 2:
            if name == f"{self._soap} Body":
                raise _Decided
            if name != f"{self._soap} Header":
                raise BadRequest("A SOAP envelope holds a header, then a body.")
        elif self._depth == 3 and name == f"{CONNECT} RelayAccessToken":
            if self._has_block:
                raise BadRequest("The SOAP message has more than one RelayAccessToken header.")
            self._has_block, self._block = True, self._depth
            self._start = self._parser.CurrentByteIndex
        elif self._block is not None and name == f"{SECURITY} BinarySecurityToken":
            if self.token is not None or self._text is not None:
                raise BadRequest("The RelayAccessToken header has more than one BinarySecurityToken.")
            self._text = []

    def _on_end(self, name: str) -> None:
        self._note_end()
        if self._text is not None and name == f"{SECURITY} BinarySecurityToken":
            self.token, self._text = _decoded("".join(self._text)), None
        elif self._depth == self._block:
            self._block, self._awaits_end = None, True
            if self.token is None:
                raise Unauthorized(_NO_TOKEN)
        elif self._depth == 2:
            raise _Decided
        self._depth -= 1

    def _on_text(self, text: str) -> None:
        self._note_end()
        if self._text is not None:
            self._text.append(text)

    def _on_other(self, _: str) -> None:
        self._note_end()

    def _on_instruction(self, _: str, __: str) -> None:
        self._note_end()

    def _on_doctype(self, *_: object) -> None:
        raise BadRequest("A SOAP message holds no document type definition.")

    def _note_end(self) -> None:
        """The block's end is where the next thing begins."""
        if self._awaits_end:
            self._awaits_end, self._end = False, self._parser.CurrentByteIndex


def _decoded(text: str) -> str:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, ValueError):
        raise Unauthorized(_NO_TOKEN) from None
