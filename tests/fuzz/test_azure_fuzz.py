"""Whatever a peer sends on Azure's doors: it is understood, or refused by a documented error."""

from __future__ import annotations

import json
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import BadAnswer, RelayError
from app.wire.azure.commands import RenewToken, Response, Unknown, encode_accept, encode_request, parse_command
from app.wire.azure.exchange import reason_phrase, request_headers, request_target, response_headers
from app.wire.azure.handshake import (
    Handshake,
    accept_address,
    agreed_subprotocol,
    connect_headers,
    is_hc_path,
    parse_handshake,
    strip_query,
    token_from,
)
from app.wire.azure.headers import is_relayable

WIRE = st.text(st.characters(max_codepoint=0xFF), max_size=60)
WORDS = st.sampled_from(
    ["/", "//", "$hc", "%24hc", "hyco", "..", "%2e%2e", "%2F", "%ff", "%", "%%", "\\", ";", "+", "\x00", "\u00e9"]
)
PATHS = WIRE | st.lists(WORDS).map("".join) | st.lists(WORDS).map(lambda words: "/$hc/" + "".join(words))
KEYS = st.sampled_from(
    "sb-hc-action sb-hc-id sb-hc-token SB-HC-Token sb%2dhc-token sb-hc-rendezvous sb-hc-statusCode "
    "sb-hc-statusDescription statusCode statusDescription a ".split(" ")
)
QUERY_VALUES = WIRE | st.sampled_from(["accept", "listen", "request", "connect", "404", "99", "%", "%u1234", "a=b"])
QUERIES = WIRE | st.lists(st.builds("{}={}".format, KEYS, QUERY_VALUES) | WIRE, max_size=6).map("&".join)
HEADER_NAMES = st.sampled_from(
    "Host,Connection,Via,Cookie,Set-Cookie,Authorization,ServiceBusAuthorization,Sec-WebSocket-Protocol,"
    "Transfer-Encoding,Transfer_Encoding,0,bad name,".split(",")
)
HEADERS = st.lists(st.tuples(HEADER_NAMES | WIRE, WIRE), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "requestId": JSON | st.just("42"),
        "statusCode": JSON | st.integers(90, 1010) | st.just("200"),
        "statusDescription": JSON,
        "responseHeaders": JSON | st.dictionaries(st.text(max_size=6), JSON, max_size=4),
        "body": JSON,
        "token": JSON,
    },
)
COMMANDS = st.dictionaries(st.sampled_from(["response", "renewToken", "accept"]) | st.text(), MEMBERS | JSON)


@settings(max_examples=400)
@given(PATHS, QUERIES)
def test_handshakes_are_understood_or_refused(path: str, query: str) -> None:
    """S47."""
    with suppress(RelayError):
        is_hc_path(path)
    with suppress(RelayError):
        handshake = parse_handshake(path, query)
        assert isinstance(handshake, Handshake)
        assert handshake.rejection is None or is_relayable("x", handshake.rejection.description)
        address = accept_address("wss://h", handshake.raw_path, handshake.user_query, "7", "s")
        assert address.isascii()
        assert parse_handshake(address[7:].partition("?")[0], address.partition("?")[2]).secret == "s"


@settings(max_examples=300)
@given(HEADERS, QUERIES, PATHS)
def test_requests_are_understood_or_refused_and_leak_no_token(
    headers: list[tuple[str, str]], query: str, path: str
) -> None:
    """P12, S48."""
    consumed = False
    with suppress(RelayError):
        _, consumed = token_from(headers, query)
    target = request_target(path, query)
    assert target.isascii()
    for passed in (connect_headers(headers, consumed), request_headers(headers, consumed, "h")):
        names = [name.lower() for name in passed]
        assert len(set(names)) == len(names)
        assert "servicebusauthorization" not in names
        assert not (consumed and "authorization" in names)
        json.loads(encode_request("a", "i", target, "GET", passed, False, ("", 0)))
        json.loads(encode_accept("a", "i", passed, ("", 0)))
    with suppress(RelayError):
        agreed_subprotocol(headers, headers)


@given(QUERIES)
def test_stripping_twice_is_stripping_once(query: str) -> None:
    kept = strip_query(query)
    assert kept is None or strip_query(kept) == (kept or None)


@settings(max_examples=400)
@given(st.binary() | st.text() | COMMANDS.map(json.dumps) | JSON.map(json.dumps))
def test_commands_are_understood_or_unknown_or_a_bad_answer(text: bytes | str) -> None:
    """S34, S41."""
    try:
        command = parse_command(text)
    except BadAnswer:
        return
    assert isinstance(command, Response | RenewToken | Unknown)
    if isinstance(command, Response):
        assert 200 <= command.status <= 999
        head = reason_phrase(command.status, command.description)
        head += "".join(name + value for name, value in response_headers(command.headers, "h"))
        assert not {"\r", "\n", "\x00"} & set(head)
        head.encode("latin-1")
