"""The settings group `identity`: what cannot be is refused at the start, with its place and never with a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokens import EC_KEY, OTHER_RSA_KEY, SECRET, public_pem

from app.config import ConfigurationError, load_settings
from app.identity import RELAY_AUDIENCES
from app.startup import open_vouchers
from app.tls import check_certificates

SIGNER = {"name": "app", "algorithm": "HS256", "key": SECRET}
ISSUER = {"issuer": "https://login.example"}
CERTIFICATE = {"san": "DNS:a", "rights": ["Send"]}


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ({"issuers": [{}]}, "identity.issuers[0].issuer: Field required"),
        ({"issuers": [{"issuer": "login.example"}]}, "http or https URL"),
        ({"issuers": [{"issuer": "http://login.example"}]}, "by https"),
        ({"issuers": [{"issuer": "x", "jwks_uri": "http://169.254.169.254/"}]}, "by https"),
        ({"issuers": [{"issuer": "x", "jwks_uri": "file:///keys"}]}, "http or https URL"),
        ({"issuers": [{**ISSUER, "audiences": []}]}, "at least 1"),
        ({"issuers": [ISSUER, ISSUER]}, "twice"),
        ({"issuers": [{**ISSUER, "grants": [{"claim": "a", "value": "b", "rights": ["Fly"]}]}]}, "rights[0]"),
        (
            {"issuers": [{**ISSUER, "grants": [{"claim": "a", "value": "b", "rights": ["Send"], "relays": ["**"]}]}]},
            "begins with a wildcard",
        ),
        ({"signers": [{"name": "app", "algorithm": "HS256"}]}, "either key or key_file"),
        ({"signers": [{**SIGNER, "key_file": "x"}]}, "either key or key_file"),
        ({"signers": [{**SIGNER, "algorithm": "none"}]}, "algorithm"),
        ({"signers": [SIGNER, SIGNER]}, "same name"),
        ({"signers": [{**SIGNER, "name": "a b"}]}, "name"),
        ({"signers": [{**SIGNER, "secret": "x"}]}, "is not known here"),
        ({"certificates": [CERTIFICATE]}, "client_ca"),
        ({"client_ca": "ca.pem", "certificates": [{"rights": ["Send"]}]}, "either san or subject"),
        ({"client_ca": "ca.pem", "certificates": [{**CERTIFICATE, "subject": ["CN=a"]}]}, "either san or subject"),
        ({"client_ca": "ca.pem", "certificates": [{"subject": ["a"], "rights": ["Send"]}]}, "should be a list such as"),
        ({"client_ca": "ca.pem", "certificates": [{"san": "a", "rights": ["Send"]}]}, "san"),
        ({"ticket_seconds": 0}, "ticket_seconds"),
    ],
)
def test_what_cannot_be_is_refused(identity: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"identity": identity})
    assert words in str(refused.value)
    assert str(refused.value).startswith("identity")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("signer", "words"),
    [
        ({"algorithm": "HS256", "key": "short"}, "at least 32 bytes"),
        ({"algorithm": "RS256", "key": SECRET}, "not a PEM public key"),
        ({"algorithm": "RS256", "key": public_pem(EC_KEY).decode()}, "does not suit RS256"),
        ({"algorithm": "ES256", "key": public_pem(OTHER_RSA_KEY).decode()}, "does not suit ES256"),
        ({"algorithm": "RS256", "key_file": "nowhere.pem"}, "No such file"),
    ],
)
def test_a_key_that_cannot_be_used_stops_the_start(signer: dict[str, Any], words: str) -> None:
    settings = load_settings({"identity": {"signers": [{"name": "app", **signer}]}})
    with pytest.raises(ConfigurationError, match=words) as refused:
        open_vouchers(settings)
    assert str(refused.value).startswith("identity: app: ")
    assert SECRET not in str(refused.value)


def test_a_key_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    (tmp_path / "public.pem").write_bytes(public_pem(EC_KEY))
    signers = [
        {"name": "one", "algorithm": "HS256", "key_file": tmp_path / "secret"},
        {"name": "two", "algorithm": "ES256", "key_file": tmp_path / "public.pem"},
    ]
    open_vouchers(load_settings({"identity": {"signers": signers}}))


def test_an_authority_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    settings = load_settings({"identity": {"client_ca": tmp_path / "nowhere.pem"}, "data": tmp_path})
    with pytest.raises(ConfigurationError, match=r"nowhere\.pem: no authority of client certificates"):
        check_certificates(settings)


def test_secrets_are_not_shown() -> None:
    settings = load_settings({"identity": {"signers": [SIGNER]}})
    assert SECRET not in repr(settings)


def test_what_is_left_out_is_azures() -> None:
    [issuer] = load_settings({"identity": {"issuers": [ISSUER]}}).identity.issuers
    assert issuer.audiences == RELAY_AUDIENCES
    held = {(grant.claim, grant.value): grant.rights for grant in issuer.grants}
    assert held["roles", "Azure Relay Owner"] == ("Manage",)
    assert held["scp", "Listen"] == held["roles", "Azure Relay Listener"] == ("Listen",)
