"""A local certificate authority for development, and the certificate it issues for this machine.

The authority's name constraints (RFC 5280, 4.2.1.10) let it vouch for loopback, this host name and names that were
asked for only, so trusting it costs little. It is written into the data folder; no system store is touched.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.config import ConfigurationError, Settings
from app.store.folder import DataFolder, write_secret

AUTHORITY_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)

_DNS_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")


class CertificateFiles(NamedTuple):
    """PEM files for the TLS listener; `authority` is what clients must trust, None for a user's own certificate."""

    certificate: Path
    key: Path
    authority: Path | None


def prepare_certificates(
    settings: Settings, folder: DataFolder, hosts: Iterable[str] = (), now: datetime | None = None
) -> CertificateFiles | None:
    """The files to serve TLS with by default, made or renewed where the settings ask for it; None when TLS is off.

    Those of the settings, else the development certificate, which then covers `hosts`, else the first of the settings'
    table. Raises `ConfigurationError` when named files are missing, OSError when the folder cannot be written.
    """
    if settings.tls_bind is None:
        return None
    named = named_certificates(settings)
    if named is not None:
        return named
    if settings.uses_dev_tls:
        return cover(settings, folder, hosts, now)
    first = next(iter(settings.certificates.values()))
    return CertificateFiles(first.cert, first.key, None)


def cover(
    settings: Settings, folder: DataFolder, hosts: Iterable[str], now: datetime | None = None
) -> CertificateFiles:
    """The development certificate, naming those of `hosts` too that its authority may vouch for as it is.

    Raises OSError when the folder cannot be written.
    """
    files = development_certificate(settings, folder, now=now)
    authority = _load(folder.tls / "ca.pem", folder.tls / "ca.key")
    subtrees = _subtrees(authority[0]) if authority else []
    vouched = [host for host in hosts if (name := _name_of(host)) is not None and _is_permitted(name, subtrees)]
    return development_certificate(settings, folder, vouched, now) if vouched else files


def _name_of(host: str) -> x509.GeneralName | None:
    try:
        return read_host(host)
    except ConfigurationError:
        return None  # a host may have a name that no certificate can hold


def development_certificate(
    settings: Settings, folder: DataFolder, hosts: Iterable[str] = (), now: datetime | None = None
) -> CertificateFiles:
    """The development certificate in the data folder, made or renewed; it names these hosts too from now on.

    Raises `ConfigurationError` for a host that no certificate can name, OSError when the folder cannot be written.
    """
    own_name = f"{settings.namespace.lower()}.localhost"  # OpenSSL takes no wildcard for a top-level name
    names = [read_host(host) for host in hosts]
    return issue(folder.tls, socket.gethostname().lower(), now or datetime.now(UTC), own_name, names)


def read_host(text: str) -> x509.GeneralName:
    """A host as a certificate names it: a DNS name, `*.` before it for all names below, or an IP address.

    Raises `ConfigurationError`.
    """
    host = text.strip().lower()
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        if _DNS_NAME.fullmatch(host.removeprefix("*.")):
            return x509.DNSName(host)
    raise ConfigurationError(f"{text!r} is neither a host name nor an IP address") from None


def named_certificates(settings: Settings) -> CertificateFiles | None:
    """The files that the settings name, if any. Raises `ConfigurationError` when one is missing."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    for file in (settings.tls_cert, settings.tls_key):
        if not file.is_file():
            raise ConfigurationError(f"{file}: there is no such file")
    return CertificateFiles(settings.tls_cert, settings.tls_key, None)


def issue(
    folder: Path,
    host: str,
    now: datetime,
    own_name: str = "default.localhost",
    names: Iterable[x509.GeneralName] = (),
) -> CertificateFiles:
    """Authority and certificate in `folder`: made when missing, renewed when near their end or a name is missing.

    Names that were asked for once stay. An authority that may not vouch for one of them is replaced.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = CertificateFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem")
    authority = _load(folder / "ca.pem", folder / "ca.key")
    leaf = _load(files.certificate, files.key)
    names = list(names)
    wanted = _union(_standard_names(own_name), names, _names_of(leaf[0]) if leaf else ())
    if authority is None or _is_ending(authority[0], now) or not _permits_all(authority[0], names):
        authority = _make_authority(host, now, wanted)
        _save(folder / "ca.pem", folder / "ca.key", *authority)
    subtrees = _subtrees(authority[0])
    hosts = [name for name in subtrees if isinstance(name, x509.DNSName)]
    wanted = [name for name in _union(wanted, hosts) if _is_permitted(name, subtrees)]
    if leaf is None or _is_ending(leaf[0], now) or not _fits(leaf[0], authority[0], wanted):
        _save(files.certificate, files.key, *_make_leaf(*authority, now, wanted))
    return files


def _standard_names(own_name: str) -> list[x509.GeneralName]:
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    return [x509.DNSName("localhost"), x509.DNSName("*.localhost"), x509.DNSName(own_name), *addresses]


def _subtrees(authority: x509.Certificate) -> list[x509.GeneralName]:
    return authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []


def _permits_all(authority: x509.Certificate, names: Iterable[x509.GeneralName]) -> bool:
    return all(_is_permitted(name, _subtrees(authority)) for name in names)


def _is_permitted(name: x509.GeneralName, subtrees: Iterable[x509.GeneralName]) -> bool:
    """Whether an authority with these constraints may vouch for this name."""
    for subtree in subtrees:
        if isinstance(name, x509.DNSName) and isinstance(subtree, x509.DNSName):
            host = name.value.removeprefix("*.")
            if host == subtree.value or host.endswith(f".{subtree.value}"):
                return True
        elif isinstance(name, x509.IPAddress) and isinstance(subtree, x509.IPAddress):
            address, network = name.value, subtree.value
            if isinstance(network, ipaddress.IPv4Network | ipaddress.IPv6Network) and address in network:
                return True
    return False


def _subtree(name: x509.GeneralName) -> x509.GeneralName:
    """The smallest constraint under which an authority may vouch for this name."""
    if isinstance(name, x509.IPAddress):
        return x509.IPAddress(ipaddress.ip_network(name.value))
    return x509.DNSName(str(name.value).removeprefix("*."))


def _make_authority(
    host: str, now: datetime, names: Iterable[x509.GeneralName]
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    title = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Fanway"),
            x509.NameAttribute(
                NameOID.COMMON_NAME, f"Fanway development authority {x509.random_serial_number():x}"[:64]
            ),
        ]
    )
    subtrees: list[x509.GeneralName] = [x509.DNSName("localhost")]  # and everything below it
    if _DNS_NAME.fullmatch(host) and host != "localhost":
        subtrees.append(x509.DNSName(host))
    subtrees += [x509.IPAddress(ipaddress.ip_network(net)) for net in ("127.0.0.0/8", "::1/128")]
    subtrees = _union(subtrees, [_subtree(name) for name in names if not _is_permitted(name, subtrees)])
    certificate = (
        _builder(title, title, key.public_key(), key.public_key(), now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.NameConstraints(permitted_subtrees=subtrees, excluded_subtrees=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _make_leaf(
    authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey, now: datetime, names: list[x509.GeneralName]
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        _builder(subject, authority.subject, key.public_key(), authority_key.public_key(), now, LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return certificate, key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks of containers and hosts differ
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _is_ending(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_after_utc - now < RENEW_BEFORE


def _fits(leaf: x509.Certificate, authority: x509.Certificate, wanted: Iterable[x509.GeneralName]) -> bool:
    """Whether the certificate is this authority's and names all that is wanted."""
    try:
        leaf.verify_directly_issued_by(authority)
    except Exception:  # whatever is wrong with it, another one is made
        return False
    return set(wanted) <= set(_names_of(leaf))


def _names_of(leaf: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (x509.ExtensionNotFound, ValueError):
        return []


def _union(*groups: Iterable[x509.GeneralName]) -> list[x509.GeneralName]:
    """Each name once, in order."""
    return list(dict.fromkeys(name for group in groups for name in group))


def _load(certificate: Path, key: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    """The pair when both files are there and belong together."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or loaded.public_key() != private.public_key():
        return None
    return loaded, private


def _save(
    certificate_file: Path, key_file: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_secret(key_file, pem)
    write_secret(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
