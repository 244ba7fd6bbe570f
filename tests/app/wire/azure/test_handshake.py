"""Upgrade requests under `/$hc` and rendezvous addresses."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import errors
from app.wire.azure.handshake import (
    Action,
    Handshake,
    Rejection,
    accept_address,
    agreed_subprotocol,
    connect_headers,
    is_hc_path,
    parse_handshake,
    request_address,
    strip_query,
    token_from,
)

VECTORS = Path(__file__).parents[3] / "vectors"
QUERIES = json.loads((VECTORS / "queries.json").read_text())
HANDSHAKES = json.loads((VECTORS / "handshakes.json").read_text())
BASE = "ws://127.0.0.1:8480"


def cases(table: dict[str, Any], key: str) -> Any:
    return pytest.mark.parametrize("case", table[key], ids=lambda case: case["name"])


def pairs(headers: list[list[str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers]


@cases(QUERIES, "strip")
def test_query_keeps_what_belongs_to_the_application(case: dict[str, Any]) -> None:
    assert strip_query(case["query"]) == case["kept"]


@cases(QUERIES, "token")
def test_token_comes_from_the_place_that_counts(case: dict[str, Any]) -> None:
    """P12, S17."""
    if "error" in case:
        with pytest.raises(getattr(errors, case["error"])):
            token_from(pairs(case["headers"]), case["query"])
    else:
        assert token_from(pairs(case["headers"]), case["query"]) == (case["token"], case["consumed"])


@pytest.mark.parametrize(("header", "query", "authorization"), list(product([False, True], repeat=3)))
def test_no_relay_token_reaches_the_listener(header: bool, query: bool, authorization: bool) -> None:
    """P12: in all eight combinations; the application's own Authorization passes when the relay does not use it."""
    headers = [("Host", "ns")]
    headers += [("ServiceBusAuthorization", "token-h")] * header + [("Authorization", "token-a")] * authorization
    text = "own=1" + "&sb-hc-token=token-q" * query
    token, consumed = token_from(headers, text)
    assert token == ("token-h" if header else "token-q" if query else "token-a" if authorization else None)
    passed = connect_headers(headers, consumed)
    assert passed.get("Authorization") == ("token-a" if authorization and (header or query) else None)
    assert "ServiceBusAuthorization" not in passed
    assert strip_query(text) == "own=1"


@cases(HANDSHAKES, "parse")
def test_handshake_is_understood(case: dict[str, Any]) -> None:
    """S34 and S47 among them: one canonical route for look-up, whatever the spelling; no words that split a line."""
    if "error" in case:
        with pytest.raises(getattr(errors, case["error"])):
            parse_handshake(case["path"], case["query"])
        return
    nothing = dict.fromkeys(("user_query", "id", "token", "secret", "rejection"))
    expected = {"action": "connect", **nothing, **case["expect"]}
    expected["action"] = Action(expected["action"])
    if expected["rejection"]:
        expected["rejection"] = Rejection(*expected["rejection"])
    assert parse_handshake(case["path"], case["query"]) == Handshake(**expected)


@pytest.mark.parametrize("path", ["/hyco", "/", "", "*", "x$hc/hyco", "/$hcx/hyco", "/./$hc/hyco", "/hyco/$hc/x"])
def test_other_paths_are_relayed_requests(path: str) -> None:
    """S47."""
    assert not is_hc_path(path)


def test_path_that_a_shell_mangled_is_refused_with_advice() -> None:
    """S47."""
    with pytest.raises(errors.BadRequest, match=r"did your shell expand \$hc"):
        is_hc_path("//hyco")


@cases(HANDSHAKES, "accept_address")
def test_accept_address_is_a_legal_uri(case: dict[str, Any]) -> None:
    assert accept_address(BASE, case["raw_path"], case["user_query"], "7", "s3") == case["address"]


def test_private_values_need_no_escapes_and_are_escaped_if_they_do() -> None:
    address = accept_address("wss://ns.test/", "hyco", None, "a&b=c", "x y")
    assert address == "wss://ns.test/$hc/hyco?sb-hc-action=accept&sb-hc-id=a%26b%3Dc&sb-hc-rendezvous=x%20y"


def test_request_address_holds_path_id_and_secret() -> None:
    address = request_address(BASE, "a/hyco", "7", "s3")
    assert address == f"{BASE}/$hc/a/hyco?sb-hc-action=request&sb-hc-id=7&sb-hc-rendezvous=s3"


WIRE_TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="?#"), max_size=40)


@given(WIRE_TEXT, WIRE_TEXT)
def test_accept_address_brings_back_the_senders_path_and_query(path: str, query: str) -> None:
    """What the listener's upgrade holds is what the sender's held, up to the escapes that had to be added."""
    user_query = strip_query(query)
    address = accept_address(BASE, path, user_query, "7", "s3")
    assert address.isascii()
    target = urlsplit(address)
    back = parse_handshake(target.path, target.query)
    assert (back.action, back.id, back.secret) == (Action.ACCEPT, "7", "s3")
    assert back.rejection is None
    assert unquote(back.raw_path, "latin-1") == unquote(path, "latin-1")
    assert unquote(back.user_query or "", "latin-1") == unquote(user_query or "", "latin-1")
    assert (back.user_query is None) == (user_query is None)


@cases(HANDSHAKES, "connect_headers")
def test_connect_headers_pass_as_received(case: dict[str, Any]) -> None:
    """S48 among them."""
    assert connect_headers(pairs(case["headers"]), case.get("consumed", False)) == case["expect"]


@cases(HANDSHAKES, "subprotocol")
def test_subprotocol_is_the_listeners_choice_among_the_offered(case: dict[str, Any]) -> None:
    sender = [("Sec-WebSocket-Protocol", value) for value in case["offered"]]
    listener = [("sec-websocket-protocol", value) for value in case["chosen"]]
    if "error" in case:
        with pytest.raises(getattr(errors, case["error"])):
            agreed_subprotocol(sender, listener)
    else:
        assert agreed_subprotocol(sender, listener) == case["agreed"]
