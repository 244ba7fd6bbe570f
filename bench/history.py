"""What keeping history costs those who are live."""

from __future__ import annotations

import contextlib

from bench.fanout import Audience, under_load
from bench.peers import FANWAY, RELAY, Fanway
from bench.row import Line, Row, Sizes, side_by_side


class Forgetful(Fanway):
    name = "without history"
    about = "the gateway, with a relay that keeps no events"

    def relays(self) -> list[dict[str, object]]:
        return [{"name": RELAY, "history": {"keep": "none"}}]


FORGETFUL = Forgetful()


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    audience, window = Audience(1, sizes.subscribers), sizes.windows[-1]
    line = Line(f"{window} in flight")
    with side_by_side((FANWAY, FORGETFUL), [line], core) as servers:
        for _ in range(sizes.rounds):
            for server in servers:
                with contextlib.ExitStack() as stack:
                    publisher, subscribers = audience.connect(server, stack)
                    sockets = [sock for sock, _ in subscribers]
                    line.add(server, under_load(server, sizes, audience, window, publisher, sockets))
    return [line]


ROW = Row(
    name="history",
    title="The cost of history: 1 publisher, 100 subscribers, 64-byte events, with the history of a relay and without",
    unit="deliveries/s",
    proves="That an event is kept by noting it in a list: live delivery hardly feels it.",
    leaves_out="Durable relays, whose events wait for the disk: see `durable`.",
    peers=(FANWAY, FORGETFUL),
    measure=measure,
)
