"""HTTP/1.1 heads without I/O: what the parser lets through and we do not, and response heads.

The parser (llhttp) is lenient where a relay must not be: two readers of one request have to see the
same request. Rules: RFC 9112 sections 3, 5, 6 and RFC 9110 sections 7, 9.
"""

from __future__ import annotations

import http
import re
from urllib.parse import quote

from app.errors import BadRequest, HeadTooLarge, MethodNotAllowed, UpgradeRequired

Headers = list[tuple[str, str]]

MAX_HEADERS = 200

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\n[^\x00-\x08\x0a-\x1f\x7f]*")  # the line feed is in neither part
# Browsers leave `{|}^` and the grave accent as they are, against RFC 3986; they are passed on so.
_TARGET_FAULT = re.compile(rb"[^\x21-\x7e]|[\\#<>\"]")
_HOST = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
WEBSOCKET_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_LENGTH = re.compile(rb"[0-9]{1,19}")
_SHADOWED = frozenset(("content-length", "transfer-encoding", "sec-websocket-key", "x-forwarded-for"))
_READ_HERE = frozenset(("host", "content-length", "transfer-encoding", "connection", "expect"))
_NO_TRAILERS = frozenset(  # RFC 9110, 6.5.1: what frames, routes or authorizes must stand in the head
    (
        b"authorization",
        b"connection",
        b"content-length",
        b"cookie",
        b"host",
        b"servicebusauthorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
REASONS = {status.value: status.phrase for status in http.HTTPStatus}


class Head:
    """A request's head, valid once constructed: target split, headers with their original casing."""

    __slots__ = (
        "content_length",
        "expects_continue",
        "headers",
        "host",
        "is_chunked",
        "is_keep_alive",
        "memo",
        "method",
        "mount",
        "mounted",
        "names",
        "path",
        "query",
        "version",
    )

    def __init__(self, method: str, target: str, version: str, headers: Headers) -> None:
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.version = version
        self.headers = headers
        self.names = {name.lower() for name, _ in headers}
        self.host = ""
        self.content_length: int | None = None
        self.is_chunked = False
        self.expects_continue = False
        self.is_keep_alive = version == "1.1"
        self.memo: object = None  # what was worked out from this head, for whoever gets it again
        self.mount = ""  # the address that the path was put under
        self.mounted: Head | None = None  # this head with its path put under an address

    @property
    def has_body(self) -> bool:
        return self.is_chunked or bool(self.content_length)

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    def get(self, name: str) -> str | None:
        """The first value of header `name` (given in lower case)."""
        if name in self.names:
            for key, value in self.headers:
                if key.lower() == name:
                    return value
        return None

    def with_value(self, name: str, value: str) -> Head:
        """A copy, the one header `name` (lower case) with another value; `memo` goes with it."""
        head = self._copy()
        head.headers = [(key, value if key.lower() == name else old) for key, old in self.headers]
        return head

    def under(self, address: str) -> Head:
        """A copy with the path put under `address`, remembered for the next to ask; it has a `memo` of its own."""
        if self.mounted is None or self.mounted.mount != address:
            self.mounted = head = self._copy()
            head.mount, head.memo = address, None
            head.path = f"/{quote(address)}{self.path}"
        return self.mounted

    def _copy(self) -> Head:
        head = Head.__new__(Head)
        for slot in Head.__slots__:
            setattr(head, slot, getattr(self, slot))
        head.mounted = None
        return head

    def get_all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name] if name in self.names else []


def check_head(method: bytes, target: bytes, version: str, raw: list[tuple[bytes, bytes]]) -> Head:
    """The head of a request that every reader understands alike.

    Raises BadRequest, HeadTooLarge (too many headers), MethodNotAllowed (CONNECT), NotImplementedVerb.
    """
    if method == b"CONNECT":
        raise MethodNotAllowed("CONNECT is not offered: this is a relay, not a forward proxy.")
    if version not in ("1.1", "1.0"):
        raise BadRequest(f"HTTP/{version} is not spoken here; use HTTP/1.1.")
    if target[:1] != b"/" and not (target == b"*" and method == b"OPTIONS"):
        raise BadRequest("The request target must be a path beginning with '/'.")
    fault = _TARGET_FAULT.search(target)
    if fault:
        raise BadRequest(f"The request target holds {fault.group()!r}, which must be percent-encoded.")
    if len(raw) > MAX_HEADERS:
        raise HeadTooLarge(f"At most {MAX_HEADERS} headers.")
    headers: Headers = []
    head = Head(method.decode("ascii"), target.decode("ascii"), version, headers)
    hosts = 0
    for name, value in raw:
        if not _FIELD.fullmatch(b"%b\n%b" % (name, value)):
            raise BadRequest("A header has an invalid name or value.")
        spelled, text = name.decode("ascii"), value.decode("latin-1")
        lowered = spelled.lower()
        if "_" in lowered and lowered.replace("_", "-") in _SHADOWED:
            continue  # `content_length` is read as `Content-Length` by CGI-like servers behind us
        headers.append((spelled, text))
        head.names.add(lowered)
        if lowered not in _READ_HERE:
            continue
        if lowered == "host":
            hosts += 1
            head.host = text
        elif lowered == "content-length":
            _read_length(head, value)
        elif lowered == "transfer-encoding":
            _read_transfer_encoding(head, value)
        elif lowered == "connection":
            _read_connection(head, value)
        else:
            head.expects_continue = value.lower() == b"100-continue"
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise BadRequest("Exactly one Host header is needed.")
    if head.host and not _HOST.fullmatch(head.host):
        raise BadRequest("The Host header is not a host name or address with an optional port.")
    if head.is_chunked and head.content_length is not None:
        raise BadRequest("Content-Length and Transfer-Encoding exclude each other.")
    return head


def _read_length(head: Head, value: bytes) -> None:
    if head.content_length is not None:
        raise BadRequest("Content-Length may stand only once.")
    if not _LENGTH.fullmatch(value):
        raise BadRequest("Content-Length must be digits only.")
    head.content_length = int(value)


def _read_transfer_encoding(head: Head, value: bytes) -> None:
    if head.version == "1.0":
        raise BadRequest("Transfer-Encoding is not part of HTTP/1.0.")
    if head.is_chunked or value.lower() != b"chunked":
        raise BadRequest("The only Transfer-Encoding here is a single 'chunked'.")
    head.is_chunked = True


def _read_connection(head: Head, value: bytes) -> None:
    options = {option.strip().lower() for option in value.split(b",")}
    if b"close" in options:
        head.is_keep_alive = False
    elif head.version == "1.0" and b"keep-alive" in options:
        head.is_keep_alive = True


def check_trailer(name: bytes) -> None:
    """Whether a field may stand behind a body. Raises BadRequest."""
    if name.lower() in _NO_TRAILERS:
        raise BadRequest("A field that frames, routes or authorizes a request may not be a trailer.")


def check_upgrade(head: Head) -> str:
    """The `Sec-WebSocket-Key` of a proper WebSocket upgrade (RFC 6455, 4.2.1). Raises BadRequest, UpgradeRequired."""
    if (head.get("upgrade") or "").strip().lower() != "websocket":
        raise BadRequest("The only upgrade offered is 'websocket'.")
    if head.method != "GET" or head.version != "1.1":
        raise BadRequest("A WebSocket is opened with GET and HTTP/1.1.")
    if head.has_body:
        raise BadRequest("A WebSocket upgrade has no body.")
    if head.get_all("sec-websocket-version") != ["13"]:
        raise UpgradeRequired("Sec-WebSocket-Version must be 13.")
    keys = head.get_all("sec-websocket-key")
    if len(keys) != 1 or not WEBSOCKET_KEY.fullmatch(keys[0].strip()):
        raise BadRequest("Sec-WebSocket-Key must be 16 bytes in base64, once.")
    sub_protocols(head)
    return keys[0].strip()


def sub_protocols(head: Head) -> list[str]:
    """The sub-protocols that the client offers, in its order. Raises BadRequest."""
    offered = [part.strip() for value in head.get_all("sec-websocket-protocol") for part in value.split(",")]
    for name in offered:
        if not _TOKEN.fullmatch(name.encode("latin-1")):
            raise BadRequest("Sec-WebSocket-Protocol is not a list of tokens.")
    return offered


def encode_head(status: int, reason: str | None, headers: Headers) -> bytes:
    """A response head: any status 100-999, any printable reason phrase. Values must already be clean."""
    phrase = REASONS.get(status, "") if reason is None else reason
    lines = [f"HTTP/1.1 {status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
