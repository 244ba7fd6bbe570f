"""Relayed requests: many keep-alive senders, one listener, small answers."""

from __future__ import annotations

import contextlib
import re

from bench.load import LoadError, open_tcp, read_exactly, read_head, read_message, request_load
from bench.peers import BODY, PEERS, Server
from bench.row import Line, Meter, Row, Sample, Sizes, side_by_side

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    line = Line(f"{sizes.clients} connections")
    with side_by_side([peer for peer in PEERS if peer.relays_requests], core) as servers:
        for _ in range(sizes.rounds):
            for server in servers:
                line.add(server, _round(server, sizes))
    return [line]


def _round(server: Server, sizes: Sizes) -> Sample:
    peer = server.peer
    fields = {"Host": f"127.0.0.1:{server.port}", **server.headers}
    lines = [f"GET {peer.request_path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    request = "\r\n".join(lines).encode()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(peer.open_listener(server))
        clients = [stack.enter_context(open_tcp(server.port)) for _ in range(sizes.clients)]
        clients[0].sendall(request)
        _, command = read_message(listener)
        request_id = command.partition(peer.id_mark)[2].partition(b'"')[0]
        listener.sendall(peer.answer(request_id))
        head = read_head(clients[0])
        length = _LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 200 ") or length is None or int(length[1]) != len(BODY):
            raise LoadError(f"a request was answered wrongly: {head[:200]!r}")
        if read_exactly(clients[0], len(BODY)) != BODY:
            raise LoadError("an answer came out changed")
        meter = Meter(server, sizes)
        answer_bytes = len(head) + len(BODY)
        request_load(clients, listener, request, answer_bytes, peer.id_mark, peer.answer, meter.span)
        return meter.rate(meter.span.counted)


ROW = Row(
    name="requests",
    title="Requests: 1 KiB GET through a listener's control channel, 64 keep-alive connections",
    unit="requests/s",
    proves="That a request is relayed without a framework on its way, and that what falls due for a listener within "
    "one turn of the loop leaves in one write.",
    leaves_out="Request bodies, streamed and large answers, listeners that take time, new connections, TLS. The "
    "generator is sender and listener at once. The library `websockets` serves no HTTP requests.",
    measure=measure,
)
