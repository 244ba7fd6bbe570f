"""TLS beneath the load generator: what is sent arrives whole, in either direction, in small reads and in the loops."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

if sys.platform != "linux":
    pytest.skip("the load generator needs Linux", allow_module_level=True)

from bench.generator import library
from bench.generator.library import Times
from bench.load import BINARY, LoadError, client_frame, open_tcp, read_exactly, read_head, wraps
from bench.native import Shape, pump
from bench.secure import SecureSocket, spoken

pytestmark = pytest.mark.skipif(library.missing_tls() is not None, reason=library.missing_tls() or "")


@contextlib.contextmanager
def joined() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection over TLS."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with spoken(port):
            thread = threading.Thread(target=lambda: accepted.append(server.accept()[0]))
            thread.start()
            plain = socket.create_connection(("127.0.0.1", port))
            thread.join()
            shaken: list[SecureSocket] = []
            thread = threading.Thread(target=lambda: shaken.append(SecureSocket.over(accepted[0], is_server=True)))
            thread.start()
            client = SecureSocket.over(plain)
            thread.join()
    with client, shaken[0]:
        yield client, shaken[0]


def test_both_ends_get_what_the_other_sent() -> None:
    with joined() as (client, server):
        for sender, receiver in ((client, server), (server, client)):
            sender.sendall(b"HTTP/1.1 200 OK\r\n\r\nbody")
            assert read_head(receiver) == b"HTTP/1.1 200 OK\r\n\r\n"
            assert read_exactly(receiver, 4) == b"body"


def test_what_the_socket_does_not_take_at_once_is_sent_later() -> None:
    with joined() as (client, server):
        data, got = bytes(range(256)) * (1 << 15), bytearray()
        thread = threading.Thread(target=lambda: got.extend(read_exactly(server, len(data))))
        client.settimeout(0)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < len(data):
                sent += client.send(data[sent : sent + 100_000])
        assert 0 < sent < len(data)
        client.settimeout(5)
        thread.start()
        client.sendall(data[sent:])
        thread.join()
        assert bytes(got) == data


def test_nothing_to_read_is_no_end() -> None:
    with joined() as (client, server):
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(100)
        server.close()
        client.setblocking(True)
        assert client.recv(100) == b""


def test_the_loops_count_what_comes_over_tls() -> None:
    frame = client_frame(BINARY, bytes(65536))
    with joined() as (client, server):
        assert pump([(client, server)], Shape(65536), frame, 32, Times(0.0, 0.05), Silent()) > 0


class Silent:
    """Measures nothing."""

    def begin(self) -> None: ...

    def end(self) -> None: ...


def test_a_server_that_speaks_no_tls_is_a_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer() -> None:
            sock, _ = server.accept()
            with sock:
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                sock.recv(1000)

        thread = threading.Thread(target=answer)
        thread.start()
        with spoken(port), pytest.raises(LoadError):
            open_tcp(port)
        thread.join()
    assert port not in wraps
