"""The load generator speaks correctly and does not take a wrong figure for a right one."""

from __future__ import annotations

import socket
import sys

import pytest

from app.wire.frames import FrameParser, encode_frame

if sys.platform != "linux":
    pytest.skip("the load generator needs Linux", allow_module_level=True)

from bench.load import (
    BINARY,
    NO_MASK,
    Inflow,
    LoadError,
    Span,
    client_frame,
    read_head,
    read_message,
    server_frame,
)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 1024, 65535, 65536])
@pytest.mark.parametrize("mask", [NO_MASK, b"\x01\x02\x03\x04"])
def test_client_frames_are_what_the_gateway_reads(size: int, mask: bytes) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert FrameParser().feed(client_frame(BINARY, payload, mask)) == [(BINARY, True, payload)]


@pytest.mark.parametrize("size", [0, 125, 126, 65535])
def test_server_frames_are_what_the_gateway_sends(size: int) -> None:
    assert server_frame(BINARY, bytes(size)) == encode_frame(BINARY, bytes(size))


def test_messages_are_read_over_fragments_and_pings() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"\x02\x01a" + b"\x89\x01p" + b"\x80\x01b")
        assert read_message(ours) == (BINARY, b"ab")


def test_what_follows_a_head_stays_unread() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 OK\r\n\r\nbody")
        assert read_head(ours) == b"HTTP/1.1 200 OK\r\n\r\n"
        assert ours.recv(10) == b"body"


def test_more_bytes_than_were_due_are_a_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        theirs, _ = server.accept()
        with theirs, Inflow([ours], 100) as inflow:
            theirs.sendall(bytes(70))
            with pytest.raises(LoadError, match="10 bytes more"):
                inflow.drain(0, 60)


def test_a_connection_closed_under_load_is_a_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        theirs, _ = server.accept()
        theirs.close()
        with Inflow([ours]) as inflow, pytest.raises(LoadError, match="closed"):
            inflow.drain(0, 60)


def test_a_span_counts_only_between_its_beginning_and_its_end() -> None:
    told: list[str] = []
    span = Span(0.0, 0.0, lambda: told.append("begin"), lambda: told.append("end"))
    assert span.is_over(5)
    assert span.is_over(9)
    assert told == ["begin", "end"]
    assert span.counted == 0
    waiting = Span(3600.0, 1.0, lambda: told.append("never"), lambda: told.append("never"))
    assert not waiting.is_over(5)
    assert len(told) == 2
