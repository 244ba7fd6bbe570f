"""One push subscription at work: asks the sink's consent, then carries what is owed to it, and says what came of it.

Theory. A few workers each take what is owed, send it, and settle it: acknowledged, given back until later, or ended.
Nothing is taken that cannot be sent now, so nothing waits here: not for the agreed rate, nor while the sink rests. It
rests after a failure that is the sink's and not the event's, since to try every other event meanwhile would only use
up their attempts. An event that the sink refuses holds up nothing. Workers of one sink never wait for another's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from app.push.client import Answer, SinkClient, SinkUnreachable
from app.push.consent import Surroundings, ask_consent, common_headers
from app.push.log import Attempt, DeliveryLog, Result
from app.push.retry import Pace, Verdict, judge, parse_retry_after
from app.push.settings import PushSettings, Validation
from app.push.signature import key_of, signature_of
from app.push.target import SinkRefused
from app.wire.native.webhook import ORIGIN, Mode, encode_request
from fanout.event import Event

BATCH_EVENTS = 100
MOST_REST_SECONDS = 60.0  # of a sink that failed, unless it said itself for how long

_log = logging.getLogger("fanway.push")


class Owed(Protocol):
    """One event that is owed to a sink, until one of these settles it."""

    @property
    def event(self) -> Event: ...

    @property
    def epoch(self) -> str:
        """Of the event's relay."""

    @property
    def attempt(self) -> int:
        """Which delivery of it this is, from 1."""

    @property
    def is_permitted(self) -> bool:
        """Whether its owner may receive it still: that may end while it waits for its turn."""

    def ack(self) -> None:
        """It arrived."""

    def nack(self, delay_seconds: float, reason: str) -> bool:
        """It did not; whether it is owed again, after so many seconds. It is not where this was its last attempt."""

    def reject(self, reason: str) -> None:
        """No attempt can help: it goes to the dead letters."""

    def give_back(self) -> None:
        """Nothing was tried, or it is not known what came of it."""


class Source(Protocol):
    """Where one worker gets what is owed."""

    async def take(self) -> Sequence[Owed]:
        """What is owed now, in order, at least one; waits until there is. Nothing is lost when it is cancelled.

        What was taken before has been settled.
        """

    def close(self) -> None:
        """Nothing more is taken."""


class Pusher:
    """The pusher of one subscription. `start` it, `stop` it; `on_validation` and `on_gone` keep what it learns.

    `open_source` gives each worker a source of its own, of which it takes so many events at once at most.
    """

    def __init__(
        self,
        settings: PushSettings,
        open_source: Callable[[int], Source],
        client: SinkClient,
        surroundings: Surroundings,
        log: DeliveryLog,
        *,
        on_validation: Callable[[Validation], Coroutine[Any, Any, None]],
        on_gone: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._open_source = open_source
        self._client = client
        self._around = surroundings
        self._attempts = log
        self._on_validation = on_validation
        self._on_gone = on_gone
        self._keys = [key_of(secret) for secret in settings.secrets]
        self._validation = settings.validation
        self._is_over = False
        self._failures = 0  # of the sink, one after the other
        self._rests_until = 0.0  # monotonic
        self._busy: set[asyncio.Task[None]] = set()  # workers that have taken something
        self._workers: list[asyncio.Task[None]] = []
        self._main: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._main = _watched(self._run())

    async def stop(self, grace_seconds: float = 0.0) -> None:
        """Take nothing more; what is under way may end within so many seconds, then it is given back."""
        self._is_over = True
        if self._main is not None:
            self._main.cancel()
        for worker in self._workers:
            if worker not in self._busy:
                worker.cancel()
        if self._busy:
            await asyncio.wait(self._busy, timeout=grace_seconds)
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, *([self._main] if self._main else []), return_exceptions=True)
        await self._client.close()

    # --- inside ---

    async def _run(self) -> None:
        if not await self._obtain_consent():
            return
        self._pace = Pace(self._validation.rate, self._around.monotonic)
        for _ in range(self._worker_count()):
            self._workers.append(_watched(self._work()))

    def _worker_count(self) -> int:
        rate = self._validation.rate
        if self._settings.order == "strict":
            return 1
        return self._around.concurrency if rate is None else max(1, min(self._around.concurrency, rate // 60))

    async def _obtain_consent(self) -> bool:
        """Whether the sink agrees; while it cannot be asked it is asked again."""
        around, attempt = self._around, 0
        while self._validation.state == "pending":
            attempt += 1
            self._validation = await ask_consent(self._client, self._settings, around)
            await self._on_validation(self._validation)
            if self._validation.state == "pending":
                await asyncio.sleep(around.backoff.delay(attempt, around.chance))
        return self._validation.state == "granted"

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        source = self._open_source(BATCH_EVENTS if self._settings.mode is Mode.BATCH else 1)
        try:
            while not self._is_over:
                await self._rest()
                owed = await source.take()
                self._busy.add(task)
                try:
                    await self._carry(owed)
                finally:
                    self._busy.discard(task)
        finally:
            source.close()

    async def _carry(self, owed: Sequence[Owed]) -> None:
        groups = _groups(owed)
        try:
            while groups and not self._is_over and self._rests_until <= self._around.monotonic():
                await self._send(groups.pop(0))
        finally:
            for each in (each for group in groups for each in group):
                each.give_back()

    async def _rest(self) -> None:
        seconds = self._rests_until - self._around.monotonic()
        if seconds > 0:
            await asyncio.sleep(seconds)
            await self._rest()  # it may have failed again meanwhile

    async def _send(self, owed: Sequence[Owed]) -> None:
        try:
            if (wait := self._pace.take()) > 0:
                await asyncio.sleep(wait)
            if all(each.is_permitted for each in owed):
                await self._attempt(owed)
                return
        except asyncio.CancelledError:
            for each in owed:
                each.give_back()
            raise
        for each in owed:
            each.give_back()

    async def _attempt(self, owed: Sequence[Owed]) -> None:
        around, tracking_id = self._around, self._around.new_tracking_id()
        began, began_at = around.monotonic(), around.clock()
        answer, error = None, ""
        try:
            answer = await self._request(owed, tracking_id, int(began_at))
        except (SinkUnreachable, SinkRefused) as failure:
            error = str(failure)
        except Exception as fault:  # ours: nothing is lost by it
            _log.exception("a delivery to the sink of %s failed (%s)", self._settings.id, tracking_id)
            error = f"The gateway failed: {type(fault).__name__}."
        took = (around.monotonic() - began) * 1000
        results = self._settle(owed, answer, error)
        for each, (result, next_at) in zip(owed, results, strict=True):
            event = each.event
            status = answer.status if answer is not None else None
            cursor = f"{each.epoch}:{event.offset}"
            self._attempts.add(
                Attempt(
                    cursor, event.address, each.attempt, began_at, took, status, error, result, next_at, tracking_id
                )
            )
            around.count(result)
        if results[0][0] == "gone":
            self._on_gone()

    async def _request(self, owed: Sequence[Owed], tracking_id: str, timestamp: int) -> Answer:
        first, last = owed[0], owed[-1]
        content = encode_request([each.event for each in owed], first.epoch, self._settings.mode)
        id = f"{self._settings.id}_{first.epoch}_{first.event.offset}"
        if last is not first:
            id += f"_{last.event.offset}"
        headers = [
            *common_headers(self._settings, self._around.agent, tracking_id),
            (ORIGIN, self._around.origin),
            *content.headers,
            ("webhook-id", id),
            ("webhook-timestamp", str(timestamp)),
            ("webhook-signature", signature_of(self._keys, id, timestamp, content.body)),
            ("Fanway-Attempt", str(max(each.attempt for each in owed))),
        ]
        return await self._client.request("POST", headers, content.body)

    def _settle(self, owed: Sequence[Owed], answer: Answer | None, error: str) -> list[tuple[Result, float | None]]:
        verdict = Verdict.RETRY if answer is None else judge(answer.status)
        if verdict is Verdict.DELIVERED:
            self._failures = 0
            for each in owed:
                each.ack()
            return [("delivered", None)] * len(owed)
        reason = error or f"The sink answered {answer.status if answer else 0}."
        if verdict is Verdict.GONE:
            for each in owed:
                each.give_back()
            self._is_over = True
            return [("gone", None)] * len(owed)
        if verdict is Verdict.REFUSED and len(owed) == 1:
            self._failures = 0
            owed[0].reject(reason)
            return [("dead", None)]
        return self._postpone(owed, answer, reason, is_sinks_fault=verdict is Verdict.RETRY)

    def _postpone(
        self, owed: Sequence[Owed], answer: Answer | None, reason: str, *, is_sinks_fault: bool
    ) -> list[tuple[Result, float | None]]:
        around, now = self._around, self._around.clock()
        asked = parse_retry_after(answer.headers.get("retry-after"), now) if answer is not None else None
        if is_sinks_fault:
            self._failures += 1
            rest = min(around.backoff.delay(self._failures, around.chance), MOST_REST_SECONDS)
            self._rests_until = max(self._rests_until, around.monotonic() + max(rest, asked or 0.0))
        results: list[tuple[Result, float | None]] = []
        for each in owed:
            delay = around.backoff.delay(each.attempt, around.chance, asked)
            if self._settings.order == "strict":  # owed again at once, before any other, and not taken before its time
                self._rests_until = max(self._rests_until, around.monotonic() + delay)
                is_last = not each.nack(0.0, reason)
            else:
                is_last = not each.nack(delay, reason)
            results.append(("dead", None) if is_last else ("failed", now + delay))
        return results


def _watched(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task whose failure, which is ours, is in the log."""

    def tell(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (fault := task.exception()) is not None:
            _log.error("a pusher failed", exc_info=fault)

    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(tell)
    return task


def _groups(owed: Sequence[Owed]) -> list[list[Owed]]:
    """What may travel in one request: of one epoch, and what was tried before alone, so that a bad one harms none."""
    groups: list[list[Owed]] = []
    for each in owed:
        last = groups[-1][-1] if groups else None
        if last is not None and last.epoch == each.epoch and last.attempt == each.attempt == 1:
            groups[-1].append(each)
        else:
            groups.append([each])
    return groups
