"""The public object: publish, subscribe, listen, ask and open at one gateway."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote

import httpx

from fanway.address import check_address, check_pattern, encode_address
from fanway.asking import Answer, Asking, Question, StopRules, ask_all, ask_one
from fanway.channel import dial
from fanway.connect import Gateway, resolve
from fanway.errors import ConfigurationError, RelayError
from fanway.event import Data, Receipt, as_payload
from fanway.listener import Handlers, Listener, accepting
from fanway.listener_wire import Demand, Profile, Terms, connect_url, instance_fields
from fanway.presence import Presence
from fanway.session import Session
from fanway.session_wire import as_filter, header_of, timestamp
from fanway.socket import Opening, Socket, open_socket
from fanway.subscription import Subscription
from fanway.tickets import Ticket, ask_ticket
from fanway.token import TokenProvider

H = TypeVar("H", bound=Callable[..., Any])


class Relay:
    """One namespace at one gateway. Made by `connect`; everything opens with its first use."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._session = Session(gateway)
        self._listeners: dict[str, Listener] = {}
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave all addresses, end all subscriptions, close all connections."""
        await asyncio.gather(*(listener.close() for listener in self._listeners.values()))
        self._listeners.clear()
        await self._session.close()
        if self._client is not None:
            await self._client.aclose()

    # Events

    async def publish(
        self,
        address: str,
        data: Data = b"",
        *,
        id: str | None = None,
        type: str | None = None,
        source: str | None = None,
        time: str | datetime | None = None,
        content_type: str | None = None,
        attributes: Mapping[str, str] | None = None,
        ttl: float | str | None = None,
        not_before: float | str | datetime | None = None,
        retain: bool | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Publish an event to all who subscribe; the receipt says how many that were.

        `bytes` and `str` go as they are, other values as JSON. `ttl`: for how long it may be given to
        anybody, in seconds or as text such as "5m". `not_before`: when it is published, a time or
        such a period from now. `retain`: whether it becomes the last event of its address, where the
        relay keeps those. `key` makes the attribute `partitionkey`.

        An event with an `id` may be published again: the relay knows it for a while. So it is, by itself,
        when the connection is lost before the receipt. Raises RelayError; after ConnectionLostError the
        event may or may not have been published.
        """
        payload, is_text, kind = as_payload(data, content_type)
        header = header_of(
            address=check_address(address),
            id=id,
            type=type,
            source=source,
            time=time or None,
            ct=kind,
            attrs=dict(attributes) if attributes else None,
            ttl=ttl,
            not_before=not_before,
            retain=retain,
            key=key,
        )
        return await self._session.publish(header, payload, is_text)

    async def publish_all(self, events: Iterable[tuple[str, Data]]) -> list[Receipt]:
        """Publish (address, data) pairs in their order without waiting in between; the receipts, in order."""
        tasks = [asyncio.ensure_future(self.publish(address, data)) for address, data in events]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    def subscribe(
        self,
        pattern: str,
        *,
        after: str | datetime | None = None,
        filter: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        policy: str | None = None,
        budget: int | None = None,
        group: str | None = None,
        durable: str | None = None,
        ack: Literal["auto", "manual"] = "auto",
        key: str | None = None,
        credit: int | None = None,
        ack_wait: float | None = None,
        max_deliveries: int | None = None,
        max_in_flight: int | None = None,
        dead_letter: str | None = None,
    ) -> Subscription:
        """Events of all addresses the pattern matches, as an asynchronous iterator.

        `after`: None for what comes from now on, "start" for all that history holds, "retained" for the last event of
        each address and then what comes (of relays that retain it), a cursor, or a time. Survives reconnects.
        `filter` narrows it by CloudEvents attributes: `{"exact": {"type": "order.created"}}`, also `prefix`, `suffix`,
        `all`, `any`, `not`; of a list all must hold. `policy` ("close", "drop", "catch-up", "block") and `budget`
        (bytes owed) narrow what the relay allows a slow consumer.

        `group`: each event goes to one of those who subscribe under this name, once. `durable`: so too, and the relay
        keeps how far this name has come: each event comes again until it is acknowledged, by going on to the next one
        or, with `ack="manual"`, by `await event.ack()`. `key` names the attribute whose values stay with one consumer,
        `credit` is how many events may be under way to this one (16). When a durable one is made: `ack_wait` (seconds),
        `max_deliveries`, after which an event goes to the address `dead_letter`, `max_in_flight` (of all consumers).
        """
        start = timestamp(after) if isinstance(after, datetime) else after or "now"
        if ack != "auto" and durable is None:
            raise ConfigurationError("Only events of durable subscriptions are acknowledged; name one with `durable`.")
        options = header_of(
            filter=as_filter(filter),
            policy=policy,
            budget=budget,
            group=group,
            durable=durable,
            key=key,
            credit=credit,
            ack_wait=ack_wait,
            max_deliveries=max_deliveries,
            max_in_flight=max_in_flight,
            dead_letter=dead_letter,
        )
        return self._session.subscribe(check_pattern(pattern), start, options, acks=ack == "auto")

    def presence(self, pattern: str = "**") -> Presence:
        """Who listens and subscribes at the addresses of a pattern, and who comes and goes there. Takes Manage."""
        return Presence(self.subscribe(f"-/sys/presence/{pattern}"))

    # Requests and sockets, as listener

    def listen(
        self,
        address: str,
        *,
        sockets: bool = False,
        profile: Profile | None = None,
        client_authorization: Demand | None = None,
        transport_security: Demand | None = None,
        is_public: bool | None = None,
        display_name: str | None = None,
        instance: str | None = None,
    ) -> Callable[[H], H]:
        """Decorator: answer requests at an address, or take its sockets (`sockets=True`).

        A request handler takes a Request and returns a value sent as JSON, str, bytes, a Response,
        None (204), or is an asynchronous generator, which is streamed. A socket handler takes a
        Socket, which closes when it returns. One address may have one of each.

        The rest says what the relay shall be if it comes into being now, and must be if it exists:
        its `profile` (such as "netEvent": every message to every listener, no answers), whether its
        senders need a token and TLS ("none" or "required"), and how it shows in the discovery feed.
        `instance` is a name by which senders can choose this listener among several at the address.
        `listener(address)` gives the listener's state.
        """
        terms = Terms(profile, client_authorization, transport_security, is_public, display_name)

        def register(handler: H) -> H:
            if sockets:
                self.listen_with(address, Handlers(on_offer=accepting(handler)), terms, instance)
            else:
                self.listen_with(address, Handlers(on_request=handler), terms, instance)
            return handler

        return register

    def listen_with(
        self, address: str, handlers: Handlers, terms: Terms | None = None, instance: str | None = None
    ) -> Listener:
        """The listener at an address, with these handlers added; the decorator `listen` in its plain form.

        Raises ConfigurationError when it listens on other terms or under another instance name already.
        """
        address = check_address(address)
        listener = self._listeners.get(address)
        if listener is None:
            listener = self._listeners[address] = Listener(self.gateway, address, handlers, terms, instance)
            return listener
        if terms not in (None, Terms(), listener.terms):
            raise ConfigurationError(f"This program listens at {address!r} on other terms already.")
        if instance not in (None, listener.instance):
            raise ConfigurationError(f"This program listens at {address!r} under another instance name already.")
        mine = listener.handlers
        mine.on_request = handlers.on_request or mine.on_request
        mine.on_offer = handlers.on_offer or mine.on_offer
        return listener

    def listener(self, address: str) -> Listener:
        """The listener at an address, for its state. Raises KeyError where this object does not listen."""
        return self._listeners[check_address(address)]

    async def listening(self) -> None:
        """Wait until every listener of this object is online. Raises RelayError if the first attempt of one failed."""
        for listener in list(self._listeners.values()):
            await listener.online()

    async def run(self) -> None:
        """Serve the listeners until cancelled; raises RelayError when the gateway refuses one for good."""
        await asyncio.gather(*(listener.ended() for listener in self._listeners.values()))

    # Requests and sockets, as sender

    async def ask(
        self,
        address: str,
        data: Data = None,
        *,
        timeout: float = 60.0,  # noqa: ASYNC109 (seconds, as every HTTP client spells it)
        method: str | None = None,
        path: str = "",
        headers: Mapping[str, str] | None = None,
        instance: str | None = None,
    ) -> Answer:
        """Send an HTTP request to one listener and wait for its answer, whatever its status.

        `method` is POST with data, GET without. `path` (with a query if wanted) is added to the
        address. `instance` names the one listener to be asked. Raises RelayError for what the
        gateway refuses: EndpointNotFoundError (nobody listens), AuthorizationFailedError,
        RelayTimeoutError.
        """
        await self._settled()
        question = Question(data, method, headers, instance)
        return await ask_one(self.gateway, self._http(), check_address(address), _suffix(path), question, timeout)

    def ask_all(
        self,
        pattern: str,
        data: Data = None,
        *,
        max: int | None = None,
        wait: float | None = None,
        stall: float | None = None,
        first: bool = False,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        instance: str | None = None,
    ) -> Asking:
        """Ask every listener at an address that the pattern matches: `async for answer in relay.ask_all("plant/*")`.

        It ends when all have answered or failed, or earlier: after `max` answers, after `wait` seconds in all (10 if
        left out), `stall` seconds after the last answer, or with the `first` one whose status is below 400. Listeners
        that fail are among the answers, with an `error`; who is missing stands in the `summary` of what this returns.

        Raises RelayError as it is iterated: EndpointNotFoundError (nobody listens), AuthorizationFailedError.
        """
        question, rules = Question(data, method, headers, instance), StopRules(max, wait, stall, first)
        return ask_all(self.gateway, self._http, check_pattern(pattern), question, rules, self._settled)

    def open(
        self,
        address: str,
        *,
        path: str = "",
        subprotocols: Iterable[str] = (),
        headers: Mapping[str, str] | None = None,
        timeout: float = 70.0,
        instance: str | None = None,
    ) -> Opening:
        """Open a socket to one listener: `async with relay.open("db") as socket`.

        `instance` names the one listener that is wanted. Raises RelayError: EndpointNotFoundError
        (nobody listens), the listener's own status when it rejects, RelayTimeoutError after
        `timeout` seconds.
        """
        address = check_address(address)
        named = instance_fields(instance)

        async def opener() -> Socket:
            await self._settled()
            route, mark, query = (encode_address(address) + _suffix(path)).partition("?")
            url = connect_url(self.gateway.socket_url, route, str(uuid.uuid4())) + (f"&{query}" if mark else "")
            token = self.gateway.token(self.gateway.credential.scope or address)
            fields = [("ServiceBusAuthorization", token), *named.items(), *(headers or {}).items()]
            return await open_socket(
                url, self.gateway, headers=fields, subprotocols=subprotocols, timeout_seconds=timeout
            )

        return Opening(opener)

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(verify=self.gateway.tls() or True, trust_env=not self.gateway.is_loopback)

            async def on_request(request: httpx.Request) -> None:
                dial(request)

            self._client.event_hooks = {"request": [on_request]}
        return self._client

    async def ticket(
        self,
        *,
        seconds: float | None = None,
        until: float | None = None,
        once: bool = False,
        allow: Mapping[str, Iterable[str]] | None = None,
    ) -> Ticket:
        """A short-lived stand-in for one's token, to be handed to a browser and to stand in its URLs.

        It can be used for `seconds` (60), once or often; what it opens ends at `until` (unix seconds), at the latest
        with the token. `allow` narrows it: patterns for each action, `{"subscribe": ["user/42/**"]}`.
        """
        return await ask_ticket(self.gateway, self._http(), seconds, until, once, allow)

    async def _settled(self) -> None:
        """One's own listeners come first, so that a program can ask itself."""
        for listener in list(self._listeners.values()):
            try:
                await listener.online()
            except RelayError:
                pass  # told by `listening` and `run`


def connect(
    url: str | None = None,
    *,
    key_name: str | None = None,
    key: str | None = None,
    token: str | TokenProvider | None = None,
    connection_string: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    namespace: str | None = None,
) -> Relay:
    """A Relay, to be used as `async with fanway.connect() as relay`.

    `token` is a signature, a JSON Web Token, or a function that gives one whenever it is needed, so that connections
    are renewed. What is not given comes from FANWAY_CONNECTION_STRING, FANWAY_URL, FANWAY_KEY_NAME, FANWAY_KEY,
    FANWAY_TOKEN, FANWAY_CA, then from `connection.json` in the data folder (`data`, FANWAY_DATA or
    `./.fanway`), whose gateway may hold several namespaces: `namespace` names one. Raises ConfigurationError when
    that is not enough.
    """
    return Relay(
        resolve(
            url,
            key_name=key_name,
            key=key,
            token=token,
            connection_string=connection_string,
            ca=ca,
            data=data,
            namespace=namespace,
        )
    )


def _suffix(path: str) -> str:
    if not path or path.startswith(("/", "?")):
        return quote(path, safe="/?#[]!$&'()*+,;=:@~%-._")
    return "/" + quote(path, safe="/?#[]!$&'()*+,;=:@~%-._")
