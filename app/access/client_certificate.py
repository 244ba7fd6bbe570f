"""Client certificates: who somebody is by the certificate that TLS has verified, and what that gives.

A certificate is known by exactly one of its names, as it stands in it: a name of its subjectAltName, or its whole
subject, one attribute after the other in its own order. Nothing is guessed: a certificate with a control character in a
name, with several attributes in one step of its subject, or with several names that are known, is nobody's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

from app.access.grant import Bearer, Grant
from app.access.voucher import limit_of
from app.identity import EVERY_NAMESPACE, Certificate
from app.namespace import Mark, Namespace, Right, fold

NAMES = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.COUNTRY_NAME: "C",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.SERIAL_NUMBER: "SERIALNUMBER",
    NameOID.USER_ID: "UID",
}
"""Short names of attribute types (RFC 4514, 3, and X.520); others are written as numbers."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a certificate calls its holder: `DNS:`, `URI:` and `email:` names, and the attributes of its subject."""

    alternative: frozenset[str]
    subject: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A certificate that TLS has verified: its names, and until when it is good, in unix seconds."""

    names: Names
    expires_at: float


Credential = str | ClientCertificate
"""What a caller shows: a token's text, or the certificate of its connection."""


def read_certificate(der: bytes) -> ClientCertificate | None:
    """A certificate that TLS has verified; None when one of its names could be taken for another."""
    names = names_in(der)
    if names is None:
        return None
    return ClientCertificate(names, x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp())


def names_in(der: bytes) -> Names | None:
    """The names in a certificate; None when one of them could be taken for another."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        subject = _subject(certificate.subject)
        alternative = frozenset(_alternative(certificate))
    except ValueError:
        return None
    if subject is None or not all(_is_plain(name) for name in (*alternative, *subject)):
        return None
    return Names(alternative, subject)


class Certificates:
    """The certificates that the settings name. `namespace` is the gateway's own, meant where none is named."""

    def __init__(self, settings: Sequence[Certificate], namespace: str) -> None:
        self._own = fold(namespace)
        self._known = [(each, limit_of(each.rights, each.relays)) for each in settings]

    def grant(self, certificate: ClientCertificate, namespace: Namespace) -> Grant | None:
        """What the holder of a verified certificate may do in a namespace; None when the settings do not name it."""
        names = certificate.names
        found = [
            (each, limit)
            for each, limit in self._known
            if (each.san in names.alternative if each.san is not None else each.subject == names.subject)
            and self._is_meant(each, namespace)
        ]
        if len(found) != 1:
            return None
        [(known, limit)] = found
        rights = Right.NONE
        for allowance in limit:
            rights |= allowance.rights
        name = known.san or ",".join(known.subject)
        marks = (Mark("sub", name),)
        bearer = Bearer(f"certificate {name}")
        return Grant(namespace, rights, None, "", "", "", certificate.expires_at, (limit,), bearer, marks)

    def _is_meant(self, known: Certificate, namespace: Namespace) -> bool:
        if known.namespace == EVERY_NAMESPACE:
            return True
        return fold(namespace.name) == (self._own if known.namespace is None else fold(known.namespace))


def _subject(name: x509.Name) -> tuple[str, ...] | None:
    found = []
    for step in name.rdns:
        attributes = list(step)
        if len(attributes) != 1 or not isinstance(attributes[0].value, str):
            return None
        kind = NAMES.get(attributes[0].oid, attributes[0].oid.dotted_string)
        found.append(f"{kind}={attributes[0].value}")
    return tuple(found)


def _alternative(certificate: x509.Certificate) -> list[str]:
    try:
        value = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        return []
    assert isinstance(value, x509.SubjectAlternativeName)
    return [
        *(f"DNS:{name}" for name in value.get_values_for_type(x509.DNSName)),
        *(f"URI:{name}" for name in value.get_values_for_type(x509.UniformResourceIdentifier)),
        *(f"email:{name}" for name in value.get_values_for_type(x509.RFC822Name)),
    ]


def _is_plain(name: str) -> bool:
    return name.isprintable()
