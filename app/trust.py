"""How each kind of client is told to trust the development certificate: one recipe each, written once.

No system store is touched: every recipe is for one program or one shell.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from app.store.folder import write_secret

TRUSTSTORE_PASSWORD = "changeit"  # Java's own default; a truststore holds no secret


class Recipe(NamedTuple):
    """What to do for one client, a shell command or an argument a line."""

    client: str
    lines: tuple[str, ...]


def recipes(authority: Path, truststore: Path | None = None) -> list[Recipe]:
    """A recipe for each client that trusts `authority`; with a truststore made already Java needs no keytool."""
    ca = shlex.quote(str(authority))
    store = shlex.quote(str(truststore or "fanway.p12"))
    keytool = (
        f"keytool -importcert -noprompt -alias fanway -file {ca} "
        f"-keystore {store} -storetype PKCS12 -storepass {TRUSTSTORE_PASSWORD}"
    )
    properties = f"-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStorePassword={TRUSTSTORE_PASSWORD}"
    return [
        Recipe("Node", (f"export NODE_EXTRA_CA_CERTS={ca}",)),
        Recipe("Python", (f"export SSL_CERT_FILE={ca}",)),
        Recipe(".NET", (f"export SSL_CERT_FILE={ca}",)),
        Recipe("Java", (f"java {properties}",) if truststore else (keytool, f"java {properties}")),
        Recipe("curl", (f"curl --cacert {ca}",)),
    ]


def show(authority: Path, truststore: Path | None = None) -> list[str]:
    """The recipes as lines for a terminal."""
    return [
        f"  {recipe.client if number == 0 else '':<7} {line}"
        for recipe in recipes(authority, truststore)
        for number, line in enumerate(recipe.lines)
    ]


def write_truststore(authority: Path, file: Path) -> None:
    """A PKCS #12 truststore for Java with the authority in it. Raises OSError."""
    certificate = x509.load_pem_x509_certificate(authority.read_bytes())
    entry = pkcs12.PKCS12Certificate(certificate, b"fanway")
    content = pkcs12.serialize_java_truststore([entry], BestAvailableEncryption(TRUSTSTORE_PASSWORD.encode()))
    write_secret(file, content)
