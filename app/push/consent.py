"""What goes with every request to a sink, and the question whether it wants events at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.push.client import SinkClient, SinkUnreachable
from app.push.log import Result
from app.push.retry import Backoff
from app.push.settings import PushSettings, Validation
from app.push.target import SinkRefused
from app.wire.native.webhook import read_consent, request_consent


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all pushers share. `clock` is unix seconds, `monotonic` counts on, `chance` lies between 0 and 1."""

    origin: str
    agent: str
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    chance: Callable[[], float]
    new_tracking_id: Callable[[], str]
    count: Callable[[Result], None]
    backoff: Backoff
    concurrency: int


def common_headers(settings: PushSettings, agent: str, tracking_id: str) -> list[tuple[str, str]]:
    """What each request has, the subscription's own headers and credential among it."""
    headers = [("User-Agent", agent), ("TrackingId", tracking_id), *settings.headers]
    if settings.credential is not None:
        headers.append(("Authorization", settings.credential.header))
    return headers


async def ask_consent(client: SinkClient, settings: PushSettings, around: Surroundings) -> Validation:
    """Ask a sink whether it wants events. A sink that cannot be asked leaves it open; what it does raises nothing."""
    headers = common_headers(settings, around.agent, around.new_tracking_id())
    now = around.clock()
    try:
        answer = await client.request("OPTIONS", headers + request_consent(around.origin, settings.rate))
    except SinkUnreachable as error:
        return Validation("pending", None, f"The sink could not be asked: {error}.", now)
    except SinkRefused as error:
        return Validation("refused", None, str(error), now)
    consent = read_consent(answer.headers, around.origin, settings.rate)
    return Validation("granted" if consent.is_given else "refused", consent.rate, consent.reason, now)
