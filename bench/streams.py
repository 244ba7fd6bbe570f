"""Streamed answers through the relay: the delay of an event."""

from __future__ import annotations

import contextlib
import ctypes
import json
import socket
from collections.abc import Iterator
from statistics import quantiles
from urllib.parse import urlsplit

from bench.generator.library import call, checked, fds
from bench.load import (
    BINARY,
    NO_MASK,
    PATIENCE_SECONDS,
    TEXT,
    LoadError,
    client_frame,
    open_tcp,
    open_websocket,
    read_head,
    read_message,
)
from bench.peers import FANWAY, Peer, Server
from bench.proxies import HAPROXY, NGINX
from bench.row import Line, Meter, Row, Sample, Sizes, side_by_side

PEERS: tuple[Peer, ...] = (FANWAY, NGINX, HAPROXY)
DIRECT = "direct"
EVENTS_A_SECOND = 100  # on each stream
EVENT_BYTES = 64

Streams = list[tuple[socket.socket, socket.socket]]  # who writes, who reads


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    lines = [Line("p50"), Line("p99"), Line("p99 beyond that of direct", base="p99")]
    with side_by_side(PEERS, lines, core) as servers:
        for _ in range(sizes.rounds):
            with _direct(sizes.streams) as streams:
                meter = Meter(servers[0], sizes)
                _, direct = _add(lines, DIRECT, _delays(streams, (b"", b""), sizes, meter), meter)
            for server in servers:
                with _through(server, sizes.streams) as streams:
                    meter = Meter(server, sizes)
                    delays = _delays(streams, _framing(server.peer), sizes, meter)
                    _, its = _add(lines, server, delays, meter)
                    lines[2].add(server, meter.sample(its - direct))
    return lines


def _add(lines: list[Line], server: Server | str, delays: list[float], meter: Meter) -> tuple[float, float]:
    cuts = quantiles(delays, n=100)
    samples = [meter.sample(cuts[49]), meter.sample(cuts[98])]
    if server == DIRECT:  # no server works for it
        samples = [Sample(sample.value, 0.0, sample.load_cpu) for sample in samples]
    for line, sample in zip(lines, samples, strict=False):
        line.add(server, sample)
    return cuts[49], cuts[98]


def _delays(streams: Streams, framing: tuple[bytes, bytes], sizes: Sizes, meter: Meter) -> list[float]:
    """Milliseconds of each event in the measured part."""
    writers, readers = (fds([stream[end] for stream in streams]) for end in (0, 1))
    most = int((sizes.seconds * EVENTS_A_SECOND + 1) * len(streams))
    samples = (ctypes.c_double * most)()
    ends = [writers, readers, len(streams), framing[0], len(framing[0]), framing[1], len(framing[1])]
    period, patience = ctypes.c_double(1 / EVENTS_A_SECOND), ctypes.c_double(PATIENCE_SECONDS)

    def play(seconds: float) -> int:
        return checked(call("delay_run", *ends, period, ctypes.c_double(seconds), patience, samples, most))

    play(sizes.warm_seconds)
    meter.begin()
    count = play(sizes.seconds)
    meter.end()
    return list(samples[:count])


@contextlib.contextmanager
def _direct(count: int) -> Iterator[Streams]:
    """The generator's own ends, with nobody between."""
    with contextlib.ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as server:
        streams = []
        for _ in range(count):
            reader = stack.enter_context(open_tcp(server.getsockname()[1]))
            streams.append((_accepted(stack, server), reader))
        yield streams


@contextlib.contextmanager
def _through(server: Server, count: int) -> Iterator[Streams]:
    """Requests whose answers have begun."""
    with contextlib.ExitStack() as stack:
        listener = None if server.peer.is_proxy else stack.enter_context(server.peer.open_listener(server))
        path = "/stream" if server.peer.is_proxy else server.peer.request_path
        fields = {"Host": f"127.0.0.1:{server.port}", "Accept": "text/event-stream", **server.headers}
        request = "\r\n".join([f"GET {path} HTTP/1.1", *(f"{key}: {value}" for key, value in fields.items()), "", ""])
        streams = []
        for _ in range(count):
            reader = stack.enter_context(open_tcp(server.port))
            reader.sendall(request.encode())
            if listener is None:
                writer = _accepted(stack, server.origin)
                read_head(writer)
                writer.sendall(_HEAD)
            else:
                writer = stack.enter_context(_begin_answer(server, listener))
            if not read_head(reader).startswith(b"HTTP/1.1 200 "):
                raise LoadError(f"{server.peer.name} refused a request")
            streams.append((writer, reader))
        yield streams


def _begin_answer(server: Server, listener: socket.socket) -> socket.socket:
    """As a listener of the relay: open the address of the request, send the head there, and some of the body."""
    request = json.loads(read_message(listener)[1])["request"]
    address = urlsplit(request["address"])
    sock = open_websocket(server.port, f"{address.path}?{address.query}")
    head = {"requestId": request["id"], "statusCode": 200, "responseHeaders": _FIELDS, "body": True}
    sock.sendall(client_frame(TEXT, json.dumps({"response": head}).encode()) + _unfinished(BINARY, b": begins\n\n"))
    return sock


def _framing(peer: Peer) -> tuple[bytes, bytes]:
    """What goes before and after each event: a fragment's head, or the marks of a chunk."""
    if peer.is_proxy:
        return b"%x\r\n" % EVENT_BYTES, b"\r\n"
    return _unfinished(0, bytes(EVENT_BYTES))[:-EVENT_BYTES], b""


def _unfinished(opcode: int, payload: bytes) -> bytes:
    """A frame after which the message goes on."""
    frame = bytearray(client_frame(opcode, payload, NO_MASK))
    frame[0] &= 0x7F
    return bytes(frame)


def _accepted(stack: contextlib.ExitStack, server: socket.socket) -> socket.socket:
    sock = stack.enter_context(server.accept()[0])
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


_FIELDS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

ROW = Row(
    name="stream-delay",
    title="Requests: the delay of an event in streamed answers, 50 streams of 100 events/s",
    unit="milliseconds",
    proves="That a streamed answer passes on each event when it comes: nothing waits for a buffer to fill or for a "
    "timer. Every event came, in order. `direct` is the generator to itself over plain TCP, at the same pace.",
    leaves_out="A rate near saturation, slow readers, TLS, a real network, streams that begin and end. The generator "
    "polls without sleeping, so as to be on time, and writes and reads on one core; nginx and haproxy pass on to a "
    "server that is connected already.",
    peers=PEERS,
    measure=measure,
    is_more_better=False,
)
