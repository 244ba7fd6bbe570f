"""One `fanway.v1` session for all subscriptions and publishes of a Relay, kept alive across reconnects.

The rule it upholds: after a loss every subscription asks for what comes after its own position, so
an application sees each event once; a publish whose answer was lost fails, and is not repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from fanway.backoff import Backoff
from fanway.channel import OPEN_TIMEOUT_SECONDS, lost, open_channel
from fanway.connect import Gateway
from fanway.errors import (
    ConnectionLostError,
    QuotaExceededError,
    RelayError,
    RelayTimeoutError,
    UnknownDeliveryError,
    from_status,
)
from fanway.event import Receipt
from fanway.session_wire import (
    SUBPROTOCOL,
    Header,
    Message,
    SessionProtocolError,
    decode,
    encode,
    parse_position,
)
from fanway.shared import SharedSubscription
from fanway.subscription import Subscription
from fanway.token import expiry

log = logging.getLogger("fanway")

MAX_MESSAGE_BYTES = 64 << 20
MAX_OPEN_REQUESTS = 1000
RECONNECT_WAIT_SECONDS = 30.0
REPEATS = 2  # of a publish with an id whose answer was lost
SETTLE_SECONDS = 5.0
ROUTES_KEPT = 10_000


class Session:
    """Subscriptions and publishes over one socket. Starts with its first use; `close` ends it."""

    def __init__(self, gateway: Gateway, backoff: Callable[[], Backoff] = Backoff) -> None:
        self._gateway = gateway
        self._backoff = backoff()
        self._channel: ClientConnection | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self._online = asyncio.Event()
        self._fatal: RelayError | None = None
        self._has_been_online = False
        self._numbers = 0
        self._replies: dict[int, asyncio.Future[Header]] = {}
        self._slots = asyncio.Semaphore(MAX_OPEN_REQUESTS)
        self._subscriptions: dict[int, Subscription] = {}
        self._routes: dict[str, list[Subscription]] = {}
        self._max_event_bytes = MAX_MESSAGE_BYTES
        self._return_after = 0.0
        self._shall_return = True

    async def publish(self, header: Header, payload: bytes, is_text: bool) -> Receipt:
        """Publish and wait for the receipt. Raises RelayError; ConnectionLostError leaves the outcome open."""
        await self._connected()  # the gateway's limit is known from its first word on
        if len(payload) > self._max_event_bytes:
            raise QuotaExceededError(f"An event holds at most {self._max_event_bytes} bytes here.", status=413)
        answer = await self._ask_again({"t": "pub", **header}, payload, is_text)
        try:
            return Receipt(**{name: answer[name] for name in Receipt._fields if name in answer})
        except TypeError as error:
            raise SessionProtocolError(f"The gateway's receipt lacks something ({error}).") from None

    def subscribe(self, pattern: str, start: str, options: Header, *, acks: bool = True) -> Subscription:
        """A subscription, asked for as soon as the session is online and again after every reconnect.

        `acks`: whether going on to the next event acknowledges the one before, where it is to be.
        """
        self._routes.clear()
        if "group" in options or "durable" in options:
            subscription: Subscription = SharedSubscription(pattern, start, options, self._unsubscribe, self, acks)
        else:
            subscription = Subscription(pattern, start, options, self._unsubscribe)
        subscription.on_drained = lambda waiting: self.later(self._resubscribe(waiting))
        self._numbers += 1
        subscription.number = self._numbers
        self._subscriptions[subscription.number] = subscription
        if self._online.is_set():
            self.later(self._resubscribe(subscription))
        else:
            self._start()
        return subscription

    async def close(self) -> None:
        """End all subscriptions and the socket."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await asyncio.gather(*(subscription.settle() for subscription in self._subscriptions.values()))
        self._fatal = RelayError("This relay object is closed.")
        for subscription in list(self._subscriptions.values()):
            subscription.end(None)
        self._subscriptions.clear()
        tasks = [*self._background, *([self._supervisor] if self._supervisor else [])]
        if self._channel is not None:
            await self._channel.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail_replies(self._fatal)

    # Requests and replies

    async def _ask(self, header: Header, payload: bytes | None = None, is_text: bool = True) -> Header:
        async with self._slots:
            return await self._request(await self._connected(), header, payload, is_text)

    async def tell(self, header: Header) -> Header:
        """Ask for what has a meaning on this very connection only. Raises RelayError, at once where there is none."""
        if self._channel is None:
            raise ConnectionLostError("There is no connection now.")
        return await self._request(self._channel, header, None, True)

    async def _request(self, channel: ClientConnection, header: Header, payload: bytes | None, is_text: bool) -> Header:
        self._numbers += 1
        number = self._numbers
        reply: asyncio.Future[Header] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        try:
            await channel.send(encode({**header, "r": number}, payload, is_text))
            return await reply
        except ConnectionClosed as error:
            raise lost(error) from None
        finally:
            self._replies.pop(number, None)

    async def _ask_again(self, header: Header, payload: bytes, is_text: bool) -> Header:
        """The same for a publish; one with an id may be repeated, since the gateway knows whether it has it already."""
        for _ in range(REPEATS if "id" in header else 0):
            try:
                return await self._ask(header, payload, is_text)
            except ConnectionLostError as error:
                if not self._shall_return:
                    raise
                log.info("publish %s: %s Trying again.", header["id"], error)
        return await self._ask(header, payload, is_text)

    async def _connected(self) -> ClientConnection:
        self._start()
        if not self._online.is_set():
            wait = asyncio.create_task(self._online.wait())
            assert self._supervisor is not None
            await asyncio.wait({wait, self._supervisor}, timeout=RECONNECT_WAIT_SECONDS, return_when="FIRST_COMPLETED")
            wait.cancel()
        if self._fatal is not None:
            raise self._fatal
        if self._channel is None:
            raise RelayTimeoutError(f"The gateway could not be reached for {RECONNECT_WAIT_SECONDS:g} s.")
        return self._channel

    def _fail_replies(self, error: RelayError) -> None:
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(error)
        self._replies.clear()

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside everything else, while the session lasts."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # Subscriptions

    async def _resubscribe(self, subscription: Subscription) -> None:
        if subscription.number not in self._subscriptions:
            return
        try:
            await self._ask(subscription.as_header())
        except RelayError as error:
            if isinstance(error, ConnectionLostError) or (error.is_transient and self._has_been_online):
                return  # asked for again when the session is back
            self._subscriptions.pop(subscription.number, None)
            subscription.end(error)

    async def _unsubscribe(self, subscription: Subscription) -> None:
        self._routes.clear()
        if self._subscriptions.pop(subscription.number, None) is None or not self._online.is_set():
            return
        try:
            await self._ask({"t": "unsub", "sub": subscription.number})
        except RelayError as error:
            log.debug("unsubscribe: %s", error)

    def _wanting(self, address: str) -> list[Subscription]:
        route = self._routes.get(address)
        if route is None:
            if len(self._routes) >= ROUTES_KEPT:
                self._routes.clear()
            route = [s for s in self._subscriptions.values() if s.is_live and not s.is_marked and s.wants(address)]
            self._routes[address] = route
        return route

    def _overrun(self, subscription: Subscription) -> None:
        """The application is slow: stop the events here, and resume from history once it has caught up."""
        self._routes.clear()
        self.later(self._pause(subscription))

    async def _pause(self, subscription: Subscription) -> None:
        try:
            await self._ask({"t": "unsub", "sub": subscription.number})
        except RelayError as error:
            log.debug("pause: %s", error)

    # The connection

    def _start(self) -> None:
        if self._supervisor is not None and self._supervisor.done() and self._fatal and self._fatal.is_transient:
            self._supervisor = self._fatal = None  # the first attempt met nobody; a new call is a new attempt
        if self._fatal is not None:
            raise self._fatal
        if self._supervisor is None:
            self._supervisor = asyncio.create_task(self._supervise())

    async def _supervise(self) -> None:
        while True:
            error = await self._serve_once()
            if self._gives_up(error):
                self._give_up(error)
                return
            for subscription in self._subscriptions.values():
                subscription.lost(error)
            delay = self._backoff.next(max(self._return_after, error.retry_after or 0.0))
            log.info("session lost (%s); next attempt in %.1f s", error, delay)
            await asyncio.sleep(delay)

    def _gives_up(self, error: RelayError) -> bool:
        if not self._shall_return or not self._has_been_online:
            return True
        return error.status in (400, 401, 403, 404) and not error.is_transient

    def _give_up(self, error: RelayError) -> None:
        self._fatal = error
        for subscription in self._subscriptions.values():
            subscription.end(error)
        self._subscriptions.clear()
        self._fail_replies(error)

    async def _serve_once(self) -> RelayError:
        """One connection from its handshake to its end; returns why it ended."""
        renewal: asyncio.Task[None] | None = None
        self._return_after = 0.0
        channel: ClientConnection | None = None
        try:
            token = self._gateway.token()
            url = f"{self._gateway.socket_url}/-/events"
            channel = await open_channel(
                self._gateway, url, token=token, subprotocol=SUBPROTOCOL, max_size=MAX_MESSAGE_BYTES
            )
            async with asyncio.timeout(OPEN_TIMEOUT_SECONDS):
                hello = decode(await channel.recv()).header
            if hello["t"] != "hi":
                raise SessionProtocolError("The gateway did not begin with `hi`.")
            self._max_event_bytes = int(hello.get("max_event") or MAX_MESSAGE_BYTES)
            self._channel, self._has_been_online = channel, True
            self._backoff.reset()
            self._online.set()
            renewal = asyncio.create_task(self._renew(hello.get("exp") or expiry(token)))
            for subscription in self._subscriptions.values():
                if not subscription.is_behind:
                    self.later(self._resubscribe(subscription))
            async for data in channel:
                self._receive(decode(data))
            return ConnectionLostError("The gateway closed the session.")
        except RelayError as error:
            return error
        except ConnectionClosed as error:
            return lost(error)
        except TimeoutError:
            return RelayTimeoutError("The gateway did not begin the session in time.")
        except (KeyError, TypeError, ValueError) as error:
            return SessionProtocolError(f"The gateway sent a malformed message ({error}).")
        finally:
            self._offline()
            if renewal is not None:
                renewal.cancel()
            if channel is not None:
                await channel.close()

    def _offline(self) -> None:
        self._channel = None
        self._online.clear()
        self._routes.clear()
        for subscription in self._subscriptions.values():
            subscription.interrupted()
        self._fail_replies(
            ConnectionLostError("The connection was lost before the answer; the call may or may not have happened.")
        )

    async def _renew(self, expires_at: float | None) -> None:
        """Renew the token at four fifths of its life, for as long as the session lasts."""
        while expires_at is not None and self._gateway.credential.is_renewable:
            await asyncio.sleep(max(1.0, (expires_at - self._gateway.credential.clock()) * 0.8))
            try:
                answer = await self._ask({"t": "renew", "token": self._gateway.token()})
                expires_at = answer.get("exp")
            except RelayError as error:
                log.warning("token not renewed: %s", error)

    def _receive(self, message: Message) -> None:
        header = message.header
        match header["t"]:
            case "ev" | "dl":
                self._deliver(message)
            case "ok" | "pong":
                self._answer(header)
            case "err":
                self._refuse(header)
            case "gap":
                for subscription in self._concerned(header):
                    subscription.skipped(header)
            case "cur":
                position = parse_position(header["c"])
                for subscription in self._concerned(header):
                    subscription.reached(position, alone="sub" in header)
            case "behind":
                for subscription in self._concerned(header):
                    subscription.fell_behind()
            case "bye":
                self._shall_return = bool(header.get("return", True))
                self._return_after = float(header.get("after") or 0.0)
                log.info("gateway says good-bye: %s", header.get("reason", ""))
            case _:
                pass  # a later version's message

    def _deliver(self, message: Message) -> None:
        number = message.header.get("sub")
        if number is not None:
            subscription = self._subscriptions.get(number)
            targets = [subscription] if subscription else []
        else:
            targets = self._wanting(message.header["a"])
        for target in targets:
            if not target.offer(message):
                self._overrun(target)

    def _answer(self, header: Header) -> None:
        subscription = self._subscriptions.get(header.get("sub", 0))
        if subscription is not None and "cursor" in header:
            subscription.accepted(header)  # here and now: its events follow in this very read
            self._routes.clear()
        reply = self._replies.get(header.get("r", 0))
        if reply is not None and not reply.done():
            reply.set_result(header)

    def _refuse(self, header: Header) -> None:
        error = from_status(
            int(header.get("status", 500)),
            str(header.get("message", "")),
            code=str(header.get("code", "")),
            tracking_id=header.get("tracking"),
            retry_after=header.get("retry_after"),
        )
        if isinstance(error, UnknownDeliveryError):
            error.deliveries = tuple(header.get("d", ()))
        reply = self._replies.get(header.get("r", 0))
        if reply is not None and not reply.done():
            reply.set_exception(error)
        elif "d" in header:
            log.debug("nobody waits to hear that %s", error)
        elif subscription := self._subscriptions.pop(header.get("sub", 0), None):
            self._routes.clear()
            subscription.end(error)
        else:
            log.warning("the gateway refused: %s", error)

    def _concerned(self, header: Header) -> list[Subscription]:
        if "sub" in header:
            subscription = self._subscriptions.get(header["sub"])
            return [subscription] if subscription else []
        others = [s for s in self._subscriptions.values() if s.is_live and not s.is_marked]
        return [s for s in others if s.relay == header["relay"]]
