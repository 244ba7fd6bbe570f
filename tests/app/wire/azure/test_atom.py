"""Atom entries and feeds, and how a request says that it is for the relay itself."""

from __future__ import annotations

import contextlib
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequest
from app.wire.azure.atom import (
    ATOM,
    encode_entry,
    encode_feed,
    is_atom_body,
    is_for_management,
    parse_entry,
)
from app.wire.azure.description import CONNECT, Description, Kind

DESCRIPTION = Description(Kind.HYBRID_CONNECTION, path="plants/a&b", created_at=1525712400.0, updated_at=1525712460.0)


def test_the_entry_is_an_atom_entry_about_the_url_that_was_asked() -> None:
    text = encode_entry(DESCRIPTION, 'https://ns/a?"x"&y', "ns").decode()
    entry = ElementTree.fromstring(text)
    assert entry.tag == f"{{{ATOM}}}entry"
    assert entry.findtext(f"{{{ATOM}}}id") == 'https://ns/a?"x"&y'
    assert entry.findtext(f"{{{ATOM}}}title") == "plants/a&b"
    assert entry.findtext(f"{{{ATOM}}}updated") == "2018-05-07T17:01:00Z"
    assert not re.search(r"\s<", text)


def test_what_xml_cannot_hold_is_replaced() -> None:
    told = Description(Kind.HYBRID_CONNECTION, user_metadata="a\x00b\uffffc\rd")
    [content] = ElementTree.fromstring(encode_entry(told, "https://ns/\x01", "ns")).iter(f"{{{CONNECT}}}UserMetadata")
    assert content.text == "a?b?c\rd"


def test_a_feed_tells_the_count_and_where_it_goes_on() -> None:
    entries = [(DESCRIPTION, "https://ns/a"), (DESCRIPTION, "https://ns/b")]
    feed = ElementTree.fromstring(encode_feed(entries, "https://ns/x", "ns", count=5, following="https://ns/x?p=2&q"))
    assert [entry.findtext(f"{{{ATOM}}}id") for entry in feed.iter(f"{{{ATOM}}}entry")] == [
        "https://ns/a",
        "https://ns/b",
    ]
    assert feed.findtext(f"{{{CONNECT}}}count") == "5"
    assert {link.get("rel"): link.get("href") for link in feed.findall(f"{{{ATOM}}}link")} == {
        "self": "https://ns/x",
        "next": "https://ns/x?p=2&q",
    }


def test_what_is_written_is_read() -> None:
    written = Description(Kind.RELAY, "Http", False, False, "note")
    assert parse_entry(encode_entry(written, "https://ns/a", "ns")) == written


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not well-formed XML"),
        (b"<entry>", "not well-formed XML"),
        (b"<?xml version='1.0' encoding='made-up'?><entry/>", "not well-formed XML"),
        (b"<!DOCTYPE entry [<!ENTITY a 'b'>]><entry>&a;</entry>", "document type"),
        (b"<!DOCTYPE entry SYSTEM 'http://127.0.0.1/x'><entry/>", "document type"),
        (b"<entry/>", "should be an <entry> in the namespace"),
        (b"<feed xmlns='http://www.w3.org/2005/Atom'/>", "The body is <feed>"),
        (b"<entry xmlns='http://www.w3.org/2005/Atom'/>", "0 <content> elements"),
        (b"<entry xmlns='http://www.w3.org/2005/Atom'><content/><content/></entry>", "2 <content> elements"),
        (b"<entry xmlns='http://www.w3.org/2005/Atom'><content type='html'/></entry>", "type is 'html'"),
        (b"<entry xmlns='http://www.w3.org/2005/Atom'><content type='application/xml'/></entry>", "holds 0 elements"),
    ],
)
def test_what_is_wrong_with_a_body_is_named(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        parse_entry(body)


@given(st.binary(max_size=200))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_entry(body)


@given(st.data())
def test_no_damaged_entry_breaks_the_reader(data: st.DataObject) -> None:
    entry = bytearray(encode_entry(DESCRIPTION, "https://ns/a", "ns"))
    for _ in range(data.draw(st.integers(1, 4))):
        entry[data.draw(st.integers(0, len(entry) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadRequest):
        parse_entry(bytes(entry))


def test_depth_breaks_nothing() -> None:
    with pytest.raises(BadRequest):
        parse_entry(b"<a>" * 20_000 + b"</a>" * 20_000)


@pytest.mark.parametrize(
    ("headers", "is_management"),
    [
        ([("X-PROCESS-AT", "ServiceBus")], True),
        ([("x-process-at", " servicebus ")], True),
        ([("X-PROCESS-AT", "elsewhere")], False),
        ([], False),
    ],
)
def test_a_header_marks_what_is_for_the_relay_itself(headers: list[tuple[str, str]], is_management: bool) -> None:
    assert is_for_management(headers) is is_management


@pytest.mark.parametrize(
    ("kind", "is_atom"),
    [
        ("application/atom+xml;type=entry;charset=utf-8", True),
        ("Application/Atom+XML", True),
        ("application/xml", False),
    ],
)
def test_a_body_says_that_it_is_atom(kind: str, is_atom: bool) -> None:
    assert is_atom_body([("content-type", kind)]) is is_atom
