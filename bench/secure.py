"""TLS for the load generator: the certificate that all servers show, and sockets whose records C handles (`tls.c`).

TLS 1.3 with TLS_AES_128_GCM_SHA256 on every connection, looked at after each handshake; nobody verifies certificates.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import select
import shutil
import socket
import tempfile
from collections.abc import Iterator
from ctypes import c_ssize_t, create_string_buffer
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.generator.library import call, checked
from bench.load import PATIENCE_SECONDS, LoadError, wraps

CIPHER = "TLS 1.3, TLS_AES_128_GCM_SHA256, ECDSA on P-256"


class Files(NamedTuple):
    """In PEM; `both` has certificate and key."""

    certificate: Path
    key: Path
    both: Path


@cache
def certificate() -> Files:
    """Made once in a run: for 127.0.0.1, signed by itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    day = datetime.timedelta(days=1)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    made = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    folder = Path(tempfile.mkdtemp(prefix="fanway-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    files = Files(folder / "server.pem", folder / "server.key", folder / "both.pem")
    shown = made.public_bytes(serialization.Encoding.PEM)
    hidden = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for file, content in zip(files, (shown, hidden, shown + hidden), strict=True):
        file.write_bytes(content)
    return files


class SecureSocket(socket.socket):
    """A connected socket over TLS, for few bytes here; the loops in C take its descriptor as any other's."""

    @classmethod
    def over(cls, sock: socket.socket, *, is_server: bool = False) -> SecureSocket:
        """Take this socket over and shake hands. Raises LoadError."""
        _prepare()
        secure = cls(fileno=sock.detach())
        secure.settimeout(PATIENCE_SECONDS)
        try:
            checked(call("tls_open", secure.fileno(), is_server))
            while not checked(call("tls_shake", secure.fileno())):
                secure._wait(select.POLLIN)
        except LoadError:
            secure.close()
            raise
        return secure

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = create_string_buffer(size)
        name = "tls_peek" if flags & socket.MSG_PEEK else "tls_receive"
        while not (got := call(name, self.fileno(), data, c_ssize_t(size), returns=c_ssize_t)):
            self._wait(select.POLLIN)
        return data.raw[: max(0, got)]

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:  # type: ignore[override]
        raw = bytes(data)
        while not (sent := call("tls_send", self.fileno(), raw, c_ssize_t(len(raw)), returns=c_ssize_t)):
            self._wait(select.POLLOUT)
        return checked(sent)

    def sendall(self, data: bytes, flags: int = 0) -> None:  # type: ignore[override]
        while data:
            data = data[self.send(data) :]

    def close(self) -> None:
        if self.fileno() >= 0:
            call("tls_close", self.fileno(), returns=None)
        super().close()

    def _wait(self, events: int) -> None:
        """For the socket to be ready; raises BlockingIOError when it may not block."""
        call("tls_flush", returns=None)
        if self.gettimeout() == 0:
            raise BlockingIOError
        poll = select.poll()
        poll.register(self, events)
        if not poll.poll(PATIENCE_SECONDS * 1000):
            raise LoadError("a server stayed silent")


@contextlib.contextmanager
def spoken(*ports: int) -> Iterator[None]:
    """Within the block connections with these ports are over TLS. Raises LoadError."""
    _prepare()
    wraps.update(dict.fromkeys(ports, SecureSocket.over))
    try:
        yield
    finally:
        for port in ports:
            del wraps[port]


@cache
def _prepare() -> None:
    files = certificate()
    checked(call("tls_setup", bytes(files.certificate), bytes(files.key)))
