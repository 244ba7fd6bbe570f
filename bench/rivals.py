"""Servers that others wrote, as `make peers` installs them: how each is configured and spoken to.

Each gets what makes it fast, within its own means: no log, no store, no limit that cuts a reader of this load.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.load import (
    BINARY,
    LoadError,
    client_frame,
    expect_upgrade,
    open_tcp,
    open_websocket,
    read_exactly,
    read_message,
    upgrade_request,
)
from bench.native import Dialogue
from bench.peers import BODY, Peer, Place, Server
from bench.secure import certificate

_UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(BODY)


class Rival(Peer):
    """A program of its own, in the virtual environment or on the path."""

    program: str
    package: str  # of Debian, or "" for one of the virtual environment
    version_option = "--version"
    announces_port = False

    def missing(self) -> str | None:
        return None if self.path() else f"not installed: {self.program} (make peers)"

    def version(self) -> str | None:
        path = self.path()
        if path is None:
            return None
        run = subprocess.run([path, self.version_option], capture_output=True, text=True)
        found = re.search(r"\d+(\.\d+)+", run.stdout + run.stderr)
        return f"{self.program} {found[0]}" if found else None

    def path(self) -> str | None:
        return shutil.which(self.program, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin")


class Nats(Rival):
    name = "NATS"
    about = "nats-server, clients on its WebSocket port; a publish is a frame of its own"
    program, package = "nats-server", ""
    joins_events = True

    def command(self, place: Place) -> list[str]:
        config = place.folder / "nats.conf"
        config.write_text(
            f'host: "127.0.0.1"\nport: -1\nping_interval: "10m"\nwrite_deadline: "60s"\nmax_pending: 512MB\n'
            f'websocket {{ host: "127.0.0.1", port: {place.port}, {self.tls()} }}\n'
        )
        return [self.path() or self.program, "-c", str(config)]

    def tls(self) -> str:
        if not self.is_secure:
            return "no_tls: true"
        return f'tls {{ cert_file: "{certificate().certificate}", key_file: "{certificate().key}" }}'

    def open_publisher(self, server: Server) -> socket.socket:
        return _say_to_nats(open_websocket(server.port, "/"), b"")

    def open_wide_publisher(self, server: Server) -> socket.socket:
        return self.open_publisher(server)

    def open_subscriber(self, server: Server, address: str) -> socket.socket:
        return _say_to_nats(open_websocket(server.port, "/"), b"SUB %b 1\r\n" % address.encode())

    def publication(self, payload: bytes) -> bytes:
        return self.wide_publication("fan", payload)

    def wide_publication(self, address: str, payload: bytes) -> bytes:
        return client_frame(BINARY, b"PUB %b %d\r\n%b\r\n" % (address.encode(), len(payload), payload))

    def delivery(self, address: str, payload: bytes) -> bytes:
        return b"MSG %b 1 %d\r\n%b\r\n" % (address.encode(), len(payload), payload)

    def dialogue(self, server: Server) -> Dialogue:
        frame = client_frame(BINARY, NATS_HELLO + b"SUB fan 1\r\nPING\r\n")
        return Dialogue(upgrade_request(server.port, "/"), second=frame, second_end=b"PONG\r\n")


class Redis(Rival):
    name = "redis"
    about = "redis-server, pub/sub over plain TCP (it has no WebSocket)"
    program, package = "redis-server", "redis-server"
    joins_events = True
    is_framed = False

    def command(self, place: Place) -> list[str]:
        options = ["--bind", "127.0.0.1", "--port", str(place.port), "--save", "", "--appendonly", "no"]
        options += ["--dir", str(place.folder), "--maxclients", "20000", "--tcp-backlog", "4096"]
        return [self.path() or self.program, *options, "--client-output-buffer-limit", "pubsub 0 0 0"]

    def open_publisher(self, server: Server) -> socket.socket:
        return open_tcp(server.port)

    def open_wide_publisher(self, server: Server) -> socket.socket:
        return open_tcp(server.port)

    def open_subscriber(self, server: Server, address: str) -> socket.socket:
        sock, name = open_tcp(server.port), address.encode()
        sock.sendall(_resp(b"SUBSCRIBE", name))
        expected = b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%b\r\n:1\r\n" % (len(name), name)
        if read_exactly(sock, len(expected)) != expected:
            raise LoadError("redis refused a subscription")
        return sock

    def publication(self, payload: bytes) -> bytes:
        return self.wide_publication("fan", payload)

    def wide_publication(self, address: str, payload: bytes) -> bytes:
        return _resp(b"PUBLISH", address.encode(), payload)

    def delivery(self, address: str, payload: bytes) -> bytes:
        return _resp(b"message", address.encode(), payload)

    def dialogue(self, server: Server) -> Dialogue:
        return Dialogue(_resp(b"SUBSCRIBE", b"fan"), first_begin=b"*3\r\n", first_end=b":1\r\n")


class Mosquitto(Rival):
    name = "mosquitto"
    about = "mosquitto, MQTT 3.1.1 over WebSocket with QoS 0"
    program, package = "mosquitto", "mosquitto"
    version_option = "-h"

    def command(self, place: Place) -> list[str]:
        config = place.folder / "mosquitto.conf"
        config.write_text(  # with WebSocket alone it does not start
            f"listener 0 {place.folder}/plain\nlistener {place.port} 127.0.0.1\nprotocol websockets\n"
            "allow_anonymous true\nmax_queued_messages 0\npersistence false\nlog_type error\nset_tcp_nodelay true\n"
            + ("user root\n" if os.geteuid() == 0 else "")
        )
        return [self.path() or self.program, "-c", str(config)]

    def open_publisher(self, server: Server) -> socket.socket:
        sock = open_websocket(server.port, "/", _MQTT_PROTOCOL)
        sock.sendall(client_frame(BINARY, MQTT_CONNECT))
        _expect_packet(sock, MQTT_ACCEPTED)
        return sock

    def open_wide_publisher(self, server: Server) -> socket.socket:
        return self.open_publisher(server)

    def open_subscriber(self, server: Server, address: str) -> socket.socket:
        return self.open_subscribers(server, [address])[0]

    def open_subscribers(self, server: Server, addresses: Sequence[str]) -> list[socket.socket]:
        """Step by step, all at once: each step takes it a tenth of a second when it has nothing else to do."""
        sockets = [open_tcp(server.port) for _ in addresses]
        for sock in sockets:
            sock.sendall(upgrade_request(server.port, "/", _MQTT_PROTOCOL))
        for sock in sockets:
            expect_upgrade(sock)
            sock.sendall(client_frame(BINARY, MQTT_CONNECT))
        for sock, address in zip(sockets, addresses, strict=True):
            _expect_packet(sock, MQTT_ACCEPTED)
            sock.sendall(client_frame(BINARY, mqtt(0x82, b"\x00\x01" + mqtt_text(address) + b"\x00")))
        for sock in sockets:
            _expect_packet(sock, b"\x90\x03\x00\x01\x00")
        return sockets

    def publication(self, payload: bytes) -> bytes:
        return self.wide_publication("fan", payload)

    def wide_publication(self, address: str, payload: bytes) -> bytes:
        return client_frame(BINARY, self.delivery(address, payload))

    def delivery(self, address: str, payload: bytes) -> bytes:
        return mqtt(0x30, mqtt_text(address) + payload)


NATS, REDIS, MOSQUITTO = Nats(), Redis(), Mosquitto()

NATS_HELLO = b'CONNECT {"verbose":false,"pedantic":false}\r\n'


def _say_to_nats(sock: socket.socket, command: bytes) -> socket.socket:
    sock.sendall(client_frame(BINARY, NATS_HELLO + command + b"PING\r\n"))
    said = b""
    while not said.endswith(b"PONG\r\n"):
        said += read_message(sock)[1]
    return sock


def _resp(*parts: bytes) -> bytes:
    """An array of strings in the protocol of redis."""
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def mqtt(first: int, body: bytes) -> bytes:
    """A control packet that is shorter than 128 bytes."""
    return bytes((first, len(body))) + body


def mqtt_text(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


def _expect_packet(sock: socket.socket, expected: bytes) -> None:
    if read_message(sock)[1] != expected:
        raise LoadError("mosquitto refused a connection or a subscription")


_MQTT_PROTOCOL = {"Sec-WebSocket-Protocol": "mqtt"}
MQTT_ACCEPTED = b"\x20\x02\x00\x00"
MQTT_CONNECT = mqtt(0x10, mqtt_text("MQTT") + b"\x04\x02\x00\x00" + mqtt_text(""))
