"""What is published and received: Event, Receipt, and how Python values become payloads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Data = Any  # what `publish` and `ask` take: bytes and str as they are, everything else as JSON


class Receipt(NamedTuple):
    """What became of a publish: `matched = queued + behind + dropped`, counted in subscriptions.

    `duplicate`: it was published before, and has its `cursor` from then. An event that waits for its time has none yet:
    it is `due` (RFC 3339), and `number` is what it is cancelled by.
    """

    id: str
    cursor: str | None = None
    matched: int = 0
    queued: int = 0
    behind: int = 0
    dropped: int = 0
    duplicate: bool = False
    due: str | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a subscription.

    `cursor` resumes after it; `missed` is 0 unless history was cut before it, then the number of
    the relay's events known to be missing, at least 1.
    """

    address: str
    cursor: str
    id: str
    data: bytes = field(repr=False)
    is_text: bool = False
    type: str | None = None
    source: str | None = None
    time: str | None = None
    content_type: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    missed: int = 0

    @property
    def text(self) -> str:
        """The payload as UTF-8 text; raises UnicodeDecodeError if it is not."""
        return self.data.decode()

    def json(self) -> Any:
        """The payload read as JSON; raises ValueError if it is not."""
        return json.loads(self.data)


def as_payload(data: Data, content_type: str | None = None) -> tuple[bytes, bool, str | None]:
    """(bytes, is text, content type) of a value: bytes and str verbatim, everything else as JSON."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data), False, content_type
    if isinstance(data, str):
        return data.encode(), True, content_type
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode(), True, content_type or "application/json"
