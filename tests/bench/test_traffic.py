"""Stamped events: what comes too often, too early, to the wrong place or never is found, and delays are right."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

if sys.platform != "linux":
    pytest.skip("the load generator needs Linux", allow_module_level=True)

from bench import match, mix, order, overload, traffic
from bench.generator import library
from bench.load import NO_MASK, TEXT, LoadError, client_frame, server_frame
from bench.order import NUMBERED, check_spread, numbered, server_sent
from bench.row import TINY
from bench.traffic import NAME, NOBODY, STAMP, Outcome, Pace, Side, Supply, plain, run_traffic
from fanout.address import check_pattern

pytestmark = pytest.mark.skipif(library.missing() is not None, reason=library.missing() or "")

WINDOW = Pace(window=8)
TIMES = library.Times(0.0, 0.05)
SIZE = len(STAMP) + 6
Answer = Callable[[bytes, int], bytes]


class Nobody:
    """Is told when the measured part begins and ends, and does not care."""

    def begin(self) -> None: ...

    def end(self) -> None: ...


@contextlib.contextmanager
def echo(answer: Answer, subscribers: int) -> Iterator[tuple[socket.socket, list[socket.socket]]]:
    """A publisher and subscribers; of each frame, all of one size, the n-th gets what `answer` says."""
    publisher, its_end = socket.socketpair()
    pairs = [socket.socketpair() for _ in range(subscribers)]

    def serve() -> None:
        held = b""
        with contextlib.suppress(OSError):
            while data := its_end.recv(1 << 16):
                held += data
                while len(held) >= SIZE:
                    frame, held = held[:SIZE], held[SIZE:]
                    for number, (_, end) in enumerate(pairs):
                        end.sendall(answer(frame[6:], number))

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


def run(answer: Answer, pace: Pace = WINDOW, reach: list[list[int]] | None = None) -> Outcome:
    """Two addresses in turn; both subscribers are due to get all."""
    supply = Supply([client_frame(TEXT, STAMP, NO_MASK)] * 4, [0, 1] * 2, [2] * 4)
    with echo(answer, 2) as (publisher, sockets):
        return run_traffic(publisher, sockets, supply, pace, TIMES, Nobody(), reach=reach or [[0, 1]] * 2)


def test_deliveries_are_counted_whatever_stands_around_the_stamps() -> None:
    def wrapped(payload: bytes, number: int) -> bytes:
        return server_frame(TEXT, b'{"a":1}' * number + payload + b"}")

    outcome = run(wrapped)
    assert outcome.deliveries > 0
    assert 0 < outcome.delays[0.5] <= outcome.delays[0.99] < 1e6


def test_a_greeting_as_long_as_a_record_hides_no_delivery() -> None:
    greeted: set[int] = set()

    def greeting(payload: bytes, number: int) -> bytes:
        first = b"" if number in greeted else b"." * SIZE
        greeted.add(number)
        return first + b"......" + payload

    assert run(greeting).deliveries > 0


def test_a_stamp_may_come_in_pieces() -> None:
    supply = Supply([client_frame(TEXT, STAMP, NO_MASK)], [0], [1])
    with echo(lambda payload, number: payload, 1) as (publisher, sockets):
        sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        assert run_traffic(publisher, sockets, supply, Pace(window=100), TIMES, Nobody(), reach=[[0]]).deliveries > 0


def test_at_a_fixed_rate_as_many_are_published_as_are_due() -> None:
    outcome = run(lambda payload, number: payload, Pace(rate=1000.0))
    assert 1 <= outcome.events <= 51


def test_a_lost_delivery_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "PATIENCE_SECONDS", 0.1)
    with pytest.raises(LoadError):
        run(lambda payload, number: b"" if payload[10:18] == b"00000003" else payload)


def test_a_delivery_that_comes_twice_is_a_fault() -> None:
    with pytest.raises(LoadError, match="something else"):
        run(lambda payload, number: payload * 2)


def test_a_delivery_out_of_order_is_a_fault() -> None:
    with pytest.raises(LoadError, match="something else"):
        run(lambda payload, number: payload.replace(b"00000001", b"00000002", 1))


def test_a_delivery_to_somebody_whom_it_must_not_reach_is_a_fault() -> None:
    with pytest.raises(LoadError, match="something else"):
        run(lambda payload, number: payload, reach=[[0, 1], [0]])


def test_a_close_is_a_fault() -> None:
    supply = Supply([client_frame(TEXT, STAMP, NO_MASK)], [0], [1])
    ours, theirs = socket.socketpair()
    publisher, its_end = socket.socketpair()
    theirs.close()
    with ours, publisher, its_end, pytest.raises(LoadError, match="closed"):
        run_traffic(publisher, [ours], supply, Pace(window=1), TIMES, Nobody())


def test_a_name_is_another_one_each_time_and_sides_send_meanwhile() -> None:
    frame = client_frame(TEXT, b"a/" + NAME + b" " + STAMP, NO_MASK)
    publisher, its_end = socket.socketpair()
    side, side_end = socket.socketpair()
    with publisher, its_end, side, side_end:
        supply, sides = Supply([frame], [NOBODY], [0], [True]), [Side(side, b"side"), Side(side_end)]
        with contextlib.suppress(LoadError):
            outcome = run_traffic(publisher, [], supply, Pace(rate=400.0), TIMES, Nobody(), first_name=255, sides=sides)
        frames = its_end.recv(1 << 20)
        names = [frames[at + 8 : at + 16] for at in range(0, len(frames), len(frame))]
        assert names[:2] == [b"000000ff", b"00000100"]
        assert outcome.next_name == 255 + len(names)
        assert outcome.side_bytes[0] > 0


def test_plain_frames_say_the_same() -> None:
    for payload in (b"", b"abc", b"x" * 126, b"y" * 70_000):
        assert plain(client_frame(TEXT, payload)) == client_frame(TEXT, payload, NO_MASK)


def test_server_sent_payloads_are_read_without_notices_and_pieces() -> None:
    notices = b'event: ready\nid: a:1\ndata: {"x":1}\n\n: hi\n\n'
    body = notices + b"id: a:2\ndata: one\n\nid: 3\ndata: two\ndata: 2\n\nid: a:4\nda"
    assert server_sent(body) == b"onetwo\n2"
    chunks = b"%x\r\n%b\r\n%x\r\n%b\r\n" % (40, body[:40], len(body) - 40, body[40:])
    assert server_sent(chunks) == server_sent(body)
    assert server_sent(chunks[:-5]) == b""


def test_a_payload_that_comes_to_the_wrong_socket_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(order, "PATIENCE_SECONDS", 0.2)
    due = [numbered(1), numbered(2)]
    for wrong in ([due[0], due[0]], [due[1], due[0]], [*due, due[1]], due[:1]):
        ours, theirs = socket.socketpair()
        theirs.sendall(b"".join(wrong))
        with ours, theirs, pytest.raises(LoadError):
            check_spread("a server", theirs, [], [(ours, due)], NUMBERED)


def test_each_drawn_address_is_matched_by_its_one_pattern() -> None:
    texts = match.patterns(TINY.scale)
    patterns = [check_pattern(text) for text in texts]
    assert len(set(texts)) == TINY.scale * match.EACH
    for is_new in (True, False):
        draws = match.draws(TINY.scale, 100, is_new=is_new)
        for draw in draws:
            matching = [number for number, pattern in enumerate(patterns) if pattern.matches(draw.address)]
            assert matching == ([] if draw.pattern is None else [draw.pattern])
        assert 20 < sum(draw.pattern is not None for draw in draws) < 50


def test_the_mix_has_its_shares() -> None:
    crowd = mix.members(1000)
    assert [sum(m.transport is kind for m in crowd) for kind in mix.Transport] == [700, 200, 100]
    assert [sum(len(m.reach) == size for m in crowd) for size in (1, 10, 0)] == [500, 250, 250]
    for kind in mix.Transport:
        assert {len(m.reach) for m in crowd if m.transport is kind} == {0, 1, 10}
    assert {sum(address in m.reach for m in crowd) for address in range(50)} == {60}


def test_latency_against_load_has_a_point_for_each_load_and_server() -> None:
    points = overload.measure(TINY, None)
    for peer in overload.PEERS:
        if not peer.missing():
            assert [point.offered for point in points[peer.name]] == sorted(p.offered for p in points[peer.name])
            assert len(points[peer.name]) == len(overload.LOADS)
            assert all(point.resident_bytes > 0 for point in points[peer.name])
