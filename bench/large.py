"""What the gateway's memory does when one message is huge, and when a reader pauses."""

from __future__ import annotations

import contextlib
import ctypes
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.generator.library import call, checked
from bench.load import BINARY, MASK, client_frame, masked
from bench.peers import FANWAY, WEBSOCKETS, Peer, Server, running
from bench.proxies import HAPROXY, NGINX
from bench.row import Line, Meter, Row, Sizes, present, side_by_side

PEERS: tuple[Peer, ...] = (FANWAY, NGINX, HAPROXY, WEBSOCKETS)
MESSAGE_BYTES = 64 * 1024
PATIENCE_SECONDS = 60.0
_PATTERN = bytes(range(256)) * (MESSAGE_BYTES // 256)


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    """Once each: the time that it takes is part of what is measured."""
    one = Line(f"one message of {_amount(sizes.large_bytes)}")
    paused = Line(f"reader paused for {sizes.pause_seconds:g} s")
    for peer in present(PEERS, [one]):
        if peer is WEBSOCKETS:
            continue  # it holds every message whole
        with running(peer, core) as server:
            _one_message(one, server, sizes)
    with side_by_side(PEERS, [paused], core) as servers:
        _paused(paused, servers, sizes)
    return [one, paused]


def _one_message(line: Line, server: Server, sizes: Sizes) -> None:
    """A frame with a head and then the pattern again and again."""
    head, size, cycle = _head(sizes.large_bytes), sizes.large_bytes, masked(_PATTERN, MASK)
    time.sleep(sizes.warm_seconds)
    idle, meter = _forget_peak(server), Meter(server, sizes)
    with _flow(server, head, cycle) as flow:
        meter.begin()
        _pass(flow, len(head) + size, size)
        meter.end()
        line.add(server, meter.sample((_peak_bytes(server) - idle) / (1 << 20)))


def _paused(line: Line, servers: Sequence[Server], sizes: Sizes) -> None:
    """Small messages without end, of which none is read for a while, by none of the readers; then all."""
    frame = client_frame(BINARY, _PATTERN)
    time.sleep(sizes.warm_seconds)
    idle, meters = [_forget_peak(server) for server in servers], [Meter(server, sizes) for server in servers]
    with contextlib.ExitStack() as stack:
        flows = [stack.enter_context(_flow(server, b"", frame)) for server in servers]
        for meter in meters:
            meter.begin()
        end_at = time.monotonic() + sizes.pause_seconds
        while time.monotonic() < end_at:
            for flow in flows:
                checked(call("flow_pause", flow, ctypes.c_double(sizes.pause_seconds / 100)))
        for server, flow, meter, before in zip(servers, flows, meters, idle, strict=True):
            meter.end()
            messages = -(-call("flow_sent", flow, returns=ctypes.c_uint64) // len(frame))
            _pass(flow, messages * len(frame), messages * len(_PATTERN))
            line.add(server, meter.sample((_peak_bytes(server) - before) / (1 << 20)))


@contextlib.contextmanager
def _flow(server: Server, head: bytes, cycle: bytes) -> Iterator[ctypes.c_void_p]:
    """Through a joined pair: a head, then the cycle again and again."""
    sender, receiver = server.peer.open_pair(server)
    with sender, receiver:
        due = masked(_PATTERN, MASK) if server.peer.is_proxy else _PATTERN
        parts = [argument for part in (head, cycle, due) for argument in (part, ctypes.c_uint64(len(part)))]
        flow = ctypes.c_void_p(call("flow_open", sender.fileno(), receiver.fileno(), *parts, returns=ctypes.c_void_p))
        try:
            yield flow
        finally:
            call("flow_close", flow, returns=None)


def _pass(flow: ctypes.c_void_p, sent: int, received: int) -> None:
    totals = ctypes.c_uint64(sent), ctypes.c_uint64(received)
    checked(call("flow_pass", flow, *totals, ctypes.c_double(PATIENCE_SECONDS)))


def _head(size: int) -> bytes:
    """Of a frame so large."""
    return struct.pack("!BBQ", 0x80 | BINARY, 0xFF, size) + MASK


def _forget_peak(server: Server) -> int:
    """Let the kernel note the highest resident memory anew; bytes resident now."""
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")
    return server.resident_bytes()


def _peak_bytes(server: Server) -> int:
    """The most that was resident since then."""
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


def _amount(size: int) -> str:
    return f"{size >> 30} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"


ROW = Row(
    name="large",
    title="Sockets: memory for one message of 1 GiB, and for a reader that pauses for 30 s",
    unit="MiB above idle, whole process",
    proves="That a message of any size passes in bounded memory, cut into fragments as it comes, and that a reader "
    "who does not read stops the sender instead of filling the gateway: the most that was resident, as the kernel "
    "notes it, above what it was before the pair came. Then all that was sent is read, and every byte compared. "
    "Measured once; all pause together.",
    leaves_out="The kernel's buffers, many such pairs at a time, TLS. `websockets` holds every message whole and is "
    "left out of the first line. nginx and haproxy have set their buffers aside before.",
    peers=PEERS,
    measure=measure,
    is_more_better=False,
    praise="small",
)
