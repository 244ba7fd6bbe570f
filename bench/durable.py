"""Publishing that is acknowledged once it is on disk: one publisher, a hundred, a thousand, each waiting for each."""

from __future__ import annotations

import contextlib
import json
import socket

from bench.load import BINARY, TEXT, LoadError, client_frame, open_tcp, open_websocket, read_message
from bench.native import acknowledged
from bench.peers import RELAY, Fanway, Peer, Place, Server
from bench.rivals import NATS_HELLO, Nats, Redis
from bench.row import Line, Meter, Row, Sample, Sizes, side_by_side

PAYLOAD = b"durable " * 8  # 64 bytes
SUBJECT = b"log"


class DurableFanway(Fanway):
    name = "Fanway"
    about = "a durable relay, sessions that ask for receipts"

    def relays(self) -> list[dict[str, object]]:
        return [{"name": RELAY, "history": {"keep": "durable"}}]

    def open_publisher(self, server: Server) -> socket.socket:
        return self.open_wide_publisher(server)

    def frame(self, publisher: socket.socket) -> bytes:
        return client_frame(TEXT, f'{{"t":"pub","r":1,"address":"{RELAY}/{SUBJECT.decode()}"}}\n'.encode() + PAYLOAD)

    answer = b'"cursor":'


class JetStream(Nats):
    name = "JetStream"
    about = "nats-server with JetStream: file storage, sync always, clients on its WebSocket port"

    answer = b'"seq":'

    def command(self, place: Place) -> list[str]:
        command = super().command(place)
        config = place.folder / "nats.conf"
        store = f'jetstream {{ store_dir: "{place.folder / "store"}", sync_interval: always }}\n'
        config.write_text(config.read_text() + store)
        return command

    def open_publisher(self, server: Server) -> socket.socket:
        sock = open_websocket(server.port, "/")
        sock.sendall(client_frame(BINARY, NATS_HELLO + b"SUB %b 1\r\nPING\r\n" % _inbox(sock)))
        _read_to(sock, b"PONG\r\n")
        return sock

    def prepare(self, server: Server) -> None:
        """Make the stream."""
        settings = json.dumps({"name": "LOG", "subjects": [SUBJECT.decode()], "storage": "file", "retention": "limits"})
        with open_websocket(server.port, "/") as sock:
            request = b"PUB $JS.API.STREAM.CREATE.LOG _INBOX.made %d\r\n%b\r\n" % (len(settings), settings.encode())
            sock.sendall(client_frame(BINARY, NATS_HELLO + b"SUB _INBOX.made 1\r\n" + request + b"PING\r\n"))
            if b'"error"' in _read_to(sock, b"}"):
                raise LoadError("nats-server refused to make a stream")

    def frame(self, publisher: socket.socket) -> bytes:
        head = b"PUB %b %b %d" % (SUBJECT, _inbox(publisher), len(PAYLOAD))
        return client_frame(BINARY, b"%b\r\n%b\r\n" % (head, PAYLOAD))


class RedisStream(Redis):
    name = "redis streams"
    about = "redis-server, XADD with appendfsync always, over plain TCP"

    answer = b"$"

    def command(self, place: Place) -> list[str]:
        command = super().command(place)
        command[command.index("--appendonly") + 1] = "yes"
        return [*command, "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]

    def open_publisher(self, server: Server) -> socket.socket:
        return open_tcp(server.port)

    def frame(self, publisher: socket.socket) -> bytes:
        parts = (b"XADD", SUBJECT, b"*", b"p", PAYLOAD)
        return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


FANWAY, JETSTREAM, REDIS = DurableFanway(), JetStream(), RedisStream()
PEERS: tuple[Peer, ...] = (FANWAY, JETSTREAM, REDIS)


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    lines = {count: Line(f"{count:,} publishers") for count in (1, sizes.subscribers, sizes.scale)}
    with side_by_side(PEERS, lines.values(), core) as servers:
        for server in servers:
            if isinstance(server.peer, JetStream):
                server.peer.prepare(server)
        for _ in range(sizes.rounds):
            for count, line in lines.items():
                for server in servers:
                    line.add(server, _round(server, count, sizes))
    return list(lines.values())


def _round(server: Server, count: int, sizes: Sizes) -> Sample:
    peer = server.peer
    assert isinstance(peer, DurableFanway | JetStream | RedisStream)
    with contextlib.ExitStack() as stack:
        publishers = [stack.enter_context(peer.open_publisher(server)) for _ in range(count)]
        meter = Meter(server, sizes)
        try:
            clients = [(publisher, peer.frame(publisher)) for publisher in publishers]
            done = acknowledged(clients, peer.answer, sizes.times, meter)
        except LoadError as error:
            raise LoadError(f"{peer.name}, {count} publishers: {error}") from error
        return meter.rate(done)


def _inbox(publisher: socket.socket) -> bytes:
    """Where its acknowledgements go."""
    return b"_INBOX.%06d" % publisher.fileno()


def _read_to(sock: socket.socket, end: bytes) -> bytes:
    said = b""
    while not said.rstrip().endswith(end.rstrip()):
        said += read_message(sock)[1]
    return said


ROW = Row(
    name="durable",
    title="Durable publishing: 1, 100 and 1,000 publishers, each waiting for each acknowledgement",
    unit="events/s",
    proves="That what is acknowledged is on disk, and that the disk's syncs are shared: whatever is published during "
    "one of them is written by the next. All sync before they answer.",
    leaves_out="Subscribers, large events, a disk that lies about syncs, replicas.",
    peers=PEERS,
    measure=measure,
)
