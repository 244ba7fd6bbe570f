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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from bench.load import (
    BINARY,
    NO_MASK,
    TEXT,
    LoadError,
    client_frame,
    expect_upgrade,
    open_tcp,
    open_websocket,
    read_message,
)
from fanway.token import make_token

BODY = b"x" * 1024
RELAY = "bench"
STOP_SECONDS = 10.0


@dataclass(slots=True)
class Server:
    """A running server. Processor time in seconds, memory in bytes, of this one process."""

    peer: Peer
    port: int
    pid: int
    headers: dict[str, str]

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Peer:
    """A server written for this comparison; all of them know the same paths and shapes."""

    name: ClassVar[str]
    about: ClassVar[str]
    relays_requests: ClassVar[bool] = True
    id_mark: ClassVar[bytes] = b'"id":"'
    request_path: ClassVar[str] = "/relay/echo"

    def command(self, folder: Path) -> list[str]:
        """The program to run, with a folder it may fill."""
        raise NotImplementedError

    def headers(self, folder: Path, port: int) -> dict[str, str]:
        """What every connection must carry."""
        return {}

    def open_publisher(self, server: Server) -> socket.socket:
        return open_websocket(server.port, "/publish", server.headers)

    def open_subscriber(self, server: Server) -> socket.socket:
        return open_websocket(server.port, "/subscribe", server.headers)

    def open_listener(self, server: Server) -> socket.socket:
        """A listener for requests."""
        return open_websocket(server.port, "/tunnel", server.headers)

    def open_pair(self, server: Server) -> tuple[socket.socket, socket.socket]:
        """Two ends of one joined socket: sender and receiver."""
        name = os.urandom(8).hex()
        receiver = open_websocket(server.port, f"/listen/{name}", server.headers)
        time.sleep(0.1)  # the answer to an upgrade may leave before the server has noted the name
        return open_websocket(server.port, f"/connect/{name}", server.headers), receiver

    def answer(self, request_id: bytes) -> bytes:
        """A listener's answer to a request: head and a body of 1 KiB, as two messages."""
        head = b'{"id":"%b","status":200,"headers":{"content-type":"text/plain"}}' % request_id
        return client_frame(TEXT, head, NO_MASK) + _BODY_FRAME


class Websockets(Peer):
    name = "websockets"
    about = "the library `websockets` on uvloop: `broadcast()`; two sockets joined message by message"
    relays_requests = False

    def command(self, folder: Path) -> list[str]:
        return [sys.executable, "-m", "bench.servers.websockets_server"]


class NaiveFastAPI(Peer):
    name = "FastAPI"
    about = "FastAPI on uvicorn: one awaited send a message; requests as JSON through a WebSocket"

    def command(self, folder: Path) -> list[str]:
        return [sys.executable, "-m", "bench.servers.naive_fastapi"]


class Fanway(Peer):
    """The gateway with its default settings, on its plain port: tokens, permission checks and history included."""

    name = "Fanway"
    about = "the gateway with default settings: tokens verified, permissions checked, history kept"
    request_path = f"/{RELAY}/echo"

    def command(self, folder: Path) -> list[str]:
        relays = folder / "relays.json"
        relays.write_text(json.dumps({"relays": [{"name": RELAY}]}))
        program = Path(sys.executable).with_name("fanway")
        options = ["--listen", "127.0.0.1:0", "--no-tls", "--json", "--log-level", "warning"]
        return [str(program), "serve", *options, "--data", str(folder / "data"), "--relays", str(relays)]

    def headers(self, folder: Path, port: int) -> dict[str, str]:
        stored = json.loads((folder / "data" / "connection.json").read_bytes())
        resource, expires_at = f"http://127.0.0.1:{port}/", int(time.time()) + 3600
        return {"ServiceBusAuthorization": make_token(resource, stored["key_name"], stored["key"], expires_at)}

    def open_publisher(self, server: Server) -> socket.socket:
        return open_websocket(server.port, f"/-/events/{RELAY}/fan?mode=publish", server.headers)

    def open_subscriber(self, server: Server) -> socket.socket:
        return open_websocket(server.port, f"/-/events/{RELAY}/fan", server.headers)

    def open_listener(self, server: Server) -> socket.socket:
        return open_websocket(server.port, f"/$hc/{RELAY}/echo?sb-hc-action=listen", server.headers)

    def open_pair(self, server: Server) -> tuple[socket.socket, socket.socket]:
        path = f"/$hc/{RELAY}/pair-{os.urandom(8).hex()}"
        control = open_websocket(server.port, f"{path}?sb-hc-action=listen", server.headers)
        sender = open_tcp(server.port)
        token = server.headers["ServiceBusAuthorization"]
        sender.sendall(
            f"GET {path}?sb-hc-action=connect HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            f"ServiceBusAuthorization: {token}\r\n\r\n".encode()
        )
        _, text = read_message(control)
        address = urlsplit(json.loads(text)["accept"]["address"])
        receiver = open_websocket(server.port, f"{address.path}?{address.query}")
        expect_upgrade(sender)
        control.close()
        return sender, receiver

    def answer(self, request_id: bytes) -> bytes:
        head = (
            b'{"response":{"requestId":"%b","statusCode":200,"responseHeaders":{"Content-Type":"text/plain"},'
            b'"body":true}}' % request_id
        )
        return client_frame(TEXT, head, NO_MASK) + _BODY_FRAME


PEERS: tuple[Peer, ...] = (Fanway(), Websockets(), NaiveFastAPI())
_BODY_FRAME = client_frame(BINARY, BODY)


@contextlib.contextmanager
def running(peer: Peer, core: int | None = None) -> Iterator[Server]:
    """This server in a process of its own on `core`, ready within the block, gone after it. Raises LoadError."""
    with tempfile.TemporaryDirectory(prefix="fanway-bench-") as name:
        folder = Path(name)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FANWAY_")}
        with _on_core(core):
            process = subprocess.Popen(
                peer.command(folder), stdout=subprocess.PIPE, text=True, env=environment, cwd=Path(__file__).parents[1]
            )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise LoadError(f"{peer.name} did not start; its errors are above")
            ready = json.loads(line)
            port = ready["port"] if "port" in ready else urlsplit(ready["url"]).port
            yield Server(peer, port, process.pid, peer.headers(folder, port))
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


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
