"""How many sockets a second come to be joined and are closed again."""

from __future__ import annotations

import contextlib

from bench.load import BINARY, LoadError, client_frame, read_message
from bench.native import meetings
from bench.peers import FANWAY, FASTAPI, WEBSOCKETS, Peer, Server
from bench.row import Line, Meter, Row, Sample, Sizes, side_by_side

PEERS: tuple[Peer, ...] = (FANWAY, WEBSOCKETS, FASTAPI)


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    line = Line(f"{sizes.meetings} at a time")
    with side_by_side(PEERS, [line], core) as servers:
        for server in servers:
            _verify(server)
        for _ in range(sizes.rounds):
            for server in servers:
                line.add(server, _round(server, sizes))
    return [line]


def _verify(server: Server) -> None:
    """Messages pass both ways; of the closes every single one is looked at under load."""
    with contextlib.ExitStack() as stack:
        sender, receiver = server.peer.open_pair(server)
        stack.enter_context(sender)
        stack.enter_context(receiver)
        for end, other in ((sender, receiver), (receiver, sender)):
            end.sendall(client_frame(BINARY, b"met"))
            if read_message(other) != (BINARY, b"met"):
                raise LoadError("a message came out changed")


def _round(server: Server, sizes: Sizes) -> Sample:
    meeting = server.peer.meeting(server)
    with meeting.control or contextlib.nullcontext():
        meter = Meter(server, sizes)
        return meter.rate(meetings(server.port, sizes.meetings, meeting, sizes.times, meter))


ROW = Row(
    name="rendezvous",
    title="Sockets: connect, accept and close of joined sockets, 32 at a time",
    unit="rendezvous/s",
    proves="What a joined socket costs to set up and to end. For Fanway the sender's token is verified, the listener "
    "is told on its control channel where to come, comes, and both get their 101; then one closes, the other answers, "
    "and the server ends both connections. Every sender met a listener, and every close came through with its code.",
    leaves_out="Messages, a refusal, many listeners, TLS. `websockets` and FastAPI verify nothing: the listener opens "
    "its end under a name, the sender asks for that name; they send one message less and hold no control channel.",
    peers=PEERS,
    measure=measure,
)
