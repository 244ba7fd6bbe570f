"""The discovery feed as a feed reader sees it."""

from __future__ import annotations

from xml.etree import ElementTree

from app.wire.azure.discovery import Listed, encode_discovery

ATOM = "{http://www.w3.org/2005/Atom}"


def test_a_feed_has_all_that_atom_asks_for() -> None:
    children = [Listed('A & "b"', "https://ns/a?x&y", 1525712400.0), Listed("c\x00", "https://ns/c/", 1525712460.0)]
    feed = ElementTree.fromstring(encode_discovery(children, "https://ns/", "ns", 0.0))
    assert feed.tag == f"{ATOM}feed"
    for element in (feed, *feed.iter(f"{ATOM}entry")):  # RFC 4287, 4.1.1 and 4.1.2
        assert all(element.find(f"{ATOM}{name}") is not None for name in ("id", "title", "updated"))
    assert feed.findtext(f"{ATOM}updated") == "2018-05-07T17:01:00Z"
    assert feed.findtext(f"{ATOM}author/{ATOM}name") == "ns"
    assert [entry.findtext(f"{ATOM}title") for entry in feed.iter(f"{ATOM}entry")] == ['A & "b"', "c?"]
    links = [link.get("href") for link in feed.iter(f"{ATOM}link") if link.get("rel") == "alternate"]
    assert links == ["https://ns/a?x&y", "https://ns/c/"]


def test_an_empty_feed_is_a_feed() -> None:
    feed = ElementTree.fromstring(encode_discovery([], "https://ns/", "ns", 1525712400.0))
    assert (feed.findtext(f"{ATOM}updated"), feed.findall(f"{ATOM}entry")) == ("2018-05-07T17:00:00Z", [])
