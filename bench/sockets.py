"""Joined sockets: large messages in one direction, many pairs, and to and fro."""

from __future__ import annotations

import contextlib
from statistics import median

from bench.load import BINARY, LoadError, client_frame, read_message, server_frame, stream_load
from bench.native import Shape, ping_pong, pump
from bench.peers import FANWAY, FASTAPI, WEBSOCKETS, Peer, Server
from bench.proxies import HAPROXY, NGINX, PLAIN_NGINX
from bench.row import Line, Meter, Row, Sample, Sizes, side_by_side

PEERS: tuple[Peer, ...] = (FANWAY, NGINX, PLAIN_NGINX, HAPROXY, WEBSOCKETS, FASTAPI)
PAYLOAD = bytes(range(256)) * 256  # 64 KiB
KIBIBYTE = PAYLOAD[:1024]
SMALL = b"ping-pong " * 6 + b"...."  # 64 bytes
WINDOW = 128  # messages in flight in each pair


def measure_stream(sizes: Sizes, core: int | None) -> list[Line]:
    line = Line("64 KiB messages, one way")
    with side_by_side(PEERS, [line], core) as servers:
        for _ in range(sizes.rounds):
            for server in servers:
                line.add(server, _stream(server, sizes))
    return [line]


def measure_pairs(sizes: Sizes, core: int | None) -> list[Line]:
    line = Line(f"{sizes.pairs} pairs, one way")
    with side_by_side(PEERS, [line], core) as servers:
        for _ in range(sizes.rounds):
            for server in servers:
                line.add(server, _pairs(server, sizes))
    return [line]


def measure_round_trips(sizes: Sizes, core: int | None) -> list[Line]:
    line = Line("64 bytes to and fro")
    with side_by_side(PEERS, [line], core) as servers:
        for _ in range(sizes.rounds):
            for server in servers:
                line.add(server, _round_trips(server, sizes))
    return [line]


def _stream(server: Server, sizes: Sizes) -> Sample:
    frame = client_frame(BINARY, PAYLOAD)
    with contextlib.ExitStack() as stack:
        sender, receiver = server.peer.open_pair(server)
        stack.enter_context(sender)
        stack.enter_context(receiver)
        sender.sendall(frame)
        if read_message(receiver) != (BINARY, PAYLOAD):
            raise LoadError("a message came out changed")
        meter = Meter(server, sizes)
        stream_load(sender, receiver, frame, len(PAYLOAD), meter.span)
        return meter.rate(meter.span.counted / 1e6)


def _pairs(server: Server, sizes: Sizes) -> Sample:
    frame = client_frame(BINARY, KIBIBYTE)
    with contextlib.ExitStack() as stack:
        pairs = [server.peer.open_pair(server) for _ in range(sizes.pairs)]
        for sender, receiver in pairs:
            stack.enter_context(sender)
            stack.enter_context(receiver)
            sender.sendall(frame)
            if read_message(receiver) != (BINARY, KIBIBYTE):
                raise LoadError("a message came out changed")
        meter = Meter(server, sizes)
        return meter.rate(pump(pairs, Shape(len(KIBIBYTE)), frame, WINDOW, sizes.times, meter))


def _round_trips(server: Server, sizes: Sizes) -> Sample:
    peer = server.peer
    with contextlib.ExitStack() as stack:
        pair = server.peer.open_pair(server)
        for sock in pair:
            stack.enter_context(sock)
        ping, pong = client_frame(BINARY, SMALL), peer.reply(BINARY, SMALL)
        for end, other, frame in ((*pair, ping), (*pair[::-1], pong)):
            end.sendall(frame)
            if read_message(other) != (BINARY, SMALL):
                raise LoadError("a message came out changed")
        for sock in pair:
            sock.settimeout(None)
        meter = Meter(server, sizes)
        comes = len(peer.received(BINARY, SMALL)), len(server_frame(BINARY, SMALL))
        return meter.sample(median(ping_pong(pair, (ping, comes[0]), (pong, comes[1]), sizes.times, meter)))


_OF_PROXIES = "nginx and haproxy pass bytes on to a server that was there already; they join nobody and unmask nothing."

STREAM = Row(
    name="sockets",
    title="Sockets: 64 KiB messages through one joined pair, one way",
    unit="MB/s",
    proves="That frames pass from one side to the other at the pace of the receiver, for the cost of unmasking and "
    "one write per read.",
    leaves_out=f"Small messages, many pairs, latency, the time to set a socket up, TLS. {_OF_PROXIES}",
    peers=PEERS,
    measure=measure_stream,
)

PAIRS = Row(
    name="pairs",
    title="Sockets: 1 KiB messages through 100 joined pairs, one way",
    unit="messages/s",
    proves="What a small message costs that is passed on when many sockets are busy, with up to 128 messages in "
    "flight in each. Every message arrived.",
    leaves_out=f"Pairs of unequal pace, messages both ways, latency, TLS. {_OF_PROXIES}",
    peers=PEERS,
    measure=measure_pairs,
)

ROUND_TRIPS = Row(
    name="ping-pong",
    title="Sockets: 64-byte messages to and fro through one joined pair, one at a time",
    unit="microseconds (p50 of a round)",
    proves="The delay that passing on adds to a message at rest, twice: there and back.",
    leaves_out="Delay under load, the tail, TLS, a real network. Most of it is the machine's: two processes are "
    f"woken on each way. {_OF_PROXIES}",
    peers=PEERS,
    measure=measure_round_trips,
    is_more_better=False,
)

ROWS = (STREAM, PAIRS, ROUND_TRIPS)
