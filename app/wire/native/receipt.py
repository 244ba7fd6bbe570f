"""The answer to a publish: where the event stands, and what became of it among those who listen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import orjson

CONTENT_TYPE = "application/json"


class PublishReceipt(NamedTuple):
    """`matched` subscribers had the permission and the pattern: `queued + behind + dropped` of them, always.

    An event that `is_duplicate` was published before, and has its place from then. One that waits has no `cursor` yet:
    it is `due` at a time (RFC 3339), till when its `number` names it.
    """

    id: str
    cursor: str | None
    matched: int
    queued: int
    behind: int
    dropped: int
    is_duplicate: bool = False
    due: str | None = None
    number: int | None = None

    def members(self) -> dict[str, object]:
        """What its publisher is told."""
        id, cursor, matched, queued, behind, dropped, is_duplicate, due, number = self
        told: dict[str, object] = {"id": id}
        if cursor is not None:
            told["cursor"] = cursor
        if due is not None:
            told["due"], told["number"] = due, number
        told |= {"matched": matched, "queued": queued, "behind": behind, "dropped": dropped}
        if is_duplicate:
            told["duplicate"] = True
        return told


def encode_receipt(receipt: PublishReceipt) -> bytes:
    """One receipt as a JSON object."""
    return orjson.dumps(receipt.members())


def encode_receipts(receipts: Sequence[PublishReceipt]) -> bytes:
    """The receipts of a batch or of NDJSON lines as a JSON array, in the order of the events."""
    return orjson.dumps([receipt.members() for receipt in receipts])
