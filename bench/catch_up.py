"""Reading a durable relay's log from its start, while others publish to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import time

from bench.durable import FANWAY, PAYLOAD
from bench.load import PATIENCE_SECONDS, TEXT, LoadError, client_frame, open_tcp, open_websocket
from bench.peers import RELAY, Server
from bench.row import Line, Meter, Row, Sample, Sizes, side_by_side

BATCH = 5000  # events of one request, when the log is filled
LIVE_RATE = 2000  # events a second that are published meanwhile
MARK = b'"fanwaycursor"'  # once in each event, and in what is said before the first


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    line = Line(f"{sizes.checked_deliveries:,} events")
    with side_by_side([FANWAY], [line], core) as servers:
        for server in servers:
            _fill(server, sizes.checked_deliveries)
            for _ in range(sizes.rounds):
                line.add(server, _round(server, sizes))
    return [line]


def _fill(server: Server, count: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)
    headers = {**server.headers, "Content-Type": "application/x-ndjson"}
    with contextlib.closing(connection):
        for first in range(0, count, BATCH):
            lines = [json.dumps(PAYLOAD.decode())] * min(BATCH, count - first)
            connection.request("POST", f"/-/events/{RELAY}/log", "\n".join(lines), headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 202:
                raise LoadError(f"{FANWAY.name} answered {answer.status} when the log was filled")


def _round(server: Server, sizes: Sizes) -> Sample:
    count = sizes.checked_deliveries
    live = client_frame(TEXT, PAYLOAD)
    path = f"/-/events/{RELAY}/log"
    with contextlib.ExitStack() as stack:
        publisher = stack.enter_context(open_websocket(server.port, f"{path}?mode=publish", server.headers))
        reader = stack.enter_context(open_tcp(server.port))
        meter = Meter(server, sizes)
        meter.begin()
        lines = [f"GET {path}?from=start HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Accept: application/x-ndjson"]
        lines += [f"{name}: {value}" for name, value in server.headers.items()]
        reader.sendall("\r\n".join([*lines, "", ""]).encode())
        _read(reader, publisher, live, count)
        meter.end()
        return meter.rate(count)


def _read(reader: socket.socket, publisher: socket.socket, live: bytes, count: int) -> None:
    """Until so many events have come; others are published at their rate meanwhile. Raises LoadError."""
    found, rest, sent = 0, b"", 0
    began = time.monotonic()
    while found < count:
        now = time.monotonic()
        if now - began > PATIENCE_SECONDS:
            raise LoadError(f"{FANWAY.name}: {found} of {count} events came")
        due = int((now - began) * LIVE_RATE) - sent
        if due > 0:
            publisher.sendall(live * due)
            sent += due
        if select.select([reader], [], [], 0.005)[0]:
            data = reader.recv(1 << 20)
            if not data:
                raise LoadError(f"{FANWAY.name} ended a stream")
            rest += data
            found += rest.count(MARK)
            rest = rest[max(rest.rfind(MARK) + len(MARK), len(rest) - len(MARK) + 1) :]


ROW = Row(
    name="catch-up",
    title="Catching up: the log of a durable relay, read from its start by NDJSON while 2,000 events/s are published",
    unit="events/s",
    proves="That events are read from disk in slices, each one query, while publishing goes on.",
    leaves_out="Many readers at once, a disk whose cache is cold, large events.",
    peers=(FANWAY,),
    measure=measure,
)
