"""A peer that does on the wire what Microsoft.Azure.Relay 3.0.1 for .NET does, written from the published protocol.

The .NET runtime is not at hand where these tests run. This stands in for it, in the SDK's own words (listener, client,
stream, exceptions), and is as strict and as peculiar: TLS always, tokens over `http://host/path/`, JSON members in the
serializer's order with `\\/`, answers that move to a rendezvous beyond 64 KiB or two seconds, a body that ends with an
empty frame and then a Close.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import ssl
import time
import uuid
import xml.etree.ElementTree as ElementTree
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, quote_plus, unquote, urlsplit

from dotnet_wire import BINARY, CLOSE, TEXT, ClientWebSocket, HttpClient, WebSocketException
from transcripts import Tape

AGENT = "azure-relay-dotnet/3.0.1.0 (Linux; .NET 8.0)"
MAX_CONTROL_BODY = 64 * 1024
FLUSH_SECONDS = 2.0
RETRIES = (0, 1, 2, 5, 10, 30)
ATOM = "{http://www.w3.org/2005/Atom}"
CONNECT = "{http://schemas.microsoft.com/netservices/2010/10/servicebus/connect}"
_HIDDEN = "sb-hc-"


class RelayException(Exception):
    """The SDK's base of all; `is_transient` says whether it tries again by itself."""

    is_transient = True


class AuthorizationFailedException(RelayException):
    is_transient = False


class EndpointNotFoundException(RelayException):
    pass


class RelayTimeoutException(RelayException):
    """`System.TimeoutException`."""


class ConnectionLostException(RelayException):
    pass


class QuotaExceededException(RelayException):
    is_transient = False


def converted(error: WebSocketException, trackable: str = "") -> RelayException:
    """What the SDK makes of a handshake that failed or a connection that was lost."""
    if error.status is None:
        return RelayException(str(error))
    text = error.reason if "TrackingId" in error.reason else f"{error.reason} {trackable}".strip()
    name = HTTPStatus(error.status).phrase.replace(" ", "").replace("-", "")
    if error.status == 401:
        return AuthorizationFailedException(f"{name}: {text}")
    if error.status == 404:
        return EndpointNotFoundException(f"{name}: {text}")
    if error.status in (408, 504):
        return RelayTimeoutException(f"{name}: {text}")
    return RelayException(f"{name}: {text}")


@dataclass(frozen=True)
class ConnectionString:
    """`RelayConnectionStringBuilder`: names ignore case, unknown ones are refused. Raises ValueError."""

    host: str
    port: int | None
    entity_path: str = ""
    key_name: str = ""
    key: str = ""
    signature: str = ""

    @classmethod
    def parse(cls, text: str) -> ConnectionString:
        known = {"endpoint", "sharedaccesskeyname", "sharedaccesskey", "sharedaccesssignature", "entitypath"}
        found: dict[str, str] = {}
        for piece in text.split(";"):
            if not piece:
                continue
            name, equals, value = piece.partition("=")
            if not equals or name.lower() not in known | {"operationtimeout", "authentication"}:
                raise ValueError(f"the connection string holds {piece!r}")
            found[name.lower()] = value
        endpoint = urlsplit(found["endpoint"])
        if endpoint.scheme != "sb" or endpoint.hostname is None:
            raise ValueError("Endpoint must be sb://HOST/")
        key_name, key = found.get("sharedaccesskeyname", ""), found.get("sharedaccesskey", "")
        signature = found.get("sharedaccesssignature", "")
        if bool(key_name) != bool(key) or (signature and key):
            raise ValueError("name and key go together, and not with a signature")
        return cls(endpoint.hostname, endpoint.port, found.get("entitypath", ""), key_name, key, signature)

    def at(self, path: str) -> ConnectionString:
        """The same with this EntityPath."""
        return ConnectionString(self.host, self.port, path, self.key_name, self.key, self.signature)

    def with_key(self, key: str) -> ConnectionString:
        """The same with another key."""
        return ConnectionString(self.host, self.port, self.entity_path, self.key_name, key)

    @property
    def address(self) -> str:
        port = f":{self.port}" if self.port else ""
        return f"sb://{self.host}{port}/{self.entity_path}"

    def token(self, resource: str | None = None, minutes: float = 60) -> str | None:
        """A token over `http://host/path/`, without the port, or None for an anonymous peer."""
        if self.signature:
            return self.signature
        if not self.key:
            return None
        parts = urlsplit(resource or self.address)
        path = parts.path if parts.path.endswith("/") else f"{parts.path}/"
        sr = url_encode(f"http://{parts.hostname}{path}")
        expiry = str(int(time.time() + minutes * 60))
        mac = hmac.new(self.key.encode(), f"{sr}\n{expiry}".encode(), hashlib.sha256).digest()
        sig = url_encode(base64.b64encode(mac).decode())
        return f"SharedAccessSignature sr={sr}&sig={sig}&se={expiry}&skn={url_encode(self.key_name)}"


def url_encode(text: str) -> str:
    """`WebUtility.UrlEncode`: a blank is `+`, hex is upper case, `-_.!*()` stay."""
    return quote_plus(text, safe="-_.!*()").replace("~", "%7E")


def filter_query(query: str) -> str:
    """`FilterQueryString`: what an application may see."""
    return "&".join(piece for piece in query.split("&") if not _is_hidden(piece))


def _is_hidden(piece: str) -> bool:
    name, equals, _ = piece.partition("=")
    return bool(equals) and unquote(name.replace("+", " ")).lower().startswith(_HIDDEN)


def to_json(command: dict[str, Any]) -> bytes:
    """As `DataContractJsonSerializer` writes it: members in the alphabet's order, `/` escaped, nulls left out."""
    (name, members), *_ = command.items()
    kept = {key: members[key] for key in sorted(members) if members[key] is not None}
    return json.dumps({name: kept}, separators=(",", ":"), ensure_ascii=False).replace("/", "\\/").encode()


class Stream:
    """`HybridConnectionStream`: a read is one receive, 0 bytes say that the peer has closed, a write is one message."""

    def __init__(self, socket: ClientWebSocket, trackable: str = "") -> None:
        self.socket = socket
        self.writes_text = False
        self._trackable = trackable

    async def read(self, limit: int = 65536) -> bytes:
        """The next bytes. Raises `RelayException` when the connection was lost."""
        try:
            return (await self.socket.receive(limit)).data
        except WebSocketException as error:
            raise converted(error, self._trackable) from error

    async def read_exactly(self, count: int) -> bytes:
        """So many bytes; fewer only when the peer has closed."""
        data = b""
        while len(data) < count:
            if not (part := await self.read(count - len(data))):
                break
            data += part
        return data

    async def write(self, data: bytes) -> None:
        await self.socket.send(data, TEXT if self.writes_text else BINARY)

    async def shutdown(self) -> None:
        """End our direction and read on."""
        await self.socket.close_output(1000, "Shutdown")

    async def close(self) -> None:
        """Close and wait for the peer's Close."""
        await self.socket.close(1000, "CloseAsync")

    def abort(self) -> None:
        self.socket.abort()


@dataclass
class Response:
    """`RelayedHttpListenerResponse`. A header that is added twice is joined by a comma."""

    status: int = 0
    description: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    stream: ResponseStream | None = None

    def add_header(self, name: str, value: str) -> None:
        self.headers[name] = f"{self.headers[name]},{value}" if name in self.headers else value

    async def write(self, data: bytes) -> None:
        assert self.stream is not None
        await self.stream.write(data)

    async def close(self) -> None:
        assert self.stream is not None
        await self.stream.close()


@dataclass
class Context:
    """`RelayedHttpListenerContext`: what a handler is given."""

    url: str
    method: str
    headers: dict[str, str]
    tracking_id: str
    body: bytes | None = None
    remote_endpoint: tuple[str, int] | None = None
    response: Response = field(default_factory=Response)


AcceptHandler = Callable[[Context], Awaitable[bool]]
RequestHandler = Callable[[Context], Awaitable[None]]


class Listener:
    """`HybridConnectionListener`. `events` tells Online, Connecting and Offline as they come."""

    def __init__(self, string: ConnectionString, tls: ssl.SSLContext, *, tape: Tape, id: str | None = None) -> None:
        self.string, self.tls, self.tape = string, tls, tape
        self.id = id or str(uuid.uuid4())
        self.accept_handler: AcceptHandler | None = None
        self.request_handler: RequestHandler | None = None
        self.events: asyncio.Queue[str] = asyncio.Queue()
        self.last_error: RelayException | None = None
        self.is_online = False
        self._streams: asyncio.Queue[Stream | None] = asyncio.Queue()
        self._control: ClientWebSocket | None = None
        self._sending = asyncio.Lock()
        self._is_closing = False
        self._pump: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Register. Raises a `RelayException`."""
        await self._connect()
        self._pump = asyncio.create_task(self._receive_pump())

    async def accept_connection(self) -> Stream | None:
        """The next stream; None once the listener is closed."""
        stream = await self._streams.get()
        if stream is None:
            self._streams.put_nowait(None)
        return stream

    async def close(self) -> None:
        """The clean shutdown: Close 1000, then wait for the relay's."""
        self._is_closing = True
        if self._control is not None and self._pump is not None and not self._pump.done():
            await self._control.close_output(1000, "Normal Closure")
            await self._pump
        for task in self._tasks:
            task.cancel()
        while not self._streams.empty():
            if stream := self._streams.get_nowait():
                stream.abort()
        self._streams.put_nowait(None)

    async def kill(self) -> None:
        """End as a process does that is killed."""
        self._is_closing = True
        tasks = [each for each in (self._pump, *self._tasks) if each]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._control is not None:
            self._control.abort()

    def drop_control(self) -> None:
        """Cut the control channel as a network does."""
        assert self._control is not None
        self._control.abort()

    async def renew_token(self, string: ConnectionString | None = None) -> None:
        """What the renewer does when a token runs out."""
        token = (string or self.string).token()
        await self.send_command({"renewToken": {"token": token}})

    async def pong(self) -> None:
        """What the keep-alive timer does on the control channel."""
        assert self._control is not None
        await self._control.pong()

    async def send_command(self, command: dict[str, Any], body: bytes | None = None) -> None:
        """A command and its body, adjacent, the body in fragments of at most 64 KiB."""
        assert self._control is not None
        async with self._sending:
            await self._control.send(to_json(command), TEXT)
            if body is not None:
                await send_stream(self._control, body)

    async def _connect(self) -> None:
        string = self.string
        headers = {"Relay-User-Agent": AGENT, "ServiceBusAuthorization": string.token() or ""}
        uri = web_socket_uri(string, "listen", self.id.partition("_")[0])
        try:
            self._control = await ClientWebSocket.connect(
                uri, self.tls, headers=headers, tape=self.tape, name="control"
            )
        except WebSocketException as error:
            raise converted(error, _trackable(self.id, string.address)) from error
        self.is_online = True
        self.last_error = None
        self.events.put_nowait("Online")

    async def _receive_pump(self) -> None:
        retries = 0
        while True:
            try:
                if not self.is_online:
                    await asyncio.sleep(RETRIES[min(retries, len(RETRIES) - 1)])
                    retries += 1
                    await self._connect()
                    retries = 0
                self.last_error = await self._serve()
            except WebSocketException as error:
                self.last_error = converted(error)
            except RelayException as error:
                self.last_error = error
            self.is_online = False
            if self._is_closing or isinstance(self.last_error, EndpointNotFoundException):
                break
            self.events.put_nowait("Connecting")
        self.events.put_nowait("Offline")

    async def _serve(self) -> RelayException | None:
        """Take commands until the channel closes."""
        control = self._control
        assert control is not None
        while True:
            opcode, data = await control.receive_message()
            if opcode == CLOSE:
                await control.close(control.close_status, control.close_description)
                if self._is_closing:
                    return None
                status = {1000: "NormalClosure", 1001: "EndpointUnavailable", 1008: "PolicyViolation"}
                name = status.get(control.close_status or 0, "InternalServerError")
                return ConnectionLostException(f"{name}: {control.close_description}")
            assert opcode == TEXT
            assert len(data) < 65536, "the SDK would spin"
            await self._on_command(json.loads(data), control)

    async def _on_command(self, command: dict[str, Any], control: ClientWebSocket) -> None:
        if accept := command.get("accept"):
            await self._on_accept(accept)
        elif request := command.get("request"):
            body = None
            if request.get("body"):
                opcode, body = await control.receive_message()
                assert opcode == BINARY
            self._spawn(HttpConnection(self, request).process(body))

    async def _on_accept(self, accept: dict[str, Any]) -> None:
        parts = urlsplit(accept["address"])
        path = unquote(parts.path).removeprefix("/").removeprefix("$hc/")
        query = filter_query(parts.query)
        url = f"{self.string.at(path).address}{'?' + query if query else ''}"
        context = Context(url, "GET", accept["connectHeaders"], accept["id"])
        is_accepted = True
        if self.accept_handler is not None:
            try:
                is_accepted = await self.accept_handler(context)
            except Exception:
                is_accepted = False
                context.response.status = 502
                context.response.description = (
                    "The Listener's custom AcceptHandler threw an exception. See Listener logs for details. "
                    f"TrackingId: {context.tracking_id}"
                )
        self._spawn(self._complete(context, accept["address"], is_accepted))

    async def _complete(self, context: Context, address: str, is_accepted: bool) -> None:
        if not is_accepted:
            response = context.response
            if not response.status:
                response.status, response.description = 400, "Rejected by user code"
            description = response.description or HTTPStatus(response.status).phrase
            address += f"&sb-hc-statusCode={response.status}&sb-hc-statusDescription={url_encode(description)}"
            with contextlib.suppress(WebSocketException):
                await ClientWebSocket.connect(address, self.tls, tape=self.tape, name="reject")
            return
        await asyncio.sleep(0.002)  # as the SDK waits, for the sake of address resolution
        offered = context.headers.get("Sec-WebSocket-Protocol", "").split(",")[0]
        protocols = (offered,) if offered else ()
        with contextlib.suppress(WebSocketException):
            socket = await ClientWebSocket.connect(
                address, self.tls, sub_protocols=protocols, tape=self.tape, name="accept"
            )
            self._streams.put_nowait(Stream(socket))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class HttpConnection:
    """`HybridHttpConnection`: one relayed request, and where its answer goes."""

    def __init__(self, listener: Listener, request: dict[str, Any]) -> None:
        self.listener = listener
        self.address: str = request["address"]
        self.request = request
        self.rendezvous: ClientWebSocket | None = None

    async def process(self, body: bytes | None) -> None:
        """Fetch the request if need be, and call the handler."""
        if "body" not in self.request:
            socket = await self.ensure_rendezvous()
            opcode, text = await socket.receive_message()
            assert opcode == TEXT
            self.request = json.loads(text)["request"]
            if self.request["body"]:
                opcode, body = await socket.receive_message()
                assert opcode == BINARY
        string, request = self.listener.string, self.request
        remote = request["remoteEndpoint"]
        context = Context(
            string.at(request["requestTarget"].removeprefix("/")).address,
            request["method"],
            request["requestHeaders"],
            request["id"],
            body,
            (remote["address"], remote["port"]),
        )
        context.response.status = 200
        context.response.stream = ResponseStream(self, context)
        handler = self.listener.request_handler
        if handler is None:
            context.response.status = 501
            context.response.description = self._trackable("The listener RequestHandler has not been configured.")
            await context.response.close()
            return
        try:
            await handler(context)
        except Exception:
            context.response.status = 500
            context.response.description = self._trackable(
                "The listener RequestHandler threw an exception. See listener logs for more details."
            )
            await context.response.close()

    async def ensure_rendezvous(self) -> ClientWebSocket:
        if self.rendezvous is None:
            listener = self.listener
            self.rendezvous = await ClientWebSocket.connect(
                self.address, listener.tls, tape=listener.tape, name="request"
            )
        return self.rendezvous

    def _trackable(self, message: str) -> str:
        parts = urlsplit(self.address)
        tracking_id = parse_qs(parts.query)["sb-hc-id"][0]
        path = parts.path[len("/$hc") :] if parts.path.lower().startswith("/$hc") else parts.path
        return f"{message} {_trackable(tracking_id, f'https://{self.listener.string.host}{path}')}"


class ResponseStream:
    """Buffers up to 64 KiB or two seconds for the control channel; then each write is a fragment on a rendezvous."""

    def __init__(self, connection: HttpConnection, context: Context) -> None:
        self._connection, self._context = connection, context
        self._buffer: bytes | None = None
        self._is_sent = False
        self._lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self.flushed = asyncio.Event()
        self._flushing: asyncio.Task[None] | None = None

    async def write(self, data: bytes) -> None:
        async with self._lock:
            if not self._is_sent:
                buffered = self._buffer or b""
                if self._connection.rendezvous is None and len(buffered) + len(data) <= MAX_CONTROL_BODY:
                    if self._buffer is None:
                        self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._on_timer)
                    self._buffer = buffered + data
                    return
                await self._flush()
            socket = await self._connection.ensure_rendezvous()
            await socket.send(data, BINARY, end_of_message=False)

    async def close(self) -> None:
        async with self._lock:
            self._cancel_timer()
            socket = self._connection.rendezvous
            if self._is_sent:
                assert socket is not None
                await socket.send(b"", BINARY)
            elif socket is None:
                await self._connection.listener.send_command(self._command(self._buffer is not None), self._buffer)
            else:
                await socket.send(to_json(self._command(self._buffer is not None)), TEXT)
                if self._buffer is not None:
                    await send_stream(socket, self._buffer)
        if socket is not None:
            await socket.close(1000, "NormalClosure")

    async def _flush(self) -> None:
        if self._is_sent:
            return
        socket = await self._connection.ensure_rendezvous()
        await socket.send(to_json(self._command(True)), TEXT)
        self._is_sent = True
        if self._buffer:
            await socket.send(self._buffer, BINARY, end_of_message=False)
        self._cancel_timer()

    def _on_timer(self) -> None:
        async def flush() -> None:
            async with self._lock:
                await self._flush()
            self.flushed.set()

        self._flushing = asyncio.create_task(flush())

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _command(self, has_body: bool) -> dict[str, Any]:
        response = self._context.response
        return {
            "response": {
                "requestId": self._context.tracking_id,
                "statusCode": response.status,
                "statusDescription": response.description,
                "responseHeaders": response.headers or None,
                "body": has_body,
            }
        }


async def send_stream(socket: ClientWebSocket, data: bytes) -> None:
    """One binary message in fragments of at most 64 KiB."""
    for at in range(0, max(len(data), 1), MAX_CONTROL_BODY):
        part = data[at : at + MAX_CONTROL_BODY]
        await socket.send(part, BINARY, end_of_message=at + len(part) >= len(data))


async def create_connection(
    string: ConnectionString,
    tls: ssl.SSLContext,
    *,
    headers: dict[str, str] | None = None,
    query: str = "",
    tape: Tape,
) -> Stream:
    """`HybridConnectionClient.CreateConnectionAsync`. Raises a `RelayException`."""
    token = string.token()
    sent = {"Relay-User-Agent": AGENT, **({"ServiceBusAuthorization": token} if token else {}), **(headers or {})}
    tracking_id = str(uuid.uuid4())
    uri = web_socket_uri(string, "connect", tracking_id, query)
    trackable = _trackable(tracking_id, string.address)
    try:
        socket = await ClientWebSocket.connect(uri, tls, headers=sent, tape=tape, name="connect")
    except WebSocketException as error:
        raise converted(error, trackable) from error
    return Stream(socket, trackable)


async def runtime_information(string: ConnectionString, tls: ssl.SSLContext, *, tape: Tape) -> dict[str, str]:
    """`GetRuntimeInformationAsync`: the members in their order, read as a data contract. Raises a `RelayException`."""
    async with HttpClient(string.host, string.port or 443, tls, tape) as client:
        headers = [("X-PROCESS-AT", "ServiceBus"), ("Authorization", string.token(minutes=10) or "")]
        response = await client.send("GET", f"/{string.entity_path}?api-version=2016-07", headers)
    if response.status != 200:
        detail = ElementTree.fromstring(response.content).findtext("Detail") or response.reason
        kinds: dict[int, type[RelayException]] = {
            401: AuthorizationFailedException,
            403: QuotaExceededException,
            404: EndpointNotFoundException,
        }
        raise kinds.get(response.status, RelayException)(detail)
    if "type=feed" in response.values("Content-Type")[0]:
        raise EndpointNotFoundException(string.entity_path)
    description = ElementTree.fromstring(response.content).find(f"{ATOM}content/{CONNECT}HybridConnectionDescription")
    assert description is not None
    order = ("CreatedAt", "UpdatedAt", "RequiresClientAuthorization", "UserMetadata", "ListenerCount")
    members = {each.tag.removeprefix(CONNECT): each.text or "" for each in description}
    places = [list(members).index(name) for name in order if name in members]
    return {name: members[name] for name in order if name in members} if places == sorted(places) else {}


def web_socket_uri(string: ConnectionString, action: str, id: str, query: str = "") -> str:
    """`BuildUri`: `wss`, the port if there is one, `$hc` before the path, the user's query first."""
    port = f":{string.port}" if string.port else ""
    query = f"{query}&" if query else ""
    return f"wss://{string.host}{port}/$hc/{string.entity_path}?{query}sb-hc-action={action}&sb-hc-id={id}"


def _trackable(tracking_id: str, address: str) -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"TrackingId:{tracking_id}, Address:{address}, Timestamp:{now}"
