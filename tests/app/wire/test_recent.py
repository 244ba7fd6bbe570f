"""The memory of request heads."""

from __future__ import annotations

import pytest

from app.wire import recent
from app.wire.http import check_head
from app.wire.recent import RecentHeads

KEPT = check_head(b"GET", b"/a", "1.1", [(b"Host", b"h")])
CLOSING = check_head(b"GET", b"/a", "1.1", [(b"Host", b"h"), (b"Connection", b"close")])
DATA = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"


def test_the_same_bytes_are_the_same_head() -> None:
    heads = RecentHeads()
    heads.remember(DATA, KEPT)
    assert heads.find(bytes(bytearray(DATA))) is KEPT
    assert heads.find(DATA.replace(b"/a", b"/b")) is None


@pytest.mark.parametrize(
    "data",
    [DATA + b"body", DATA + DATA, b"\r\n\r\n" + DATA, DATA[:-4] + b"\r\nX: " + b"x" * recent.MOST_BYTES + b"\r\n\r\n"],
)
def test_what_is_not_one_small_head_is_not_kept(data: bytes) -> None:
    heads = RecentHeads()
    heads.remember(data, KEPT)
    assert heads.find(data) is None


def test_the_last_request_of_a_connection_is_not_kept() -> None:
    heads = RecentHeads()
    heads.remember(DATA, CLOSING)
    assert heads.find(DATA) is None


def test_only_so_many_are_kept() -> None:
    heads = RecentHeads()
    bytes_of = [b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number for number in range(recent.MOST_HEADS + 1)]
    for data in bytes_of:
        heads.remember(data, KEPT)
    assert sum(heads.find(data) is not None for data in bytes_of) <= recent.MOST_HEADS
    assert heads.find(bytes_of[-1]) is KEPT
