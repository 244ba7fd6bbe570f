"""One publisher, many subscribers of one address, small events."""

from __future__ import annotations

import contextlib
import time

from bench.load import TEXT, LoadError, broadcast_load, client_frame, read_exactly, server_frame
from bench.peers import PEERS, Server
from bench.row import Line, Meter, Row, Sample, Sizes, side_by_side

PAYLOAD = b"fan-out " * 8  # 64 bytes


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    lines = {window: Line(f"{window} in flight") for window in sizes.windows}
    with side_by_side(PEERS, core) as servers:
        for _ in range(sizes.rounds):
            for window, line in lines.items():
                for server in servers:
                    line.add(server, _round(server, sizes, window))
    return list(lines.values())


def _round(server: Server, sizes: Sizes, window: int) -> Sample:
    frame, delivery = client_frame(TEXT, PAYLOAD), server_frame(TEXT, PAYLOAD)
    with contextlib.ExitStack() as stack:
        publisher = stack.enter_context(server.peer.open_publisher(server))
        subscribers = [stack.enter_context(server.peer.open_subscriber(server)) for _ in range(sizes.subscribers)]
        time.sleep(0.1)  # an upgrade may be answered before the server has noted the subscriber
        publisher.sendall(frame)
        if any(read_exactly(subscriber, len(delivery)) != delivery for subscriber in subscribers):
            raise LoadError("a subscriber got something else than was published")
        meter = Meter(server, sizes)
        broadcast_load(publisher, subscribers, frame, len(delivery), window, meter.span)
        return meter.rate(meter.span.counted / len(delivery))


ROW = Row(
    name="fanout",
    title="Fan-out: 1 publisher, 100 subscribers, 64-byte events on bare WebSockets",
    unit="deliveries/s",
    proves="That work is done per event and per connection and tick, not per delivery: with events in flight, what "
    "falls due for a connection within one turn of the loop leaves in one write. Every event reached every subscriber.",
    leaves_out="Many addresses, wildcards, large events, receipts, TLS, subscribers on a real network. With one event "
    "in flight there is nothing to join, and the cost of a write to each connection is the same for everybody.",
    measure=measure,
)
