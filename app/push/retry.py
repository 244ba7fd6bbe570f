"""What becomes of a delivery after an answer, and when the next attempt is made. Clock and chance are passed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum

MOST_RETRY_AFTER_SECONDS = 3600.0


class Verdict(Enum):
    """What an answer's status means for what was sent."""

    DELIVERED = "delivered"
    RETRY = "retry"
    REFUSED = "refused"  # the sink will not take this very event: no attempt can help
    GONE = "gone"  # the sink is retired: nothing more is sent there


# What speaks against the event itself. A sink that is misconfigured (401, 404, a redirect) may be mended meanwhile.
_REFUSED = frozenset((400, 413, 415, 422))


def judge(status: int) -> Verdict:
    """What a status means (CloudEvents HTTP webhooks, 2.2). Redirects are not followed: they are failures."""
    if 200 <= status < 300:
        return Verdict.DELIVERED
    if status == 410:
        return Verdict.GONE
    return Verdict.REFUSED if status in _REFUSED else Verdict.RETRY


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after a failure: by chance between nothing and a ceiling that doubles ("full jitter")."""

    first_seconds: float = 5.0
    most_seconds: float = 900.0

    def delay(self, attempt: int, chance: Callable[[], float], retry_after: float | None = None) -> float:
        """Seconds until the next attempt after the `attempt`th, counted from 1; not before the sink's `retry_after`.

        `chance` gives a number from 0 up to 1.
        """
        ceiling = min(self.most_seconds, self.first_seconds * 2.0 ** min(attempt - 1, 40))
        return max(chance() * ceiling, retry_after or 0.0)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait by a header Retry-After, None where it says nothing (RFC 9110, 10.2.3). At most an hour."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), MOST_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now
    return min(max(seconds, 0.0), MOST_RETRY_AFTER_SECONDS)


class Pace:
    """Keeps requests under an agreed rate, evenly spaced. `per_minute` None: no limit. `clock` is monotonic."""

    def __init__(self, per_minute: int | None, clock: Callable[[], float]) -> None:
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._clock = clock
        self._next = 0.0

    def take(self) -> float:
        """The seconds to wait before the request that is meant now; its place is taken."""
        now = self._clock()
        at = max(now, self._next)
        self._next = at + self._interval
        return at - now
