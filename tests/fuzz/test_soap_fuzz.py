"""Whatever a body that calls itself SOAP holds, or a listener states: understood, or refused as documented."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import BadRequest, PayloadTooLarge, Unauthorized
from app.wire.azure.soap import CONNECT, SECURITY, SOAP_11, SOAP_12, TokenSearch, is_soap
from app.wire.azure.terms import parse_terms

PIECES = st.sampled_from(
    [
        b"<?xml version='1.0' encoding='utf-8'?>",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
        f"<s:Envelope xmlns:s='{SOAP_11}'>".encode(),
        f"<s:Envelope xmlns:s='{SOAP_12}'>".encode(),
        b"<s:Header>",
        b"</s:Header>",
        b"<s:Body>",
        b"</s:Body>",
        b"</s:Envelope>",
        f"<RelayAccessToken xmlns='{CONNECT}'>".encode(),
        b"</RelayAccessToken>",
        f"<BinarySecurityToken xmlns='{SECURITY}'>".encode(),
        b"</BinarySecurityToken>",
        b"aGk=",
        b"<!-- c -->",
        b"<![CDATA[ d ]]>",
        b"&amp;",
        b"&b;",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
    ]
)
TYPES = st.sampled_from(
    ["text/xml", "application/soap+xml; charset=utf-8", "text/xml; charset=utf-16", 'text/xml; charset="iso-8859-1"']
) | st.text(max_size=30).map("text/xml; charset=".__add__)


@settings(max_examples=400)
@given(TYPES, st.lists(PIECES | st.binary(max_size=8), max_size=14))
def test_messages_are_understood_or_refused(kind: str, pieces: list[bytes]) -> None:
    """And what is left of one is the message without one piece in its midst."""
    headers = [("Content-Type", kind)]
    assert is_soap(headers)
    search = TokenSearch(headers)
    try:
        if not any(search.feed(piece) for piece in pieces):
            search.close()
    except (BadRequest, Unauthorized, PayloadTooLarge):
        return
    whole, left = search.given, search.message
    assert (search.token is None) == (whole == left)
    cut = len(whole) - len(left)
    assert any(whole[:at] == left[:at] and whole[at + cut :] == left[at:] for at in range(len(left) + 1))


NAMES = ["Relay-Profile", "Client-Authorization", "Transport-Security", "Discovery", "Display-Name"]
VALUES = st.text(max_size=12) | st.sampled_from(["http", "netEvent", "none", "required", "public"])


@given(
    st.lists(st.tuples(st.sampled_from(NAMES).map("Fanway-".__add__), VALUES), max_size=4),
    st.lists(st.tuples(st.sampled_from(NAMES).map(str.lower), VALUES), max_size=4),
)
def test_terms_are_understood_or_refused(headers: list[tuple[str, str]], asked: list[tuple[str, str]]) -> None:
    names = {"relay-profile": "profile"}
    query = "&".join(f"sb-hc-{names.get(name, name)}={value}" for name, value in asked)
    try:
        terms = parse_terms(headers, query)
    except BadRequest:
        return
    assert "\n" not in (terms.display_name or "")
