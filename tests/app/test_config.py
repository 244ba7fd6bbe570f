"""Settings: precedence, refusals that name the path, what is derived from the listeners."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.config import ConfigurationError, Settings, load_settings
from app.hosts import Bind, parse_bind


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("FANWAY_")]:
        monkeypatch.delenv(name)


def test_defaults_are_valid_and_loopback_only() -> None:
    """S69: without configuration nothing but this machine reaches the gateway."""
    settings = load_settings()
    assert (settings.plain_bind, settings.tls_bind) == (Bind("127.0.0.1", 8480), Bind("127.0.0.1", 8443))
    assert settings.is_loopback
    assert settings.uses_dev_tls
    assert settings.allows_dynamic_relays


def test_public_bind_turns_the_conveniences_of_development_off() -> None:
    """S69: on a public interface no relay comes into being by use, and no local authority is made."""
    settings = load_settings({"listen": "0.0.0.0:8480"})
    assert (settings.is_loopback, settings.uses_dev_tls, settings.allows_dynamic_relays) == (False, False, False)
    assert settings.tls_bind is None
    assert not load_settings({"tls_listen": "0.0.0.0:8443"}).is_loopback
    asked = load_settings({"listen": "0.0.0.0:8480", "dev_tls": True})
    assert asked.tls_bind == Bind("0.0.0.0", 8443)


def test_flags_win_over_variables_over_file_over_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "fanway.toml"
    file.write_text('namespace = "file"\nlog_level = "error"\ndata = "from-file"\n[limits]\nurl_bytes = 1000\n')
    monkeypatch.setenv("FANWAY_NAMESPACE", "variable")
    monkeypatch.setenv("FANWAY_LOG_LEVEL", "debug")
    monkeypatch.setenv("FANWAY_LIMITS__HEAD_BYTES", "2048")
    settings = load_settings({"namespace": "flag"}, file)
    assert (settings.namespace, settings.log_level, settings.data) == ("flag", "debug", Path("from-file"))
    assert (settings.limits.head_bytes, settings.limits.url_bytes) == (2048, 1000)
    monkeypatch.setenv("FANWAY_CONFIG", str(file))
    assert load_settings().data == Path("from-file")


def test_what_azure_leaves_open_is_chosen_like_any_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "fanway.toml"
    file.write_text('[azure]\nno_listener_request = 502\nclose_deleted = 4001\nno_listener_words = "Nobody is in."\n')
    monkeypatch.setenv("FANWAY_AZURE__HEADER_BEFORE_QUERY", "false")
    azure = load_settings(file=file).azure
    assert (azure.no_listener_socket, azure.no_listener_request, azure.close_deleted) == (404, 502, 4001)
    assert (azure.no_listener_words, azure.header_before_query) == ("Nobody is in.", False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[azure]\nclose_deleted = 1006", "azure.close_deleted: should be a WebSocket close code"),
        ("[azure]\nno_listener_socket = 200", "azure.no_listener_socket: Input should be greater"),
        ("listn = 1", "listn: is not known here"),
        ("[limits]\nhead_bites = 1", "limits.head_bites: is not known here"),
        ("[limits]\nhead_bytes = 'many'", "limits.head_bytes: Input should be a valid integer"),
        ("listen = 'here'", "listen: should be HOST:PORT"),
        ("advertise = 'relay.example'", "advertise: String should match"),
        ("tls_cert = 'a.pem'", "tls_cert and tls_key: give both or neither"),
        ("= 1", "not TOML"),
    ],
)
def test_wrong_file_is_refused_with_the_path(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "fanway.toml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=message.replace(".", r"\.")):
        load_settings(file=file)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_settings(file=tmp_path / "none.toml")


def test_unknown_variable_is_refused_but_not_the_clients_nor_those_of_kubernetes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("FANWAY_URL", "FANWAY_KEY", "FANWAY_SERVICE_HOST", "FANWAY_PORT_8480_TCP"):
        monkeypatch.setenv(name, "x")
    load_settings()
    monkeypatch.setenv("FANWAY_LISTENN", "x")
    with pytest.raises(ConfigurationError, match="FANWAY_LISTENN: is not known here"):
        load_settings()


def test_variable_of_a_list_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANWAY_CORS_ORIGINS", '["https://a.example"]')
    assert load_settings().cors_origins == ("https://a.example",)
    monkeypatch.setenv("FANWAY_CORS_ORIGINS", "https://a.example")
    with pytest.raises(ConfigurationError, match="cors_origins"):
        load_settings()


def test_tls_follows_a_free_port_and_can_be_turned_off() -> None:
    assert load_settings({"listen": "127.0.0.1:0"}).tls_bind == Bind("127.0.0.1", 0)
    assert load_settings({"listen": "127.0.0.1:0", "tls_listen": "127.0.0.1:9"}).tls_bind == Bind("127.0.0.1", 9)
    assert load_settings({"tls": False}).tls_bind is None
    assert load_settings({"dev_tls": False}).tls_bind is None


@pytest.mark.parametrize("text", ["8480", ":8480", "a:", "a:x", "a:65536", "::1:80", "[::1]", "[a]b:1", "a:-1", "a:٣"])
def test_what_is_no_bind_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="should"):
        parse_bind(text)


def test_ipv6_bind_loses_its_brackets() -> None:
    assert parse_bind("[::1]:80") == Bind("::1", 80)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().namespace = "other"  # type: ignore[misc]
