"""What a connection owes its peer, with and without TLS."""

from __future__ import annotations

import socket
from typing import Any

from app.edge.outflow import (
    HIGH_BYTES,
    LOW_BYTES,
    TLS_SLICE_BYTES,
    UNJOINED_BYTES,
    USER_TIMEOUT_SECONDS,
    Outflow,
    be_patient,
    tune_listening,
)


class Transport:
    """As much of a transport as `Outflow` asks for."""

    def __init__(self, *, tls: bool, sock: socket.socket | None = None) -> None:
        self.extra = {"sslcontext": object() if tls else None, "socket": sock}
        self.written: list[bytes] = []
        self.buffered = 0
        self.limits: dict[str, int] = {}

    def get_extra_info(self, name: str) -> Any:
        return self.extra[name]

    def set_write_buffer_limits(self, **limits: int) -> None:
        self.limits = limits

    def write(self, data: bytes | memoryview) -> None:
        self.written.append(bytes(data))

    def writelines(self, parts: list[bytes]) -> None:
        self.written += parts

    def get_write_buffer_size(self) -> int:
        return self.buffered


def outflow_of(transport: Transport) -> Outflow:
    return Outflow(transport)  # type: ignore[arg-type]


def test_limits_are_always_set() -> None:
    """The loop's own low mark is 16 bytes, which makes a reader stop and go with every packet."""
    transport = Transport(tls=False)
    outflow_of(transport)
    assert transport.limits == {"high": HIGH_BYTES, "low": LOW_BYTES}


def test_small_parts_leave_joined_and_large_ones_uncopied_but_joined_under_tls() -> None:
    small, large = [b"a", b"b" * 100], [b"c", bytes(UNJOINED_BYTES * 2)]
    plain, tls = Transport(tls=False), Transport(tls=True)
    for transport in (plain, tls):
        for parts in (small, large):
            outflow_of(transport).write_all(parts, sum(map(len, parts)))
    assert plain.written == [b"".join(small), *large]
    assert tls.written == [b"".join(small), b"".join(large)]


def test_without_tls_a_write_is_one_write_and_the_transport_knows_the_debt() -> None:
    transport = Transport(tls=False)
    outflow = outflow_of(transport)
    outflow.write(bytes(1 << 20))
    assert [len(data) for data in transport.written] == [1 << 20]
    transport.buffered = 77
    assert outflow.backlog() == 77


def test_under_tls_large_writes_are_cut_small() -> None:
    transport = Transport(tls=True)
    outflow_of(transport).write(b"a" * (2 * TLS_SLICE_BYTES) + b"b")
    assert [len(data) for data in transport.written] == [TLS_SLICE_BYTES, TLS_SLICE_BYTES, 1]
    assert b"".join(transport.written)[-2:] == b"ab"


def test_under_tls_the_debt_is_counted_since_the_transport_drained() -> None:
    """The transport itself says 0 with megabytes of ciphertext unsent."""
    transport = Transport(tls=True)
    outflow = outflow_of(transport)
    outflow.write(bytes(1000))
    assert outflow.backlog() == 0  # it was taken at once
    outflow.write(bytes(100_000))
    outflow.pause()
    outflow.write(bytes(50_000))
    assert (outflow.is_paused, outflow.backlog()) == (True, 150_000)
    outflow.resume()
    assert (outflow.is_paused, outflow.backlog()) == (False, 0)


def test_keep_alive_makes_a_vanished_peer_known() -> None:
    """What the listening socket has, the sockets that it accepts have too."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        tune_listening(listening)
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 4
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == USER_TIMEOUT_SECONDS * 1000
            be_patient(Transport(tls=False, sock=sock))  # type: ignore[arg-type]
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_a_socket_that_is_none_of_tcp_is_left_alone() -> None:
    be_patient(Transport(tls=False))  # type: ignore[arg-type]
    one, other = socket.socketpair()
    with one, other:
        be_patient(Transport(tls=False, sock=one))  # type: ignore[arg-type]
        tune_listening(one)


def test_the_least_mark_that_anybody_asked_for_counts() -> None:
    transport = Transport(tls=False)
    outflow = outflow_of(transport)
    marks = []
    transport.set_write_buffer_limits = lambda **limits: marks.append(limits["high"])  # type: ignore[assignment]
    for high in (1 << 20, 60_000, 1000, 40_000):
        outflow.lower_mark(high)
    assert marks == [60_000, 1000]
