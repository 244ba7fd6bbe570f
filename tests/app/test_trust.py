"""Recipes by which clients trust the development certificate: on the terminal and in the documentation alike."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import pkcs12

from app.certificates import issue
from app.trust import TRUSTSTORE_PASSWORD, recipes, show, write_truststore

ROOT = Path(__file__).parents[2]


def test_documentation_shows_every_recipe_as_it_is_printed() -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    shown = [line for recipe in recipes(Path(".fanway/tls/ca.pem")) for line in recipe.lines]
    assert len(shown) == 6
    assert [line for line in shown if f"`{line}`" not in page] == []


def test_path_with_blanks_is_quoted() -> None:
    text = "\n".join(show(Path("my data/ca.pem"), Path("my trust.p12")))
    assert "NODE_EXTRA_CA_CERTS='my data/ca.pem'" in text
    assert "trustStore='my trust.p12'" in text


def test_truststore_holds_the_authority_alone(tmp_path: Path) -> None:
    files = issue(tmp_path, "workstation", datetime.now(UTC))
    assert files.authority is not None
    write_truststore(files.authority, tmp_path / "fanway.p12")
    held = pkcs12.load_pkcs12((tmp_path / "fanway.p12").read_bytes(), TRUSTSTORE_PASSWORD.encode())
    assert (held.key, held.cert, len(held.additional_certs)) == (None, None, 1)
    assert held.additional_certs[0].friendly_name == b"fanway"
    assert stat.S_IMODE((tmp_path / "fanway.p12").stat().st_mode) == 0o600
