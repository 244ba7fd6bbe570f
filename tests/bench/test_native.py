"""The compiled loops count whole deliveries only, and the checker finds what is lost, changed or out of order."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

if sys.platform != "linux":
    pytest.skip("the load generator needs Linux", allow_module_level=True)

from bench import order
from bench.generator import library
from bench.generator.library import Times
from bench.load import BINARY, TEXT, LoadError, client_frame, server_frame
from bench.native import Shape, fan_out, ping_pong, pump
from bench.order import check_order, numbered, unframed
from bench.peers import WEBSOCKETS, Server

pytestmark = pytest.mark.skipif(library.missing() is not None, reason=library.missing() or "")

TIMES = Times(0.0, 0.05)
RECORD = b"f" * 64
FRAME = client_frame(TEXT, RECORD)
Answer = Callable[[int], bytes]


class Watch:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def begin(self) -> None:
        self.told.append("begin")

    def end(self) -> None:
        self.told.append("end")


@contextlib.contextmanager
def relay(answer: Answer, subscribers: int = 2) -> Iterator[tuple[socket.socket, list[socket.socket]]]:
    """A publisher and its subscribers, to whom a thread sends `answer(n)` for the n-th frame."""
    publisher, its_end = socket.socketpair()
    pairs = [socket.socketpair() for _ in range(subscribers)]

    def serve() -> None:
        count, held = 0, 0
        with contextlib.suppress(OSError):
            while data := its_end.recv(len(FRAME) * 10):
                held += len(data)
                while held >= len(FRAME):
                    held -= len(FRAME)
                    for _, end in pairs:
                        end.sendall(answer(count))
                    count += 1

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield publisher, [mine for mine, _ in pairs]
    finally:
        for sock in (publisher, *(mine for mine, _ in pairs)):
            sock.close()
        thread.join()
        for sock in (its_end, *(end for _, end in pairs)):
            sock.close()


def fan(answer: Answer, shape: Shape) -> int:
    with relay(answer) as (publisher, subscribers):
        return fan_out(publisher, subscribers, shape, [FRAME], 4, 2, TIMES, Watch())


@pytest.mark.parametrize("lead", [None, ord("f")])
def test_framed_deliveries_are_counted_over_pings(lead: int | None) -> None:
    assert fan(lambda _: b"\x89\x01p" + server_frame(TEXT, RECORD), Shape(64, lead=lead)) > 0


def test_deliveries_are_counted_however_the_frames_are_cut() -> None:
    def cut(number: int) -> bytes:
        return server_frame(BINARY, RECORD[:10]) + server_frame(BINARY, RECORD[10:])

    assert fan(cut, Shape(64, lead=ord("f"))) > 0
    assert fan(lambda _: client_frame(BINARY, RECORD + RECORD), Shape(128)) > 0


def test_bare_deliveries_are_counted_over_pings_of_nats() -> None:
    assert fan(lambda _: b"PING\r\n" + RECORD, Shape(64, is_framed=False, lead=ord("f"))) > 0


def test_a_delivery_of_another_kind_is_a_fault() -> None:
    with pytest.raises(LoadError, match="something else"):
        fan(lambda _: server_frame(TEXT, b"x" * 64), Shape(64, lead=ord("f")))


def test_a_close_is_a_fault() -> None:
    with pytest.raises(LoadError, match="closed"):
        fan(lambda number: b"\x88\x00" if number else server_frame(TEXT, RECORD), Shape(64))


def test_a_lost_delivery_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "PATIENCE_SECONDS", 0.1)
    with pytest.raises(LoadError, match="in time"):
        fan(lambda number: b"" if number == 3 else server_frame(TEXT, RECORD), Shape(64))


def test_one_delivery_too_many_is_a_fault() -> None:
    with pytest.raises(LoadError, match="something else"):
        fan(lambda number: server_frame(TEXT, RECORD) * (2 if number == 3 else 1), Shape(64))


def test_a_pump_and_a_ping_pong_measure_between_begin_and_end() -> None:
    left, right = socket.socketpair()
    with left, right:
        watch = Watch()
        assert pump([(left, right)], Shape(64), FRAME, 8, TIMES, watch) > 0
        assert watch.told == ["begin", "end"]
        samples = ping_pong((left, right), (b"ping", 4), (b"pong!", 5), TIMES, watch)
        assert samples
        assert all(0 < sample < 1e6 for sample in samples)


@pytest.mark.parametrize(
    ("number", "change"),
    [(3, lambda due: due[:-1] + b"?"), (3, lambda due: b""), (3, lambda due: due * 2), (1, lambda due: numbered(2))],
    ids=["changed", "lost", "twice", "out of order"],
)
def test_the_checker_finds_what_is_not_as_published(
    monkeypatch: pytest.MonkeyPatch, number: int, change: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(order, "PATIENCE_SECONDS", 0.2)
    with pytest.raises(LoadError):
        check(lambda n: change(numbered(n)) if n == number else numbered(n))


def test_the_checker_is_content_with_what_is_as_published() -> None:
    check(numbered)


def check(payload: Answer) -> None:
    def answer(number: int) -> bytes:
        due = payload(number)
        return server_frame(TEXT, due) if due else b""

    with relay(answer) as (publisher, subscribers), socket.create_server(("127.0.0.1", 0)) as origin:
        server = Server(WEBSOCKETS, 0, 0, {}, origin)
        frames = [client_frame(TEXT, numbered(number)) for number in range(8)]
        check_order(server, publisher, [(sock, "fan") for sock in subscribers], frames, ["fan"] * 8)


def test_unframed_joins_data_frames_and_stops_at_a_piece() -> None:
    raw = server_frame(TEXT, b"a" * 200) + b"\x89\x01p" + server_frame(TEXT, b"b") + b"\x81\x05cc"
    assert unframed(raw) == b"a" * 200 + b"b"
    with pytest.raises(LoadError, match="closed"):
        unframed(b"\x88\x00")
