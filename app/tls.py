"""The gateway's certificates, from the settings or made for development, kept true while it runs.

Files that were replaced are noticed within seconds, or at once by SIGHUP. The development certificate names every
host of every namespace that its authority may vouch for; when one is added it is issued anew.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterator, Mapping, Sequence

from app.certificates import CertificateFiles, cover, prepare_certificates
from app.config import Settings
from app.edge.tls import MINIMUM, CertificatePair, ClientAuthority, TlsContexts, ask_clients, load_pair
from app.hosts import Hosts, own_names
from app.namespace import Namespace
from app.store.folder import DataFolder

LOOK_SECONDS = 2.0  # between two looks at the files

_log = logging.getLogger("fanway.tls")


class ServedCertificates:
    """What a gateway shows its TLS clients. `authority` is what they must trust, None for a user's own certificates.

    Raises `ConfigurationError` when a certificate cannot be used, OSError when the data folder cannot be written.
    """

    def __init__(
        self,
        settings: Settings,
        folder: DataFolder,
        hosts: Hosts,
        namespaces: Sequence[Namespace],
        files: CertificateFiles,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._namespaces = namespaces
        self.authority = files.authority
        default = CertificatePair(files.certificate, files.key)
        self._contexts = TlsContexts(
            hosts, default, named_pairs(settings), MINIMUM[settings.tls_minimum], client_authority(settings)
        )
        self._issuing: asyncio.Task[None] | None = None
        self._is_stale = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def context(self) -> ssl.SSLContext:
        """What to listen with."""
        return self._contexts.context

    def watch(self) -> None:
        """Look at the files from now on, every few seconds, until `stop`."""
        self.reload()
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self.watch)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._issuing is not None:
            self._issuing.cancel()

    def reload(self) -> None:
        """Take what has changed in the files."""
        self._contexts.reload()

    def names_changed(self) -> None:
        """A namespace or an alias came or went: the development certificate is issued anew where it lacks a name."""
        if self.authority is None:
            return
        self._is_stale = True
        if self._issuing is None or self._issuing.done():
            self._issuing = asyncio.get_running_loop().create_task(self._issue())

    async def _issue(self) -> None:
        while self._is_stale:
            self._is_stale = False
            names = list(host_names(self._namespaces))
            try:
                await asyncio.to_thread(cover, self._settings, self._folder, names)
            except OSError as error:
                _log.error("the development certificate cannot be written: %s", error)
            self.reload()


def open_certificates(
    settings: Settings, folder: DataFolder, hosts: Hosts, namespaces: Sequence[Namespace]
) -> ServedCertificates | None:
    """The certificates to serve TLS with; None when it is off. Raises as `ServedCertificates`."""
    files = prepare_certificates(settings, folder, host_names(namespaces))
    return ServedCertificates(settings, folder, hosts, namespaces, files) if files is not None else None


def check_certificates(settings: Settings) -> None:
    """Return when every certificate that the settings name can be used. Raises `ConfigurationError`."""
    if not settings.tls:
        return
    clients = client_authority(settings)
    if clients is not None:
        ask_clients(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), clients)
    pairs = set(named_pairs(settings).values())
    if settings.tls_cert is not None and settings.tls_key is not None:
        pairs.add(CertificatePair(settings.tls_cert, settings.tls_key))
    for pair in pairs:
        load_pair(pair)


def client_authority(settings: Settings) -> ClientAuthority | None:
    """Whose client certificates are asked for, if any are."""
    identity = settings.identity
    if identity.client_ca is None:
        return None
    return ClientAuthority(identity.client_ca, identity.client_certificate == "required")


def named_pairs(settings: Settings) -> Mapping[str, CertificatePair]:
    """The pairs that the settings give for hosts and namespaces, by lower-case name."""
    return {name.lower(): CertificatePair(pair.cert, pair.key) for name, pair in settings.certificates.items()}


def host_names(namespaces: Sequence[Namespace]) -> Iterator[str]:
    """Every name that leads to one of these, apart from those of any machine."""
    for namespace in namespaces:
        yield from own_names(namespace.name)
        yield from namespace.aliases
