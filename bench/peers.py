"""The servers under measurement: how each is started on its core, opened, and what it uses. Linux only (/proc)."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from bench.load import (
    BINARY,
    TEXT,
    LoadError,
    client_frame,
    expect_upgrade,
    open_tcp,
    open_websocket,
    read_message,
    server_frame,
    upgrade_request,
)
from bench.native import Answering, Dialogue, Meeting
from bench.secure import SecureSocket, spoken
from fanway.token import make_token

BODY = b"x" * 1024
RELAY = "bench"
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is to run: a folder that it may fill, a free port, and that of a server behind it."""

    folder: Path
    port: int
    origin_port: int


@dataclass(slots=True)
class Server:
    """A running server. Processor time in seconds, memory in bytes, of this one process."""

    peer: Peer
    port: int
    pid: int
    headers: dict[str, str]
    origin: socket.socket  # where this process listens; only a proxy calls

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def accept(self) -> socket.socket:
        """The connection that a proxy opens next to the server behind it."""
        sock, _ = self.origin.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return SecureSocket.over(sock, is_server=True) if self.peer.is_secure else sock

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Peer:
    """A server under measurement. As written here it is one of `servers/`, which all know the same paths."""

    name: ClassVar[str]
    about: ClassVar[str]
    announces_port: ClassVar[bool] = True  # by a line of JSON; else it gets one, and is ready when it answers there
    joins_events: ClassVar[bool] = False  # in one write, so that its rate depends on how many are in flight
    is_framed: ClassVar[bool] = True  # deliveries come in WebSocket frames
    is_proxy: ClassVar[bool] = False  # what is sent through it comes out at `Server.origin`
    is_secure: ClassVar[bool] = False  # it speaks TLS, and if it is a proxy also to the server behind it
    request_path: ClassVar[str] = "/relay/echo"

    def missing(self) -> str | None:
        """Why this cannot run here, if it cannot."""
        return None

    def version(self) -> str | None:
        """Of a program that is not one of our packages."""
        return None

    def command(self, place: Place) -> list[str]:
        """The program to run."""
        raise NotImplementedError

    def headers(self, folder: Path, port: int) -> dict[str, str]:
        """What every connection must carry."""
        return {}

    def open_publisher(self, server: Server) -> socket.socket:
        """One that publishes to the address `fan` only."""
        return open_websocket(server.port, "/publish/fan", server.headers)

    def open_wide_publisher(self, server: Server) -> socket.socket:
        """One that publishes to any address."""
        return open_websocket(server.port, "/publish", server.headers)

    def open_subscriber(self, server: Server, address: str) -> socket.socket:
        return open_websocket(server.port, f"/subscribe/{address}", server.headers)

    def open_subscribers(self, server: Server, addresses: Sequence[str]) -> list[socket.socket]:
        """One of each address."""
        return [self.open_subscriber(server, address) for address in addresses]

    def publication(self, payload: bytes) -> bytes:
        """What a publisher sends."""
        return client_frame(TEXT, payload)

    def wide_publication(self, address: str, payload: bytes) -> bytes:
        """What a wide publisher sends."""
        return client_frame(TEXT, f"{address} ".encode() + payload)

    def delivery(self, address: str, payload: bytes) -> bytes:
        """What comes to a subscriber, its frame left out."""
        return payload

    def dialogue(self, server: Server) -> Dialogue:
        """How one becomes a subscriber of the address `fan`."""
        return Dialogue(upgrade_request(server.port, "/subscribe/fan", server.headers))

    def open_pair(self, server: Server) -> tuple[socket.socket, socket.socket]:
        """Two ends of one joined socket: sender and receiver."""
        name = os.urandom(8).hex()
        receiver = open_websocket(server.port, f"/listen/{name}", server.headers)
        time.sleep(0.02)  # the answer to an upgrade may leave before the server has noted the name
        return open_websocket(server.port, f"/connect/{name}", server.headers), receiver

    def meeting(self, server: Server) -> Meeting:
        """How the two ends of a joined socket meet, again and again."""
        name = Meeting.NAME.decode()
        sender = upgrade_request(server.port, f"/connect/{name}", server.headers)
        return Meeting(sender, upgrade_request(server.port, f"/listen/{name}", server.headers))

    def received(self, opcode: int, payload: bytes) -> bytes:
        """The frame in which the receiver gets a message of the sender."""
        return server_frame(opcode, payload)

    def reply(self, opcode: int, payload: bytes) -> bytes:
        """The frame in which the receiver of a pair answers."""
        return client_frame(opcode, payload)

    def open_listener(self, server: Server) -> socket.socket:
        """A listener for requests."""
        return open_websocket(server.port, "/tunnel", server.headers)

    def answering(self, server: Server, listener: socket.socket | None) -> Answering:
        """How that listener answers: head and a body of 1 KiB, as two messages."""
        before, after = b'{"id":"', b'","status":200,"headers":{"content-type":"text/plain"}}'
        return Answering(_BODY_FRAME, control=listener, mark=b'"id":"', before=before, after=after)


class Websockets(Peer):
    name = "websockets"
    about = "the library `websockets` on uvloop: `broadcast()`; two sockets joined message by message"

    def command(self, place: Place) -> list[str]:
        return [sys.executable, "-m", "bench.servers.websockets_server"]


class NaiveFastAPI(Peer):
    name = "FastAPI"
    about = "FastAPI on uvicorn: one awaited send a message; requests as JSON through a WebSocket"

    def command(self, place: Place) -> list[str]:
        return [sys.executable, "-m", "bench.servers.naive_fastapi"]


class SocketIO(Peer):
    """What travels in a WebSocket here is a packet of Engine.IO (4: message) around one of Socket.IO (2: event)."""

    name = "python-socketio"
    about = "python-socketio on uvicorn, WebSocket only: an address is a room"

    def missing(self) -> str | None:
        return None if find_spec("socketio") else "not installed: python-socketio (make peers)"

    def version(self) -> str | None:
        return None if self.missing() else f"{self.name} {version('python-socketio')}"

    def command(self, place: Place) -> list[str]:
        return [sys.executable, "-m", "bench.servers.socketio_server"]

    def open_publisher(self, server: Server) -> socket.socket:
        return self._open(server)

    def open_wide_publisher(self, server: Server) -> socket.socket:
        return self._open(server)

    def open_subscriber(self, server: Server, address: str) -> socket.socket:
        sock = self._open(server)
        sock.sendall(client_frame(TEXT, b'421["subscribe",%b]' % json.dumps(address).encode()))
        if read_message(sock)[1] != b"431[true]":
            raise LoadError("python-socketio refused a subscription")
        return sock

    def publication(self, payload: bytes) -> bytes:
        return self.wide_publication("fan", payload)

    def wide_publication(self, address: str, payload: bytes) -> bytes:
        return client_frame(TEXT, b'42["publish","%b","%b"]' % (address.encode(), payload))

    def delivery(self, address: str, payload: bytes) -> bytes:
        return b'42["event","%b"]' % payload

    def _open(self, server: Server) -> socket.socket:
        """A WebSocket that has opened its session and its namespace."""
        sock = open_websocket(server.port, "/socket.io/?EIO=4&transport=websocket")
        read_message(sock)
        sock.sendall(client_frame(TEXT, b"40"))
        if not read_message(sock)[1].startswith(b"40"):
            raise LoadError("python-socketio refused a connection")
        return sock


class Fanway(Peer):
    """The gateway with its default settings, on its plain port: tokens, permission checks and history included."""

    name = "Fanway"
    about = "the gateway with default settings: tokens verified, permissions checked, history kept"
    joins_events = True
    request_path = f"/{RELAY}/echo"

    def command(self, place: Place) -> list[str]:
        relays = place.folder / "relays.json"
        relays.write_text(json.dumps({"relays": self.relays()}))
        program = Path(sys.executable).with_name("fanway")
        options = ["--listen", "127.0.0.1:0", *self.tls_options(), "--json", "--log-level", "warning"]
        return [str(program), "serve", *options, "--data", str(place.folder / "data"), "--relays", str(relays)]

    def relays(self) -> list[dict[str, object]]:
        """What is provisioned."""
        return [{"name": RELAY}]

    def tls_options(self) -> list[str]:
        return ["--no-tls"]

    def headers(self, folder: Path, port: int) -> dict[str, str]:
        stored = json.loads((folder / "data" / "connection.json").read_bytes())
        resource, expires_at = f"http://127.0.0.1:{port}/", int(time.time()) + 3600
        return {"ServiceBusAuthorization": make_token(resource, stored["key_name"], stored["key"], expires_at)}

    def open_publisher(self, server: Server) -> socket.socket:
        return open_websocket(server.port, f"/-/events/{RELAY}/fan?mode=publish", server.headers)

    def open_wide_publisher(self, server: Server) -> socket.socket:
        session = open_websocket(server.port, "/-/events", {**server.headers, "Sec-WebSocket-Protocol": "fanway.v1"})
        read_message(session)  # hi
        return session

    def open_subscriber(self, server: Server, address: str) -> socket.socket:
        return open_websocket(server.port, f"/-/events/{RELAY}/{address}", server.headers)

    def wide_publication(self, address: str, payload: bytes) -> bytes:
        return client_frame(TEXT, f'{{"t":"pub","address":"{RELAY}/{address}"}}\n'.encode() + payload)

    def dialogue(self, server: Server) -> Dialogue:
        return Dialogue(upgrade_request(server.port, f"/-/events/{RELAY}/fan", server.headers))

    def open_listener(self, server: Server) -> socket.socket:
        return open_websocket(server.port, f"/$hc/{RELAY}/echo?sb-hc-action=listen", server.headers)

    def open_pair(self, server: Server) -> tuple[socket.socket, socket.socket]:
        path = f"/$hc/{RELAY}/pair-{os.urandom(8).hex()}"
        control = open_websocket(server.port, f"{path}?sb-hc-action=listen", server.headers)
        sender = open_tcp(server.port)
        sender.sendall(upgrade_request(server.port, f"{path}?sb-hc-action=connect", server.headers))
        _, text = read_message(control)
        address = urlsplit(json.loads(text)["accept"]["address"])
        receiver = open_websocket(server.port, f"{address.path}?{address.query}")
        expect_upgrade(sender)
        control.close()
        return sender, receiver

    def meeting(self, server: Server) -> Meeting:
        path = f"/$hc/{RELAY}/meet"
        sender = upgrade_request(server.port, f"{path}?sb-hc-action=connect", server.headers)
        listener = upgrade_request(server.port, "", {}).partition(b"GET ")[2]
        control = open_websocket(server.port, f"{path}?sb-hc-action=listen", server.headers)
        return Meeting(sender, listener, control)

    def answering(self, server: Server, listener: socket.socket | None) -> Answering:
        before = b'{"response":{"requestId":"'
        after = b'","statusCode":200,"responseHeaders":{"Content-Type":"text/plain"},"body":true}}'
        return Answering(_BODY_FRAME, control=listener, mark=b'"id":"', before=before, after=after)


FANWAY, WEBSOCKETS, FASTAPI, SOCKETIO = Fanway(), Websockets(), NaiveFastAPI(), SocketIO()
_BODY_FRAME = client_frame(BINARY, BODY)


@contextlib.contextmanager
def running(peer: Peer, core: int | None = None) -> Iterator[Server]:
    """This server in a process of its own on `core`, ready within the block, gone after it. Raises LoadError."""
    with (
        tempfile.TemporaryDirectory(prefix="fanway-bench-") as name,
        socket.create_server(("127.0.0.1", 0), backlog=4096) as origin,
    ):
        folder = Path(name)
        place = Place(folder, _free_port(), origin.getsockname()[1])
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FANWAY_")}
        with _on_core(core), (folder / "log").open("w") as log:
            process = subprocess.Popen(
                peer.command(place),
                stdout=subprocess.PIPE if peer.announces_port else log,
                stderr=None if peer.announces_port else log,
                text=True,
                env=environment,
                cwd=Path(__file__).parents[1],
            )
        try:
            port = _announced_port(process) if peer.announces_port else _answering_port(process, place.port)
            if port is None:
                log_text = (folder / "log").read_text().strip()
                raise LoadError(f"{peer.name} did not start; {log_text or 'its errors are above'}")
            with spoken(port, place.origin_port) if peer.is_secure else contextlib.nullcontext():
                yield Server(peer, port, process.pid, peer.headers(folder, port), origin)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _announced_port(process: subprocess.Popen[str]) -> int | None:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        return None
    ready = json.loads(line)
    port: int | None = ready["port"] if "port" in ready else urlsplit(ready.get("tls_url") or ready["url"]).port
    return port


def _answering_port(process: subprocess.Popen[str], port: int) -> int | None:
    """The port, as soon as somebody listens there."""
    end_at = time.monotonic() + STOP_SECONDS
    while process.poll() is None and time.monotonic() < end_at:
        with contextlib.suppress(ConnectionRefusedError):
            open_tcp(port).close()
            return port
        time.sleep(0.02)
    return None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


@contextlib.contextmanager
def _on_core(core: int | None) -> Iterator[None]:
    """What is started in the block inherits this core."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
