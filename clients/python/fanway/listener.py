"""A listener at one address, by the Azure Relay protocol: control channel, rendezvous, renewal, reconnects.

The rule it upholds: one task reads the control channel and never waits for a handler; a response
and its body leave the control channel side by side.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from fanway.address import encode_address
from fanway.backoff import Backoff
from fanway.channel import lost, open_channel
from fanway.connect import Gateway
from fanway.errors import ConnectionLostError, EndpointNotFoundError, RelayError
from fanway.exchange import Handler, Headers, Request, Response, as_response
from fanway.listener_wire import (
    CONTROL_BODY_BYTES,
    AcceptCommand,
    RequestCommand,
    Terms,
    encode_renewal,
    encode_response,
    instance_fields,
    listen_url,
    parse_command,
    reject_url,
)
from fanway.socket import Socket, open_socket
from fanway.status import ConnectionState, ConnectionStatus
from fanway.token import expiry

SocketHandler = Callable[[Socket], Awaitable[None]]

log = logging.getLogger("fanway")

RENDEZVOUS_TIMEOUT_SECONDS = 20.0
ENTITY_GONE = 1001  # of a control channel: its relay was deleted


class Offer:
    """A sender that waits for its socket: accept it or reject it, once."""

    def __init__(self, command: AcceptCommand, address: str, gateway: Gateway) -> None:
        self.address = address
        self.headers = Headers(command.headers)
        self.remote = command.remote
        self._command = command
        self._gateway = gateway

    @property
    def target(self) -> str:
        """Path and query as the sender wrote them, from the address's own path on."""
        path = self._command.address.partition("://")[2].partition("/")[2].removeprefix("$hc/")
        path, _, query = path.partition("?")
        kept = "&".join(piece for piece in query.split("&") if not piece.lower().startswith("sb-hc-"))
        return f"/{path}?{kept}" if kept else f"/{path}"

    @property
    def subprotocols(self) -> list[str]:
        """The sub-protocols the sender offers, its favourite first."""
        offered = self.headers.get("Sec-WebSocket-Protocol", "")
        return [name.strip() for name in offered.split(",") if name.strip()]

    async def accept(self, subprotocol: str | None = None) -> Socket:
        """The socket, joined to the sender. Raises RelayError if the sender has gone."""
        chosen = [subprotocol] if subprotocol else []
        return await open_socket(
            self._command.address, self._gateway, subprotocols=chosen, timeout_seconds=RENDEZVOUS_TIMEOUT_SECONDS
        )

    async def reject(self, status: int = 400, reason: str = "Rejected by user code") -> None:
        """Refuse the sender with an HTTP status and words."""
        try:
            url = reject_url(self._command.address, status, reason)
            socket = await open_socket(url, self._gateway, timeout_seconds=RENDEZVOUS_TIMEOUT_SECONDS)
            socket.abort()
        except RelayError as answer:
            if answer.status != 410:  # 410 Gone is the gateway's way to say that the rejection was taken
                log.warning("rejection not delivered: %s", answer)


@dataclass(slots=True)
class Handlers:
    """What a listener does: with requests, and with offered sockets."""

    on_request: Handler | None = None
    on_offer: Callable[[Offer], Awaitable[None]] | None = None


class Listener(ConnectionStatus):
    """One control channel, kept up until `close`. Made by `Relay.listen`.

    `channel` is the latest control channel, `renewed` is set once its token has been renewed.
    """

    def __init__(
        self,
        gateway: Gateway,
        address: str,
        handlers: Handlers,
        terms: Terms | None = None,
        instance: str | None = None,
    ) -> None:
        super().__init__()
        self.terms = terms or Terms()
        self.instance = instance
        self._fields = self.terms.headers() | instance_fields(instance)
        self.address = address
        self.handlers = handlers
        self.channel: ClientConnection | None = None
        self.renewed = asyncio.Event()
        self._gateway = gateway
        self._id = str(uuid.uuid4())
        self._backoff = Backoff()
        self._sending = asyncio.Lock()
        self._work: set[asyncio.Task[None]] = set()
        self._settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._supervisor = asyncio.create_task(self._supervise())
        self._supervisor.add_done_callback(self._tell_end)

    async def online(self) -> None:
        """Wait for the first attempt to have the address. Raises the RelayError with which it failed.

        Unless the gateway refused it for good, further attempts follow all the same.
        """
        await asyncio.shield(self._settled)

    async def ended(self) -> None:
        """Wait until the gateway refuses the listener for good; raises that RelayError."""
        await asyncio.shield(self._supervisor)

    async def close(self) -> None:
        """Leave the address; exchanges and sockets under way are cut."""
        tasks = [self._supervisor, *self._work]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._settled.cancel()
        self._become(ConnectionState.OFFLINE)

    # The control channel

    def _tell_end(self, supervisor: asyncio.Task[None]) -> None:
        if not supervisor.cancelled() and (error := supervisor.exception()):
            log.info("listening at %s ended: %s", self.address, error)

    async def _supervise(self) -> None:
        while True:
            error = await self._serve_once()
            if not self._settled.done():
                self._settled.set_exception(error)
                self._settled.exception()  # whoever awaits `online` sees it
            if error.status in (400, 401, 403, 404, 409) and not error.is_transient:
                self._become(ConnectionState.OFFLINE, error)
                raise error
            self._become(ConnectionState.CONNECTING, error)
            delay = self._backoff.next(error.retry_after or 0.0)
            log.warning("listener at %s lost (%s); next attempt in %.1f s", self.address, error, delay)
            await asyncio.sleep(delay)

    async def _serve_once(self) -> RelayError:
        renewal: asyncio.Task[None] | None = None
        channel: ClientConnection | None = None
        try:
            token = self._gateway.token(self._gateway.credential.scope or self.address)
            url = listen_url(self._gateway.socket_url, encode_address(self.address), self._id, self.terms.display_name)
            channel = self.channel = await open_channel(self._gateway, url, token=token, headers=self._fields)
            self._backoff.reset()
            if self._settled.done():
                self._settled = asyncio.get_running_loop().create_future()
            self._settled.set_result(None)
            self._become(ConnectionState.ONLINE)
            renewal = asyncio.create_task(self._renew(channel, expiry(token)))
            await self._read_commands(channel)
            if channel.close_code == ENTITY_GONE:
                return EndpointNotFoundError(f"The gateway ended it: {channel.close_reason}".rstrip(), status=404)
            return ConnectionLostError("The gateway closed the control channel.")
        except RelayError as error:
            return error
        except ConnectionClosed as error:
            return lost(error)
        finally:
            if renewal is not None:
                renewal.cancel()
            if channel is not None:
                await channel.close()

    async def _read_commands(self, channel: ClientConnection) -> None:
        async for message in channel:
            if isinstance(message, bytes):
                continue  # a body that nobody announced
            command = parse_command(message)
            if isinstance(command, AcceptCommand):
                self._later(self._offer(command))
            elif isinstance(command, RequestCommand) and command.method is None:
                self._later(self._fetch(command))
            elif isinstance(command, RequestCommand):
                body = await channel.recv(decode=False) if command.has_body else b""
                self._later(self._exchange(command, body, channel))

    async def _renew(self, channel: ClientConnection, expires_at: float | None) -> None:
        credential = self._gateway.credential
        while expires_at is not None and credential.is_renewable:
            await asyncio.sleep(max(1.0, (expires_at - credential.clock()) * 0.8))
            token = self._gateway.token(credential.scope or self.address)
            async with self._sending:
                await channel.send(encode_renewal(token))
            self.renewed.set()
            expires_at = expiry(token)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    # Sockets

    async def _offer(self, command: AcceptCommand) -> None:
        offer = Offer(command, self.address, self._gateway)
        if self.handlers.on_offer is None:
            await offer.reject(404, "No handler is configured to accept the connection.")
            return
        try:
            await self.handlers.on_offer(offer)
        except RelayError as error:
            log.info("socket at %s: %s", self.address, error)
        except Exception:
            log.exception("the socket handler of %s failed", self.address)

    # Requests

    async def _fetch(self, command: RequestCommand) -> None:
        """An address-only request: its whole exchange happens on a rendezvous of its own."""
        try:
            channel = await open_channel(self._gateway, command.address, ping_interval=None)
        except RelayError as error:
            log.warning("request at %s not fetched: %s", self.address, error)
            return
        async with channel:
            full = parse_command(str(await channel.recv()))
            if isinstance(full, RequestCommand) and full.method is not None:
                body = channel.recv_streaming(decode=False) if full.has_body else b""
                await self._until_closed(channel, self._answer_there(full, body, channel))

    async def _answer_there(
        self, command: RequestCommand, body: AsyncIterator[bytes] | bytes, channel: ClientConnection
    ) -> None:
        await self._send_answer(channel, command, await self._handle(command, body))

    async def _exchange(self, command: RequestCommand, body: bytes, control: ClientConnection) -> None:
        """A request from the control channel; a small answer returns there, any other by a rendezvous."""
        response = await self._handle(command, body)
        try:
            if not response.is_streamed:
                content = response.whole()
                if len(content) <= CONTROL_BODY_BYTES:
                    async with self._sending:
                        await _send_whole(control, command, response, content)
                    return
            async with await open_channel(self._gateway, command.address, ping_interval=None) as channel:
                await self._until_closed(channel, self._send_answer(channel, command, response))
        except (RelayError, ConnectionClosed) as error:
            log.info("answer at %s not delivered: %s", self.address, error)

    async def _handle(self, command: RequestCommand, body: AsyncIterator[bytes] | bytes) -> Response:
        if self.handlers.on_request is None:
            return Response(b"No handler is configured for requests.", 404)
        request = Request(self.address, command.method or "GET", command.target, command.headers, body, command.remote)
        try:
            result = self.handlers.on_request(request)
            response = as_response(await result if isinstance(result, Awaitable) else result)
            fields = response.fields()
            content = response.content if response.is_streamed else response.whole()
            return Response(content, response.status, fields, response.phrase)
        except ConnectionClosed:
            raise
        except Exception:
            log.exception("the handler of %s failed", self.address)
            return Response(b"The listener's handler failed.", 500)

    async def _send_answer(self, channel: ClientConnection, command: RequestCommand, response: Response) -> None:
        if not response.is_streamed:
            await _send_whole(channel, command, response, response.whole())
            return
        head = encode_response(command.id, response.status, response.reason, response.headers, True)
        await channel.send(head)
        pieces = response.pieces()
        try:
            await channel.send(pieces)
        except ConnectionClosed:
            raise
        except Exception:  # the message stays unfinished, so the sender sees a cut and not an end
            log.exception("the streamed answer of %s failed", self.address)
            channel.transport.abort()
        finally:
            await pieces.aclose()

    async def _until_closed(self, channel: ClientConnection, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, but stop when the sender has gone and the gateway closes the rendezvous."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(channel.wait_closed())
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        except ConnectionClosed as error:
            log.info("answer at %s not delivered: %s", self.address, error)
        finally:
            task.cancel()
            gone.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)


async def _send_whole(channel: ClientConnection, command: RequestCommand, response: Response, content: bytes) -> None:
    head = encode_response(command.id, response.status, response.reason, response.headers, bool(content))
    await channel.send(head)
    if content:
        await channel.send(content)


def accepting(handler: SocketHandler | Handler) -> Callable[[Offer], Awaitable[None]]:
    """A socket handler as the listener wants it: accept with the sender's favourite sub-protocol, close at the end."""

    async def on_offer(offer: Offer) -> None:
        async with await offer.accept(offer.subprotocols[0] if offer.subprotocols else None) as socket:
            await handler(socket)  # type: ignore[arg-type]

    return on_offer
