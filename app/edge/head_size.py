"""The size of a request's head, counted before the parser sees it: the parser has no limit of its own."""

from __future__ import annotations

from app.errors import BadRequest, HeadTooLarge

_END = b"\r\n\r\n"


class HeadSize:
    """What has come of an unfinished head, or in a body of what is no body: trailers, chunk extensions.

    `count` is in bytes; whoever sees a part complete sets it back by `reset`.
    """

    __slots__ = ("_limit", "_tail", "count")

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._tail = b""  # the last bytes of an unfinished head, to find its end across reads
        self.count = 0

    def reset(self) -> None:
        self.count, self._tail = 0, b""

    def add_head(self, data: bytes) -> bool:
        """Count what came, which may hold more than the head; whether a head that is not complete begins with it.

        Raises HeadTooLarge.
        """
        tail, before = self._tail, self.count
        joined = tail + data
        end = joined.find(_END)
        if before + (end + 4 - len(tail) if end >= 0 else len(data)) > self._limit:
            raise HeadTooLarge(f"A request's head may hold at most {self._limit} bytes.")
        self.count = before + len(data)
        self._tail = joined[-3:]
        return end < 0 and not before

    def add_trailers(self, data: bytes) -> None:
        """Count what came since the last of the body itself. Raises HeadTooLarge."""
        if self.count > self._limit:
            raise HeadTooLarge(f"A request's trailers may hold at most {self._limit} bytes.")
        self.count += len(data)

    def check(self, url: bytes, headers: list[tuple[bytes, bytes]], most_url_bytes: int) -> None:
        """The same limit for heads that were pipelined behind another in one read. Raises HeadTooLarge, BadRequest."""
        if sum(len(name) + len(value) for name, value in headers) + len(url) > self._limit:
            raise HeadTooLarge(f"A request's head may hold at most {self._limit} bytes.")
        if len(url) > most_url_bytes:
            raise BadRequest("The request target is too long.", status=414)
