"""Request heads that were seen a moment ago: clients on kept connections send the same bytes again and again.

What was parsed and checked once need not be again when every byte is the same. Only a read that is one whole
head without a body is remembered, and only found where a request may begin.
"""

from __future__ import annotations

from app.wire.http import Head

MOST_HEADS = 1024
MOST_BYTES = 4096  # of a head that is worth keeping

_END = b"\r\n\r\n"


class RecentHeads:
    """Heads by their bytes, all forgotten when they become too many. What is found is shared: not to be changed."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}
        self.find = self._heads.get

    def remember(self, data: bytes, head: Head) -> None:
        """Keep `head`, which a parser found to be valid in `data`, unless more than it stands there.

        The last request of a connection is not kept: what may follow it is the parser's to say.
        """
        if len(data) > MOST_BYTES or not head.is_keep_alive or data.find(_END) != len(data) - len(_END):
            return
        if len(self._heads) >= MOST_HEADS:
            self._heads.clear()
        self._heads[data] = head
