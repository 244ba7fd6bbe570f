"""Relayed requests: many keep-alive senders, one listener, small answers."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Sequence

from bench.load import NO_MASK, TEXT, LoadError, client_frame, open_tcp, read_exactly, read_head, read_message
from bench.native import Answering, requests
from bench.peers import BODY, FANWAY, FASTAPI, Peer, Server
from bench.proxies import HAPROXY, NGINX
from bench.row import Line, Meter, Row, Sample, Sizes, side_by_side

PEERS: tuple[Peer, ...] = (FANWAY, NGINX, HAPROXY, FASTAPI)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def measure(sizes: Sizes, core: int | None, peers: Sequence[Peer] = PEERS) -> list[Line]:
    line = Line(f"{sizes.clients} connections")
    with side_by_side(peers, [line], core) as servers:
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
        listener = None if peer.is_proxy else stack.enter_context(peer.open_listener(server))
        clients = [stack.enter_context(open_tcp(server.port)) for _ in range(sizes.clients)]
        answering = peer.answering(server, listener)
        clients[0].sendall(request)
        _answer(server, answering)
        answer_bytes = _check_answer(clients[0])
        meter = Meter(server, sizes)
        return meter.rate(requests(clients, request, answer_bytes, answering, sizes.times, meter))


def _answer(server: Server, answering: Answering) -> None:
    """The first request, answered here."""
    if answering.control is not None:
        _, command = read_message(answering.control)
        request_id = command.partition(answering.mark)[2].partition(b'"')[0]
        head = client_frame(TEXT, answering.before + request_id + answering.after, NO_MASK)
        answering.control.sendall(head + answering.body)
    elif answering.origin is not None:
        with server.accept() as behind:
            read_head(behind)
            behind.sendall(answering.body)


def _check_answer(client: socket.socket) -> int:
    """Read one answer whole; its size."""
    head = read_head(client)
    length = _LENGTH.search(head)
    if not head.startswith(b"HTTP/1.1 200 ") or length is None or int(length[1]) != len(BODY):
        raise LoadError(f"a request was answered wrongly: {head[:200]!r}")
    if read_exactly(client, len(BODY)) != BODY:
        raise LoadError("an answer came out changed")
    return len(head) + len(BODY)


ROW = Row(
    name="requests",
    title="Requests: 1 KiB GET through a listener's control channel, 64 keep-alive connections",
    unit="requests/s",
    proves="That a request is relayed without a framework on its way, and that what falls due for a listener within "
    "one turn of the loop leaves in one write.",
    leaves_out="Request bodies, streamed and large answers, listeners that take time, new connections, TLS. The "
    "generator is sender and listener at once. nginx and haproxy are reverse proxies to a server that they can reach: "
    "they find no listener, check no token and cannot do the work of a relay; they are the limit.",
    peers=PEERS,
    measure=measure,
)
