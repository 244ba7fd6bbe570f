"""Subscriptions that several share: groups, each event to one of them, and durable ones, until it is acknowledged.

The rule it upholds: nothing is asked for that the application does not take. The gateway has lent so many deliveries
(`credit`), and gets them back as the application goes on from one event to the next; so a slow one is not sent more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Protocol, Self

from fanway.errors import ConnectionLostError, RelayError, UnknownDeliveryError
from fanway.event import Event
from fanway.session_wire import Header, Message, count_missing, event_of, header_of, parse_position
from fanway.subscription import Subscription

log = logging.getLogger("fanway")

CREDIT = 16  # few, so that what waits here does not outlive its deadline, and is not lost with a member of a group
MAX_ACKS = 256  # in one message, whose header is bounded
MAX_REASON_CHARACTERS = 256


class Line(Protocol):
    """What is needed of the session."""

    async def tell(self, header: Header) -> Header: ...

    def later(self, work: Coroutine[Any, Any, None]) -> None: ...


class SharedSubscription(Subscription):
    """One's part of a group or of a durable subscription.

    Of a durable one, unless its acks are left to the application, asking for the next event acknowledges the one
    before. An event in whose loop something was raised is not acknowledged, nor is one that a `break` left: it goes
    back with the subscription, or when another loop begins. `async with` says why, if it was an exception.
    """

    def __init__(
        self,
        pattern: str,
        start: str,
        options: Header,
        close: Callable[[Subscription], Any],
        line: Line,
        acks: bool,
    ) -> None:
        credit = options.get("credit", CREDIT)
        super().__init__(pattern, start, {**options, "credit": credit}, close)
        self._line = line
        self._credit = credit
        self._is_durable = "durable" in options
        self._acks_itself = acks and self._is_durable
        self._acks = Acks(self)
        self._connections = 0
        self._current: Event | None = None
        self._owed = 0  # credit of a group that was used up and not yet lent again

    @property
    def is_marked(self) -> bool:
        return True

    @property
    def start(self) -> str:
        return self._start

    def as_header(self) -> Header:
        header = super().as_header()
        if not self._is_durable:
            self._owed = 0
            held = len(self._waiting) + (self._current is not None)
            header["credit"] = max(1, self._credit - held)
            if self._connections:
                del header["from"]  # the group knows where it is
        return header

    def __aiter__(self) -> Self:
        if (left := self._leave()) is not None:
            self.later(left.give_back(""))
        return self

    async def __anext__(self) -> Event:
        self._go_on()
        self._current = await super().__anext__()
        return self._current

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and (left := self._leave()) is not None:
            await left.give_back(f"{type(error).__name__}: {error}")
        await self.close()

    async def close(self) -> None:
        """Acknowledge what was gone on from, give back the rest, and end the iteration."""
        await self.settle()
        await super().close()

    async def settle(self) -> None:
        await self._acks.settle()

    # What follows is for the session.

    def accepted(self, header: Header) -> None:
        super().accepted(header)
        self.position = parse_position(header["cursor"])
        self._connections += 1

    def offer(self, message: Message) -> bool:
        """Take a delivery; its cursor may lie anywhere. An event that still waits here is had but once."""
        if not self.is_live:
            return True
        number = message.header.get("d")
        event = event_of(message, self._missed, self._delivery(number) if number else None)
        self._missed = 0
        before = [each for each in self._waiting if each.cursor == event.cursor] if event.attempt > 1 else []
        for each in before:
            self._waiting.remove(each)
            self._waiting_bytes -= len(each.data)
        self._waiting.append(event)
        self._waiting_bytes += len(event.data)
        self._wake.set()
        return True

    def skipped(self, gap: Header) -> None:
        self._missed += count_missing(gap, parse_position(gap["from"]), parse_position(gap["to"]))

    def interrupted(self) -> None:
        super().interrupted()
        self._give_back()

    def end(self, error: BaseException | None) -> None:
        super().end(error)
        self._give_back()

    def is_underway(self, connection: int) -> bool:
        """Whether what was delivered by this connection of ours can still be settled."""
        return self.is_live and connection == self._connections

    async def tell(self, header: Header) -> None:
        """Say something of this subscription. Raises RelayError."""
        await self._line.tell({**header, "sub": self.number})

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside everything else."""
        self._line.later(work)

    # --- inside ---

    def _delivery(self, number: int) -> SharedDelivery:
        return SharedDelivery(self, self._acks, number, self._connections)

    def _give_back(self) -> None:
        """What waits here of a durable subscription is the gateway's again: it comes anew, to whomever."""
        if self._is_durable:
            self._waiting.clear()
            self._waiting_bytes = 0

    def _go_on(self) -> None:
        """The application comes for the next event, so it is through with the one before."""
        if self._is_durable:
            if (done := self._leave()) is not None:
                done.ack_later()
        elif self._current is not None:
            self._current = None
            self._owed += 1
            if 2 * self._owed >= self._credit and self.is_live:
                self._owed, lent = 0, self._owed
                self.later(self._lend(lent))

    def _leave(self) -> SharedDelivery | None:
        """The event that the application had, if it is to be settled here and was not yet."""
        event, self._current = self._current, None
        delivery = event._delivery if event is not None and self._acks_itself else None
        return delivery if isinstance(delivery, SharedDelivery) and not delivery.is_settled else None

    async def _lend(self, credit: int) -> None:
        try:
            await self.tell({"t": "credit", "n": credit})
        except RelayError as error:
            log.debug("no credit lent: %s", error)


class SharedDelivery:
    """One delivery of an event, by one connection."""

    def __init__(self, owner: SharedSubscription, acks: Acks, number: int, connection: int) -> None:
        self._owner = owner
        self._acks = acks
        self._connection = connection
        self.number = number
        self.is_settled = False

    @property
    def is_underway(self) -> bool:
        return self._owner.is_underway(self._connection)

    async def ack(self) -> None:
        self.is_settled = True
        if self.is_underway:
            await self._acks.add(self.number)

    def ack_later(self) -> None:
        """The same without waiting."""
        self.is_settled = True
        if self.is_underway:
            self._acks.add(self.number).add_done_callback(_note)

    async def nack(self, delay: float | None, reason: str | None) -> None:
        self.is_settled = True
        if not self.is_underway:
            return
        try:
            await self._owner.tell({"t": "nack", "d": [self.number], **header_of(delay=delay, reason=reason)})
        except ConnectionLostError:
            pass  # it comes again all the same

    async def give_back(self, reason: str) -> None:
        """The same, whatever the reason's characters, and whether or not it succeeds."""
        text = "".join(char if char.isprintable() else " " for char in reason)
        try:
            await self.nack(None, text[:MAX_REASON_CHARACTERS] or None)
        except RelayError as error:
            log.debug("not given back: %s", error)


class Acks:
    """Acknowledgements on their way: those of one turn of the loop go in one message."""

    def __init__(self, owner: SharedSubscription) -> None:
        self._owner = owner
        self._next: dict[int, asyncio.Future[None]] = {}
        self._open: set[asyncio.Future[None]] = set()

    def add(self, number: int) -> asyncio.Future[None]:
        """Done when the gateway has heard it, or the connection is lost; fails when the gateway refuses it."""
        loop = asyncio.get_running_loop()
        told = self._next.get(number)
        if told is None:
            if not self._next:
                loop.call_soon(self._send)
            told = self._next[number] = loop.create_future()
            self._open.add(told)
            told.add_done_callback(self._open.discard)
        return told

    async def settle(self) -> None:
        """Return when none is on its way any more."""
        if self._open:
            await asyncio.wait(list(self._open))

    def _send(self) -> None:
        told, self._next = list(self._next.items()), {}
        for first in range(0, len(told), MAX_ACKS):
            self._owner.later(self._tell(dict(told[first : first + MAX_ACKS])))

    async def _tell(self, told: dict[int, asyncio.Future[None]]) -> None:
        refused: dict[int, RelayError] = {}
        try:
            await self._owner.tell({"t": "ack", "d": list(told)})
        except ConnectionLostError:
            pass  # those that the gateway has not heard come again
        except UnknownDeliveryError as error:
            refused = dict.fromkeys(error.deliveries, error)
        except RelayError as error:
            refused = dict.fromkeys(told, error)
        finally:
            for number, future in told.items():
                if future.done():  # whoever waited was cancelled
                    continue
                if number in refused:
                    future.set_exception(refused[number])
                else:
                    future.set_result(None)


def _note(told: asyncio.Future[None]) -> None:
    if not told.cancelled() and (error := told.exception()) is not None:
        log.warning("an event comes again, since its acknowledgement was refused: %s", error)
