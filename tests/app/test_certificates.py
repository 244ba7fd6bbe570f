"""The development certificate: accepted by TLS clients in strict mode, constrained, renewed, kept private."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certificates
import pytest
from cryptography import x509

from app.certificates import development_certificate, issue, prepare_certificates, read_host
from app.config import ConfigurationError, load_settings
from app.store.folder import DataFolder

NOW = datetime.now(UTC)


def shake_hands(folder: Path, host: str) -> None:
    """A TLS handshake in memory with the files of `folder`; raises SSLCertVerificationError."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem", folder / "server.key")
    client = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # Python's default from 3.13
    certificates.shake_hands(server, client, host)


def test_certificate_is_good_for_this_machine_only(tmp_path: Path) -> None:
    issue(tmp_path, "workstation", NOW)
    for host in ("localhost", "default.localhost", "127.0.0.1", "::1", "workstation"):
        shake_hands(tmp_path, host)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tmp_path, "relay.example")


def test_authority_cannot_vouch_for_other_names(tmp_path: Path) -> None:
    files = issue(tmp_path, "workstation", NOW)
    assert files.authority is not None
    authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert [str(name.value) for name in constraints.value.permitted_subtrees or []] == [
        "localhost",
        "workstation",
        "127.0.0.0/8",
        "::1/128",
    ]


def test_files_are_the_owners_only(tmp_path: Path) -> None:
    """S70: keys of certificates have mode 0600 too."""
    issue(tmp_path / "tls", "workstation", NOW)
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "tls").iterdir()} == dict.fromkeys(
        ("ca.pem", "ca.key", "server.pem", "server.key"), 0o600
    )


def test_certificate_is_reused_then_renewed_under_the_same_authority(tmp_path: Path) -> None:
    files = issue(tmp_path, "workstation", NOW)
    assert files.authority is not None
    before, authority = files.certificate.read_bytes(), files.authority.read_bytes()
    issue(tmp_path, "workstation", NOW + timedelta(days=300))
    assert files.certificate.read_bytes() == before
    issue(tmp_path, "renamed", NOW + timedelta(days=340))
    assert files.certificate.read_bytes() != before
    assert files.authority.read_bytes() == authority
    issue(tmp_path, "workstation", NOW + timedelta(days=3630))
    assert files.authority.read_bytes() != authority


@pytest.mark.parametrize("name", ["ca.key", "server.key", "server.pem", "ca.pem"])
def test_lost_or_damaged_file_is_made_again(name: str, tmp_path: Path) -> None:
    issue(tmp_path, "workstation", NOW)
    (tmp_path / name).write_text("damaged")
    issue(tmp_path, "workstation", NOW)
    shake_hands(tmp_path, "localhost")


def test_namespace_of_another_name_gets_its_certificate(tmp_path: Path) -> None:
    issue(tmp_path, "workstation", NOW)
    issue(tmp_path, "workstation", NOW, "other.localhost")
    shake_hands(tmp_path, "other.localhost")


def test_odd_host_name_is_left_out(tmp_path: Path) -> None:
    issue(tmp_path, "my_büro", NOW)
    shake_hands(tmp_path, "localhost")


def test_settings_decide_which_certificate_is_used(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    assert prepare_certificates(load_settings({"tls": False}), folder) is None
    made = prepare_certificates(load_settings(), folder)
    assert made is not None
    assert made.authority == tmp_path / "tls" / "ca.pem"
    named = load_settings({"tls_cert": made.certificate, "tls_key": made.key})
    own = prepare_certificates(named, folder)
    assert own == (made.certificate, made.key, None)
    with pytest.raises(ConfigurationError, match="no such file"):
        prepare_certificates(load_settings({"tls_cert": tmp_path / "a", "tls_key": made.key}), folder)


def test_further_hosts_are_vouched_for_by_a_new_authority_and_stay(tmp_path: Path) -> None:
    before = NOW - timedelta(days=340)
    files = issue(tmp_path, "workstation", before)
    assert files.authority is not None
    first = files.authority.read_bytes()
    names = [read_host(host) for host in ("Relay.test", "*.relay.test", "10.1.2.3", "fd00::1")]
    issue(tmp_path, "workstation", before, names=names)
    second = files.authority.read_bytes()
    assert second != first
    issue(tmp_path, "workstation", NOW)  # renewed by a start that does not name them
    assert files.authority.read_bytes() == second
    for host in ("localhost", "workstation", "relay.test", "shop.relay.test", "10.1.2.3", "fd00::1"):
        shake_hands(tmp_path, host)
    for host in ("elsewhere.test", "10.1.2.4"):
        with pytest.raises(ssl.SSLCertVerificationError):
            shake_hands(tmp_path, host)


def test_host_within_the_constraints_needs_no_new_authority(tmp_path: Path) -> None:
    files = issue(tmp_path, "workstation", NOW)
    assert files.authority is not None
    before = files.authority.read_bytes()
    issue(tmp_path, "workstation", NOW, names=[read_host("127.1.2.3"), read_host("deep.shop.localhost")])
    assert files.authority.read_bytes() == before
    shake_hands(tmp_path, "127.1.2.3")
    shake_hands(tmp_path, "deep.shop.localhost")


@pytest.mark.parametrize("host", ["", "*", "a b", "-a.test", "a..test", "http://a.test", "a.test:443", "*.*.test"])
def test_host_that_no_certificate_can_name_is_refused(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="neither a host name nor an IP address"):
        development_certificate(load_settings(), DataFolder(tmp_path), [host])
    assert list(tmp_path.iterdir()) == []
