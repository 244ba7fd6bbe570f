"""Receipts as JSON."""

from __future__ import annotations

import orjson

from app.wire.native.receipt import PublishReceipt, encode_receipt, encode_receipts

RECEIPT = PublishReceipt("e1", "0a1b2c3d:1", matched=6, queued=3, behind=2, dropped=1)


def test_a_receipt_names_all_its_numbers() -> None:
    assert orjson.loads(encode_receipt(RECEIPT)) == {
        "id": "e1",
        "cursor": "0a1b2c3d:1",
        "matched": 6,
        "queued": 3,
        "behind": 2,
        "dropped": 1,
    }


def test_a_receipt_of_what_came_again_or_waits_says_so() -> None:
    again = RECEIPT._replace(is_duplicate=True)
    assert orjson.loads(encode_receipt(again))["duplicate"] is True
    waits = orjson.loads(encode_receipt(RECEIPT._replace(cursor=None, due="2026-01-31T12:00:00.000Z", number=7)))
    assert (waits["due"], waits["number"], "cursor" in waits) == ("2026-01-31T12:00:00.000Z", 7, False)


def test_receipts_of_a_batch_keep_its_order() -> None:
    other = RECEIPT._replace(id="e2")
    assert [each["id"] for each in orjson.loads(encode_receipts([RECEIPT, other]))] == ["e1", "e2"]
