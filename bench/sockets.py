"""One joined socket, large messages in one direction."""

from __future__ import annotations

import contextlib

from bench.load import BINARY, LoadError, client_frame, read_message, stream_load
from bench.peers import PEERS, Server
from bench.row import Line, Meter, Row, Sample, Sizes, side_by_side

PAYLOAD = bytes(range(256)) * 256  # 64 KiB


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    line = Line("64 KiB messages, one way")
    with side_by_side(PEERS, core) as servers:
        for _ in range(sizes.rounds):
            for server in servers:
                line.add(server, _round(server, sizes))
    return [line]


def _round(server: Server, sizes: Sizes) -> Sample:
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


ROW = Row(
    name="sockets",
    title="Sockets: 64 KiB messages through one joined pair, one way",
    unit="MB/s",
    proves="That frames pass from one side to the other at the pace of the receiver, for the cost of unmasking and "
    "one write per read.",
    leaves_out="Small messages, many pairs, latency, the time to set a socket up, TLS.",
    measure=measure,
)
