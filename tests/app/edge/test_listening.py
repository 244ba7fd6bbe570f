"""Listening sockets: the URLs they make, and a port that is taken."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import pytest

from app.edge.listening import bound, reachable, url_of
from app.edge.server import Listen
from app.hosts import Bind

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


@pytest.mark.parametrize(
    ("host", "tls", "protocol", "url"),
    [
        ("127.0.0.1", None, None, "http://127.0.0.1:{}"),
        ("0.0.0.0", None, None, "http://127.0.0.1:{}"),
        ("127.0.0.1", TLS, None, "https://localhost:{}"),
        ("127.0.0.1", None, asyncio.Protocol, "net.tcp://127.0.0.1:{}"),
        ("127.0.0.1", TLS, asyncio.Protocol, "net.tcp://localhost:{}"),
    ],
)
def test_url_is_one_that_clients_on_this_machine_can_use(
    host: str, tls: ssl.SSLContext | None, protocol: type[asyncio.Protocol] | None, url: str
) -> None:
    with contextlib.closing(bound(Bind(host, 0))) as sock:
        assert url_of(Listen(sock, tls, protocol)) == url.format(sock.getsockname()[1])


def test_all_interfaces_are_reached_by_the_loopback() -> None:
    assert [reachable(host) for host in ("0.0.0.0", "::", "192.0.2.1")] == ["127.0.0.1", "::1", "192.0.2.1"]


def test_a_port_that_is_taken_is_told_with_its_place() -> None:
    with contextlib.closing(bound(Bind("127.0.0.1", 0))) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{port}: "):
            bound(Bind("127.0.0.1", port))
