"""Tokens in SOAP headers: found, decoded, cut out to the byte."""

from __future__ import annotations

import contextlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequest, PayloadTooLarge, Unauthorized
from app.wire.azure.soap import MAX_HEADER_BYTES, TokenSearch, is_soap

VECTORS = json.loads((Path(__file__).parents[3] / "vectors/soap.json").read_text("utf-8"))
XML = [("Content-Type", "text/xml")]
CASES = {case["name"]: case for case in VECTORS["found"]}


def searched(message: bytes, content_type: str = "text/xml", cuts: tuple[int, ...] = ()) -> TokenSearch:
    """A search that is over, the message fed in pieces; what was left of it went by."""
    search = TokenSearch([("Content-Type", content_type)])
    places = [0, *sorted(cuts), len(message)]
    for start, end in itertools.pairwise(places):
        if search.feed(message[start:end]):
            search.given += message[end:]
            return search
    search.close()
    return search


@pytest.mark.parametrize("name", CASES)
def test_the_block_is_cut_out_and_nothing_else(name: str) -> None:
    case = CASES[name]
    before, block, after = (case[part].encode() for part in ("before", "block", "after"))
    search = searched(before + block + after, case["type"])
    assert (search.token, search.message) == (case["token"], before + after)


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: case["name"])
def test_a_message_that_cannot_be_read_is_refused(case: dict[str, Any]) -> None:
    message = case["message"].replace("{64 KiB}", "y" * MAX_HEADER_BYTES).encode()
    with pytest.raises((BadRequest, Unauthorized, PayloadTooLarge), match=case["why"]) as refusal:
        searched(message)
    assert refusal.value.status == case["status"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "iso-8859-1", "us-ascii"])
def test_bytes_count_whatever_the_encoding(encoding: str) -> None:
    """By its declaration, its byte order mark or the charset of its type; places are those of bytes."""
    case = CASES["the only header, SOAP 1.1"]
    before, block = (
        case["before"].encode(encoding),
        case["block"].encode(encoding.replace("utf-16", "utf-16-le").replace("le-le", "le")),
    )
    after = (
        case["after"]
        .replace("<p/>", "<p>ab</p>")
        .encode(encoding.replace("utf-16", "utf-16-le").replace("le-le", "le"))
    )
    search = searched(before + block + after, f'text/xml; charset="{encoding.partition("-le")[0]}"')
    assert (search.token, search.message) == (case["token"], before + after)


def test_the_encoding_that_a_message_declares_counts_where_its_type_says_none() -> None:
    case = CASES["before another, with a byte order mark, line ends and blanks around"]
    before = case["before"].lstrip("\ufeff").replace("utf-8", "iso-8859-1").encode("iso-8859-1")
    after = case["after"].replace("€", "").encode("iso-8859-1")
    search = searched(before + case["block"].encode() + after, "application/soap+xml")
    assert (search.token, search.message) == (case["token"], before + after)


def test_an_unknown_charset_is_no_soap() -> None:
    with pytest.raises(BadRequest, match="unknown encoding"):
        searched(CASES["no header at all"]["before"].encode(), "text/xml; charset=klingon")


@given(st.sampled_from(sorted(CASES)), st.lists(st.integers(0, 900), max_size=6))
def test_it_does_not_matter_in_which_pieces_a_message_comes(name: str, cuts: list[int]) -> None:
    case = CASES[name]
    message = "".join(case[part] for part in ("before", "block", "after")).encode()
    search = searched(message, case["type"], tuple(min(cut, len(message)) for cut in cuts))
    assert (search.token, search.message) == (case["token"], (case["before"] + case["after"]).encode())


@given(st.sampled_from(sorted(CASES)), st.integers(0, 900), st.binary(max_size=4))
def test_damage_gives_a_refusal_or_a_message(name: str, at: int, junk: bytes) -> None:
    message = "".join(CASES[name][part] for part in ("before", "block", "after")).encode()
    with contextlib.suppress(BadRequest, Unauthorized, PayloadTooLarge):
        search = searched(message[:at] + junk + message[at + len(junk) :])
        assert search.token is None or search.message != search.given


def test_giving_up_leaves_the_message_as_it_was() -> None:
    case = CASES["the only header, SOAP 1.1"]
    message = (case["before"] + case["block"] + case["after"]).encode()
    search = searched(message)
    search.give_up()
    assert (search.token, search.message) == (None, message)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("content-type", "text/xml")], True),
        ([("Content-Type", 'Application/SOAP+XML; charset=utf-8; action="x"')], True),
        ([("Content-Type", "application/xml")], False),
        ([("Content-Type", "text/xmlish")], False),
        ([("Content-Type", 'multipart/related; type="application/xop+xml"')], False),
        ([("Content-Type", "text/xml"), ("Content-Encoding", "gzip")], False),
        ([("Content-Type", "text/xml"), ("Content-Type", "text/plain")], False),
        ([], False),
    ],
)
def test_soap_is_known_by_its_type(headers: list[tuple[str, str]], expected: bool) -> None:
    assert is_soap(headers) is expected
