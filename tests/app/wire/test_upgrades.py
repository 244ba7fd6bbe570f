"""Upgrades are known again by every byte but those of their key."""

from __future__ import annotations

import pytest

from app.wire.http import Head
from app.wire.upgrades import MOST_HEADS, RecentUpgrades

KEY, OTHER_KEY = "dGhlIHNhbXBsZSBub25jZQ==", "x3JJHMbDL1EzLkh9GBhXDw=="
DATA = "GET /-/events/a HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Key: {}\r\nX-A: 1\r\n\r\n"


def head(key: str = KEY) -> Head:
    made = Head("GET", "/-/events/a?b", "1.1", [("Host", "h"), ("Sec-WebSocket-Key", key), ("X-A", "1")])
    made.host, made.memo = "h", "known"
    return made


def data(key: str = KEY, text: str = DATA) -> bytes:
    return text.format(key).encode()


@pytest.fixture
def upgrades() -> RecentUpgrades:
    recent = RecentUpgrades()
    recent.remember(data(), head())
    return recent


def test_the_same_head_with_another_key_is_known(upgrades: RecentUpgrades) -> None:
    found = upgrades.find(data(OTHER_KEY))
    assert found is not None
    assert found.headers == [("Host", "h"), ("Sec-WebSocket-Key", OTHER_KEY), ("X-A", "1")]
    assert (found.path, found.query, found.host, found.memo) == ("/-/events/a", "b", "h", "known")


def test_every_finder_gets_a_head_of_its_own(upgrades: RecentUpgrades) -> None:
    one, other = upgrades.find(data()), upgrades.find(data(OTHER_KEY))
    assert one is not None
    assert other is not None
    assert one.get("sec-websocket-key") == KEY
    assert other.get("sec-websocket-key") == OTHER_KEY


@pytest.mark.parametrize(
    "other",
    [
        data().replace(b"X-A: 1", b"X-A: 2"),
        data().replace(b"/a ", b"/b "),
        data() + b"\x81\x80abcd",
        data()[:-2],
        data()[:40],
        b"",
        data(KEY[:-1]),
        data(KEY + "="),
        data("=" + KEY),
        data(" " + KEY[:-1]),
        data(KEY[:-2] + "\r\n"),
        data("é" * 12),
        data().replace(b"Sec-WebSocket-Key", b"Sec-Websocket-Key"),
    ],
)
def test_whatever_else_differs_makes_it_another(upgrades: RecentUpgrades, other: bytes) -> None:
    assert upgrades.find(other) is None


@pytest.mark.parametrize(
    "seen",
    [
        data() + b"more",
        b"GET / HTTP/1.1\r\n\r\n" + data(),
        data(" " + KEY),
        data(KEY + " "),
        data(text=DATA.replace("1\r\n\r\n", "1" * 5000 + "\r\n\r\n")),
        data(text=DATA.replace("Sec-WebSocket-Key", "SEC-WEBSOCKET-KEY")),
    ],
)
def test_only_a_plain_head_that_stands_alone_is_remembered(seen: bytes) -> None:
    upgrades = RecentUpgrades()
    upgrades.remember(seen, head())
    assert upgrades.find(seen) is None


def test_the_oldest_are_forgotten(upgrades: RecentUpgrades) -> None:
    for number in range(MOST_HEADS):
        upgrades.remember(data(text=DATA.replace("X-A: 1", f"X-A: n{number}")), head())
    assert upgrades.find(data()) is None
    assert upgrades.find(data(text=DATA.replace("X-A: 1", "X-A: n0"))) is not None
