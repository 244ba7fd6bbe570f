"""A local certificate authority for development, and the certificate it issues for this machine.

The authority's name constraints (RFC 5280, 4.2.1.10) let it vouch for loopback and this host name only, so
trusting it costs little. It is written into the data folder; no system store is touched.
"""

from __future__ import annotations

import ipaddress
import re
import socket
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
    settings: Settings, folder: DataFolder, now: datetime | None = None
) -> CertificateFiles | None:
    """The files to serve TLS with, made or renewed where the settings ask for it; None when TLS is off.

    Raises `ConfigurationError` when named files are missing, OSError when the folder cannot be written.
    """
    if settings.tls_bind is None:
        return None
    named = named_certificates(settings)
    if named is not None:
        return named
    own_name = f"{settings.namespace.lower()}.localhost"  # OpenSSL takes no wildcard for a top-level name
    return issue(folder.tls, socket.gethostname().lower(), now or datetime.now(UTC), own_name)


def named_certificates(settings: Settings) -> CertificateFiles | None:
    """The files that the settings name, if any. Raises `ConfigurationError` when one is missing."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    for file in (settings.tls_cert, settings.tls_key):
        if not file.is_file():
            raise ConfigurationError(f"{file}: there is no such file")
    return CertificateFiles(settings.tls_cert, settings.tls_key, None)


def issue(folder: Path, host: str, now: datetime, own_name: str = "default.localhost") -> CertificateFiles:
    """Authority and certificate in `folder`: made when missing, renewed when near their end."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = CertificateFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem")
    authority = _load(folder / "ca.pem", folder / "ca.key")
    if authority is None or _is_ending(authority[0], now):
        authority = _make_authority(host, now)
        _save(folder / "ca.pem", folder / "ca.key", *authority)
    leaf = _load(files.certificate, files.key)
    if leaf is None or _is_ending(leaf[0], now) or not _fits(leaf[0], authority[0], own_name):
        _save(files.certificate, files.key, *_make_leaf(*authority, now, own_name))
    return files


def _make_authority(host: str, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Fanway"),
            x509.NameAttribute(
                NameOID.COMMON_NAME, f"Fanway development authority {x509.random_serial_number():x}"[:64]
            ),
        ]
    )
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]  # and everything below it
    if _DNS_NAME.fullmatch(host) and host != "localhost":
        names.append(x509.DNSName(host))
    names += [x509.IPAddress(ipaddress.ip_network(net)) for net in ("127.0.0.0/8", "::1/128")]
    certificate = (
        _builder(name, name, key.public_key(), key.public_key(), now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.NameConstraints(permitted_subtrees=names, excluded_subtrees=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _make_leaf(
    authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey, now: datetime, own_name: str
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    permitted = authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    hosts = [name.value for name in permitted if isinstance(name, x509.DNSName)]
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName("*.localhost"), x509.DNSName(own_name)]
    names += [x509.DNSName(host) for host in hosts if host != "localhost"]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
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


def _fits(leaf: x509.Certificate, authority: x509.Certificate, own_name: str) -> bool:
    """Whether the certificate is this authority's and names the namespace."""
    try:
        leaf.verify_directly_issued_by(authority)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # whatever is wrong with it, another one is made
        return False
    return own_name in names.get_values_for_type(x509.DNSName)


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
