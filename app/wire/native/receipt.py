"""The answer to a publish: where the event stands, and what became of it among those who listen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import orjson

CONTENT_TYPE = "application/json"


class PublishReceipt(NamedTuple):
    """`matched` subscribers had the permission and the pattern: `queued + behind + dropped` of them, always."""

    id: str
    cursor: str
    matched: int
    queued: int
    behind: int
    dropped: int


def encode_receipt(receipt: PublishReceipt) -> bytes:
    """One receipt as a JSON object."""
    return orjson.dumps(receipt._asdict())


def encode_receipts(receipts: Sequence[PublishReceipt]) -> bytes:
    """The receipts of a batch or of NDJSON lines as a JSON array, in the order of the events."""
    return orjson.dumps([receipt._asdict() for receipt in receipts])
