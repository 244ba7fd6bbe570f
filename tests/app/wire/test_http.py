"""What a head must be for a relay to take it, beyond what the parser checks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import RelayError
from app.wire.http import Head, check_head, check_upgrade, encode_head, sub_protocols

HOST = (b"Host", b"relay.example:8480")
UPGRADE = [
    HOST,
    (b"Connection", b"Upgrade"),
    (b"Upgrade", b"websocket"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
]


def head(*headers: tuple[bytes, bytes], method: bytes = b"GET", target: bytes = b"/", version: str = "1.1") -> Head:
    return check_head(method, target, version, [HOST, *headers])


def test_names_keep_their_casing_and_the_target_is_split() -> None:
    checked = head((b"X-cUsToM", b"V"), target=b"/orders/eu?a=1&b=2?")
    assert ("X-cUsToM", "V") in checked.headers
    assert (checked.path, checked.query) == ("/orders/eu", "a=1&b=2?")
    assert checked.get("x-custom") == "V"


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        pytest.param([(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")], "exclude", id="both lengths"),
        pytest.param([(b"Content-Length", b"5"), (b"Content-Length", b"5")], "only once", id="two lengths"),
        pytest.param([(b"Content-Length", b"+5")], "digits", id="+5"),
        pytest.param([(b"Content-Length", b"0x5")], "digits", id="0x5"),
        pytest.param([(b"Transfer-Encoding", b"gzip, chunked")], "chunked", id="gzip, chunked"),
        pytest.param([(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")], "chunked", id="twice"),
        pytest.param([(b"Host", b"other")], "Exactly one Host", id="two hosts"),
        pytest.param([(b"X y", b"1")], "invalid name", id="blank in a name"),
        pytest.param([(b"X", b"a\x00b")], "invalid name or value", id="NUL in a value"),
    ],
)
def test_heads_that_two_readers_could_read_differently_are_refused(
    headers: list[tuple[bytes, bytes]], why: str
) -> None:
    """S30, S33."""
    with pytest.raises(RelayError, match=why) as caught:
        head(*headers)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [
        (b"http://relay.example/orders", b"GET", 400),
        (b"relay.example:443", b"CONNECT", 405),
        (b"/a#b", b"GET", 400),
        (b"/a\\b", b"GET", 400),
        (b"/\xff", b"GET", 400),
        (b"*", b"GET", 400),
    ],
)
def test_targets_that_are_no_paths_are_refused(target: bytes, method: bytes, status: int) -> None:
    """S33, S47."""
    with pytest.raises(RelayError) as caught:
        head(target=target, method=method)
    assert caught.value.status == status


@pytest.mark.parametrize("version", ["0.9", "2.0"])
def test_other_versions_are_refused(version: str) -> None:
    with pytest.raises(RelayError):
        head(version=version)


def test_transfer_encoding_is_refused_on_http_1_0() -> None:
    with pytest.raises(RelayError):
        head((b"Transfer-Encoding", b"chunked"), version="1.0")


def test_http_1_1_needs_a_host() -> None:
    with pytest.raises(RelayError):
        check_head(b"GET", b"/", "1.1", [])
    assert check_head(b"GET", b"/", "1.0", []).host == ""


def test_too_many_headers_are_431() -> None:
    """S39."""
    with pytest.raises(RelayError) as caught:
        head(*[(b"X-%d" % number, b"1") for number in range(10_000)])
    assert caught.value.status == 431


def test_a_name_with_an_underscore_cannot_shadow_a_framing_header() -> None:
    """S48."""
    checked = head((b"content_length", b"5"), (b"x_y", b"kept"))
    assert checked.get("content_length") is None
    assert checked.get("x_y") == "kept"


@pytest.mark.parametrize(
    ("version", "connection", "is_kept"),
    [("1.1", None, True), ("1.1", b"close", False), ("1.0", None, False), ("1.0", b"Keep-Alive", True)],
)
def test_connections_are_kept_as_the_version_says(version: str, connection: bytes | None, is_kept: bool) -> None:
    headers = [(b"Connection", connection)] if connection else []
    assert head(*headers, version=version).is_keep_alive is is_kept


def test_a_proper_upgrade_passes() -> None:
    assert check_upgrade(check_head(b"GET", b"/", "1.1", UPGRADE)) == "dGhlIHNhbXBsZSBub25jZQ=="


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({b"Upgrade": b"h2c"}, 400),
        ({b"Sec-WebSocket-Version": b"777"}, 426),
        ({b"Sec-WebSocket-Key": b"short"}, 400),
        ({b"Content-Length": b"3"}, 400),
        ({b"Sec-WebSocket-Protocol": b"caf\xc3\xa9"}, 400),
        ({b"Sec-WebSocket-Protocol": b" " * 60_000 + b'"'}, 400),
    ],
)
def test_an_upgrade_with_a_flaw_is_refused(change: dict[bytes, bytes], status: int) -> None:
    """S31, S33, S38."""
    headers = list({**dict(UPGRADE), **change}.items())
    with pytest.raises(RelayError) as caught:
        check_upgrade(check_head(b"GET", b"/", "1.1", headers))
    assert caught.value.status == status


def test_sub_protocols_come_in_the_clients_order() -> None:
    assert sub_protocols(head((b"Sec-WebSocket-Protocol", b"b, a"))) == ["b", "a"]


def test_a_response_head_takes_any_status_and_reason() -> None:
    assert encode_head(799, "So be it", [("X-Y", "1")]) == b"HTTP/1.1 799 So be it\r\nX-Y: 1\r\n\r\n"
    assert encode_head(404, None, []).startswith(b"HTTP/1.1 404 Not Found\r\n")


@given(
    st.binary(max_size=10),
    st.binary(max_size=60),
    st.sampled_from(["1.0", "1.1"]),
    st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=40)), max_size=5),
)
def test_any_head_passes_or_raises_a_documented_error(
    method: bytes, target: bytes, version: str, headers: list[tuple[bytes, bytes]]
) -> None:
    """S50. The parser hands over methods in ASCII only."""
    try:
        check_upgrade(check_head(method.hex().encode() or b"X", target, version, headers))
    except RelayError:
        pass
