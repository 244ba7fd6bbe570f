"""Request heads that were seen a moment ago: clients on kept connections send the same bytes again and again.

What was parsed and checked once need not be again when every byte is the same. Only a read that is one whole
head without a body is remembered, and only found where a request may begin.
"""

from __future__ import annotations

from app.wire.http import Head

MOST_HEADS = 512
MOST_BYTES = 2048  # of a head that is worth keeping
MOST_HEADERS = 32

_END = b"\r\n\r\n"


class RecentHeads:
    """Heads by their bytes, the oldest forgotten first. What is found is shared: not to be changed."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}

    def find(self, data: bytes) -> Head | None:
        """The head that `data` is, byte for byte, if it was remembered."""
        return self._heads.get(data) if len(data) <= MOST_BYTES else None

    def remember(self, data: bytes, head: Head) -> None:
        """Keep `head`, which a parser found to be valid in `data`, unless more than it stands there.

        The last request of a connection is not kept: what may follow it is the parser's to say.
        """
        if len(data) > MOST_BYTES or len(head.headers) > MOST_HEADERS:
            return
        if not head.is_keep_alive or data.find(_END) != len(data) - len(_END):
            return
        if len(self._heads) >= MOST_HEADS:
            del self._heads[next(iter(self._heads))]
        self._heads[data] = head
