"""All rows, in the order of the page. A module of rows is added here and nowhere else."""

from __future__ import annotations

from bench import (
    bodies,
    catch_up,
    durable,
    fanout,
    filters,
    floods,
    history,
    idle,
    large,
    latency,
    match,
    mix,
    relays,
    rendezvous,
    requests,
    sockets,
    sse,
    streams,
    tls,
    tokens,
)
from bench.row import Row

ROWS: tuple[Row, ...] = (
    *fanout.ROWS,
    match.ROW,
    filters.ROW,
    sse.ROW,
    *latency.ROWS,
    mix.ROW,
    floods.ROW,
    *sockets.ROWS,
    rendezvous.ROW,
    large.ROW,
    requests.ROW,
    bodies.ROW,
    streams.ROW,
    relays.ROW,
    durable.ROW,
    catch_up.ROW,
    history.ROW,
    tokens.ROW,
    *idle.ROWS,
    *tls.ROWS,
)
