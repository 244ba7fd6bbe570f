"""What the gateway listens on: bound sockets, the URLs that they make, and how many files it may have open."""

from __future__ import annotations

import contextlib
import resource
import socket

from app.edge.server import BACKLOG, Listen
from app.hosts import Bind

WANTED_FILES = 1 << 20


def bound(where: Bind) -> socket.socket:
    """A socket that listens there. Raises OSError, which says where."""
    family, _, _, _, address = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {where.host}:{where.port}: {error.strerror}") from None
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def url_of(listen: Listen) -> str:
    """The URL by which clients on this machine reach it."""
    host, port = listen.socket.getsockname()[:2]
    host = reachable(host)
    scheme = "http" if listen.tls is None else "https"
    if listen.protocol is not None:
        scheme = "net.tcp"
    if listen.tls is not None and host in ("127.0.0.1", "::1"):
        host = "localhost"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def reachable(host: str) -> str:
    """A bind address as clients on this machine can use it: all interfaces are reached by the loopback."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def raise_file_limit() -> int:
    """Raise the limit of open files as far as allowed; the limit now in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED_FILES if soft == resource.RLIM_INFINITY else soft
