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


def test_receipts_of_a_batch_keep_its_order() -> None:
    other = RECEIPT._replace(id="e2")
    assert [each["id"] for each in orjson.loads(encode_receipts([RECEIPT, other]))] == ["e1", "e2"]
