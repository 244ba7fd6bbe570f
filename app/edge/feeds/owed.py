"""What a durable subscription owes to a sink, taken when somebody is ready to send it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from app.edge.feeds.durable import Durable
from app.errors import RelayError
from fanout.event import Event
from fanout.history import Gap
from fanout.members import Member
from fanout.shared import Pending


class OwedDelivery:
    """One delivery to a sink, until one of its methods settles it."""

    __slots__ = ("_consumer", "_number", "attempt", "epoch", "event")

    def __init__(self, consumer: SinkConsumer, pending: Pending) -> None:
        self._consumer = consumer
        self._number = pending.number
        self.event: Event = pending.event
        self.attempt = pending.attempts
        self.epoch = consumer.durable.history.epoch

    @property
    def is_permitted(self) -> bool:
        """Whether its owner may receive it still: that may end while it waits for its turn."""
        return self._consumer.durable.may_receive(self.event.address)

    def ack(self) -> None:
        """It arrived."""
        self._consumer.durable.ack(self._consumer.member, [self._number])

    def nack(self, delay_seconds: float, reason: str) -> bool:
        """It did not; whether it is owed again, after so many seconds. It is not where this was its last attempt."""
        durable = self._consumer.durable
        durable.nack(self._consumer.member, [self._number], delay_seconds, reason)
        return not 0 < durable.terms.max_deliveries <= self.attempt

    def reject(self, reason: str) -> None:
        """No attempt can help: it goes to the dead letters."""
        self._consumer.durable.reject(self._consumer.member, self._number, reason)

    def give_back(self) -> None:
        """Nothing was tried, or it is not known what came of it."""
        self._consumer.durable.give_back(self._consumer.member, self._number)


class SinkConsumer:
    """A consumer that is given deliveries, at most `most` at once, when it asks for them and only then."""

    def __init__(self, durable: Durable, most: int, on_gap: Callable[[Gap], None], on_over: Callable[[], None]) -> None:
        self.durable = durable
        self.member = Member(durable.may_receive, self._is_ready, most)
        self._on_gap = on_gap
        self._on_over = on_over
        self._asked: asyncio.Future[Sequence[OwedDelivery]] | None = None
        durable.join(self)

    async def take(self) -> Sequence[OwedDelivery]:
        """What is owed now, at least one; what was taken before has been settled."""
        self._asked = asked = self.durable.context.loop.create_future()
        self.durable.wake(self)
        try:
            return await asked  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            if asked.done() and not asked.cancelled():
                for each in asked.result():
                    each.give_back()
            raise
        finally:
            self._asked = None

    def close(self) -> None:
        """Leave; what is not settled is owed to others."""
        self.durable.leave(self)

    # --- what the dispatcher asks ---

    def deliver(self, deliveries: Sequence[Pending]) -> None:
        asked, self._asked = self._asked, None
        assert asked is not None
        asked.set_result([OwedDelivery(self, each) for each in deliveries])

    def tell_gap(self, gap: Gap) -> None:
        self._on_gap(gap)

    def on_over(self, error: RelayError) -> None:
        self._on_over()

    # --- inside ---

    def _is_ready(self) -> bool:
        return self._asked is not None and not self._asked.done() and not self.durable.context.is_draining
