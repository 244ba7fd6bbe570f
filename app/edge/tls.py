"""Which certificate a TLS client sees: by the host it asks for, renewed without a restart.

Theory. One SSL context listens. When a client names a host (RFC 6066, 3), and also when it does not, its connection
is moved to the context that holds the certificate for it, before anything of a certificate is sent. A certificate that
was replaced is loaded into a new context; connections keep the one they began with. A pair of files that cannot be
used changes nothing.

There is no ALPN: HTTP/1.1 is all that is spoken, and some clients would otherwise try more.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from app.config import ConfigurationError
from app.edge.origin import SERVER_NAME
from app.errors import UnknownHost
from app.hosts import Hosts

_log = logging.getLogger("fanway.tls")

MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class CertificatePair(NamedTuple):
    """PEM files of a certificate, with its chain, and of its private key."""

    certificate: Path
    key: Path


class ClientAuthority(NamedTuple):
    """PEM file of the authority of client certificates, and whether each client needs one."""

    file: Path
    is_required: bool


_Stamp = tuple[tuple[int, int, int], ...]  # of both files: when changed, size, which


class TlsContexts:
    """A context for each pair of files. `named` are those of hosts (`*.` before a name: all one label below it) and of
    namespaces, by lower-case name; `default` is for all else.

    `context` is the one to listen with. Raises `ConfigurationError` when a pair cannot be used.
    """

    def __init__(
        self,
        hosts: Hosts,
        default: CertificatePair,
        named: Mapping[str, CertificatePair] | None = None,
        minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
        clients: ClientAuthority | None = None,
    ) -> None:
        self._hosts = hosts
        self._default = default
        self._named = dict(named or {})
        self._minimum, self._clients = minimum, clients
        pairs = {default, *self._named.values()}
        self._stamps = {pair: _stamp(pair) for pair in pairs}
        self._contexts = {pair: load_pair(pair, minimum, clients) for pair in pairs}
        self.context = load_pair(default, minimum, clients)
        self.context.sni_callback = self._choose

    def reload(self) -> None:
        """Take the pairs whose files have changed; one that cannot be used stays as it was, and the log says why."""
        for pair, known in self._stamps.items():
            stamp = _stamp(pair)
            if stamp == known or stamp is None:
                continue  # a file that is missing just now is being replaced
            self._stamps[pair] = stamp
            try:
                self._contexts[pair] = load_pair(pair, self._minimum, self._clients)
            except ConfigurationError as error:
                _log.error("%s; the certificate before it stays in use", error)
            else:
                _log.info("%s was read anew", pair.certificate)

    def pair_for(self, server_name: str | None) -> CertificatePair:
        """The pair for a host: its own, a wildcard's, its namespace's, or the default."""
        if not self._named or server_name is None:
            return self._default
        for name in (server_name, f"*.{server_name.partition('.')[2]}"):
            if name in self._named:
                return self._named[name]
        try:
            return self._named.get(self._hosts.find(server_name).name.lower(), self._default)
        except UnknownHost:
            return self._default

    def _choose(self, connection: ssl.SSLObject, server_name: str | None, listening: ssl.SSLContext) -> None:
        """OpenSSL's question which certificate to show; the answer is a context."""
        name = server_name.lower() if server_name else None
        setattr(connection, SERVER_NAME, name)
        connection.context = self._contexts[self.pair_for(name)]


def load_pair(
    pair: CertificatePair,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    clients: ClientAuthority | None = None,
) -> ssl.SSLContext:
    """A server's context with this certificate. Raises `ConfigurationError`, naming the files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    try:
        context.load_cert_chain(pair.certificate, pair.key, password=lambda: b"")  # else OpenSSL asks the terminal
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigurationError(f"{pair.certificate} and {pair.key}: no certificate with its key: {reason}") from None
    if clients is not None:
        ask_clients(context, clients)
    return context


def ask_clients(context: ssl.SSLContext, clients: ClientAuthority) -> None:
    """Ask those who connect for a certificate of this authority; another one fails the handshake.

    Raises `ConfigurationError`.
    """
    try:
        context.load_verify_locations(clients.file)
    except OSError as error:
        raise ConfigurationError(
            f"{clients.file}: no authority of client certificates: {error.strerror or error}"
        ) from None
    context.verify_mode = ssl.CERT_REQUIRED if clients.is_required else ssl.CERT_OPTIONAL


def _stamp(pair: CertificatePair) -> _Stamp | None:
    """What changes when one of the files does; None when one cannot be looked at."""
    try:
        found = [file.stat() for file in pair]
    except OSError:
        return None
    return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)
