"""Certificates by the host that a TLS client asks for, and their renewal."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from certificates import make_pair, names_of, served_to

from app.config import ConfigurationError
from app.edge.tls import CertificatePair, TlsContexts, load_pair
from app.hosts import Hosts
from app.namespace import Namespace

NOW = datetime.now(UTC)


@pytest.fixture
def pairs(tmp_path: Path) -> dict[str, CertificatePair]:
    names = ("default.example", "one.example", "*.wild.example", "two.example")
    return {name: make_pair(tmp_path / name.strip("*."), name) for name in names}


@pytest.fixture
def contexts(pairs: dict[str, CertificatePair]) -> TlsContexts:
    hosts = Hosts([Namespace("main"), Namespace("Tenant", {"also.example": "", "one.example": ""})], is_loopback=False)
    named = {
        "one.example": pairs["one.example"],
        "*.wild.example": pairs["*.wild.example"],
        "tenant": pairs["two.example"],
    }
    return TlsContexts(hosts, pairs["default.example"], named)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("one.example", "one.example"),  # its own goes before its namespace's
        ("ONE.example", "one.example"),
        ("a.wild.example", "*.wild.example"),
        ("a.b.wild.example", "default.example"),
        ("wild.example", "default.example"),
        ("also.example", "two.example"),
        ("tenant.localhost", "two.example"),
        ("main", "default.example"),
        ("unknown.example", "default.example"),
        (None, "default.example"),
    ],
)
def test_the_certificate_is_that_of_the_host_which_is_asked_for(
    contexts: TlsContexts, asked: str | None, shown: str
) -> None:
    assert names_of(served_to(contexts.context, asked)) == [shown]


def test_a_pair_that_was_replaced_is_shown_to_who_comes_then(
    contexts: TlsContexts, pairs: dict[str, CertificatePair], tmp_path: Path
) -> None:
    contexts.reload()
    before = served_to(contexts.context, "one.example")
    fresh = make_pair(tmp_path / "fresh", "renewed.example")
    for old, new in zip(pairs["one.example"], fresh, strict=True):
        new.replace(old)
    assert served_to(contexts.context, "one.example") == before, "nobody has looked yet"
    contexts.reload()
    assert names_of(served_to(contexts.context, "one.example")) == ["renewed.example"]
    assert names_of(served_to(contexts.context, None)) == ["default.example"]


def test_a_default_that_was_replaced_is_shown_to_who_asks_for_nothing(
    contexts: TlsContexts, pairs: dict[str, CertificatePair], tmp_path: Path
) -> None:
    fresh = make_pair(tmp_path / "fresh", "renewed.example")
    for old, new in zip(pairs["default.example"], fresh, strict=True):
        new.replace(old)
    contexts.reload()
    assert names_of(served_to(contexts.context, None)) == ["renewed.example"]


def test_a_broken_pair_changes_nothing_and_is_told_once(
    contexts: TlsContexts, pairs: dict[str, CertificatePair], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """S68"""
    pair = pairs["one.example"]
    before = served_to(contexts.context, "one.example")
    fresh = make_pair(tmp_path / "fresh", "renewed.example")
    fresh.certificate.replace(pair.certificate)  # its key comes later, as when two files are copied
    for _ in range(3):
        contexts.reload()
    assert served_to(contexts.context, "one.example") == before
    [record] = caplog.records
    assert str(pair.certificate) in record.message
    assert "stays in use" in record.message
    fresh.key.replace(pair.key)
    contexts.reload()
    assert names_of(served_to(contexts.context, "one.example")) == ["renewed.example"]
    pair.key.unlink()
    contexts.reload()
    assert names_of(served_to(contexts.context, "one.example")) == ["renewed.example"]


def test_the_oldest_version_is_1_2_or_what_is_wanted(pairs: dict[str, CertificatePair]) -> None:
    pair, hosts = pairs["default.example"], Hosts([], is_loopback=False)
    for minimum, maximum, is_good in (
        ("TLSv1_2", "TLSv1_2", True),
        ("TLSv1_3", "TLSv1_3", True),
        ("TLSv1_3", "TLSv1_2", False),
    ):
        # With a certificate of the host's own too: the version is settled before that is chosen.
        contexts = TlsContexts(hosts, pair, {"one.example": pairs["one.example"]}, ssl.TLSVersion[minimum])
        if is_good:
            assert served_to(contexts.context, "one.example", ssl.TLSVersion[maximum])
        else:
            with pytest.raises(ssl.SSLError):
                served_to(contexts.context, "one.example", ssl.TLSVersion[maximum])


def test_a_pair_that_is_none_is_refused_naming_the_files(tmp_path: Path, pairs: dict[str, CertificatePair]) -> None:
    (tmp_path / "empty.pem").touch()
    one, two = pairs["one.example"], pairs["two.example"]
    for pair in (
        CertificatePair(one.certificate, two.key),
        CertificatePair(tmp_path / "empty.pem", one.key),
        CertificatePair(tmp_path / "missing.pem", one.key),
    ):
        with pytest.raises(ConfigurationError, match="no certificate with its key") as refused:
            load_pair(pair)
        assert str(pair.certificate) in str(refused.value)


def test_a_key_with_a_password_is_refused_without_asking_anybody(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        load_pair(make_pair(tmp_path / "locked", "locked.example", password=b"secret"))
