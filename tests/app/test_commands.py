"""The gateway's commands: options from the settings, exit codes, what `serve` prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.commands import banner, check, commands, dev_cert, migrate, own_command, ready_line, serve
from app.config import Settings
from app.started import Started

KEY = "c2VjcmV0"


def started(**over: object) -> Started:
    given = {
        "url": "http://127.0.0.1:8480",
        "tls_url": "https://localhost:8443",
        "namespace": "default",
        "data": Path(".fanway"),
        "is_first_start": True,
        "key_name": "RootManageSharedAccessKey",
        "key": KEY,
        "ca": Path(".fanway/tls/ca.pem"),
    }
    return Started(**(given | over))  # type: ignore[arg-type]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    return CliRunner()


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that `serve` ran a gateway with; it starts and ends at once."""
    seen: list[Settings] = []

    def run(settings: Settings, announce) -> int:  # type: ignore[no-untyped-def]
        seen.append(settings)
        announce(started())
        return 0

    monkeypatch.setattr("app.gateway.run", run)
    return seen


def test_every_command_has_an_example() -> None:
    assert [command.name for command in commands] == ["serve", "migrate", "check", "dev-cert"]
    for command in commands:
        assert f"fanway {command.name}" in (command.help or "")


def test_flags_reach_the_settings(shell: CliRunner, ran: list[Settings]) -> None:
    flags = "--listen 127.0.0.1:0 --no-tls --data d --namespace n --dynamic-relays --log-level debug".split()
    result = shell.invoke(serve, flags)
    assert result.exit_code == 0, result.output
    settings = ran[0]
    assert (settings.listen, settings.tls, settings.data, settings.namespace) == ("127.0.0.1:0", False, Path("d"), "n")
    assert (settings.dynamic_relays, settings.log_level, settings.dev_tls) == (True, "debug", None)


def test_json_line_is_one_line_without_a_key(shell: CliRunner, ran: list[Settings]) -> None:
    """S70: the key never goes to where machines read."""
    output = shell.invoke(serve, ["--json"]).output
    assert output.count("\n") == 1
    line = json.loads(output)
    assert (line["event"], line["url"], line["tls_url"]) == ("ready", "http://127.0.0.1:8480", "https://localhost:8443")
    assert KEY not in ready_line(started())


def test_key_is_shown_on_the_first_start_only() -> None:
    """S69: once, with the place where it lies; later only the place."""
    endpoint = "Endpoint=sb://localhost:8443/"
    first, second = banner(started()), banner(started(is_first_start=False))
    assert f"{endpoint};SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey={KEY}" in first
    assert endpoint in second
    assert KEY not in second
    assert ".fanway/root.key" in first
    assert ".fanway/root.key" in second
    plain = banner(started(tls_url=None, ca=None))
    assert plain.count(KEY) == 1
    assert "NODE_EXTRA_CA_CERTS" not in plain


def test_banner_gives_commands_to_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["python"])
    lines = [line.strip() for line in banner(started()).splitlines()]
    for command in (
        "fanway subscribe 'orders/**'",
        "fanway publish orders/eu/7 '{\"total\": 42}'",
        "fanway listen shop --to localhost:3000",
        'curl -H "Authorization: $(fanway token orders --send)" -d \'{"total": 42}\' '
        "http://127.0.0.1:8480/-/events/orders/eu/7",
    ):
        assert command in lines


def test_banner_provisions_first_where_relays_do_not_come_by_use() -> None:
    text = banner(started(allows_dynamic_relays=False))
    assert text.index("relay add orders") < text.index("subscribe 'orders/**'")
    assert "relay add shop" in text
    assert "relay add" not in banner(started())


def test_command_is_named_as_it_was_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / ".venv" / "bin" / "fanway"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(program), "serve"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert own_command(Path(".fanway")) == ".venv/bin/fanway"
    assert own_command(Path("my data")) == "FANWAY_DATA='my data' .venv/bin/fanway"
    monkeypatch.setenv("PATH", str(program.parent))
    assert own_command(Path(".fanway")) == "fanway"


def test_wrong_settings_are_usage_errors_without_traceback(shell: CliRunner, ran: list[Settings]) -> None:
    Path("relays.json").write_text('{"relays": [{"name": "a", "histroy": 1}]}')
    for arguments, words in (
        (["--listen", "nowhere"], "listen: should be HOST:PORT"),
        (["--config", "none.toml"], "none.toml: No such file"),
    ):
        for command in (serve, check):
            result = shell.invoke(command, arguments)
            assert result.exit_code == 2
            assert words in result.output
    result = shell.invoke(check, ["--relays", "relays.json"])
    assert (result.exit_code, "relays[0].histroy: is not known here" in result.output) == (2, True)
    assert not ran


def test_check_then_migrate_then_check(shell: CliRunner) -> None:
    first = shell.invoke(check, [])
    assert "migration 0001 registry will be applied" in first.output
    assert not Path(".fanway").exists()
    assert "applied 0001 registry" in shell.invoke(migrate, []).output
    assert shell.invoke(check, []).output == "settings and provisioning file are sound\n"


def test_port_in_use_is_a_failure_in_one_line(shell: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(settings: Settings, announce: object) -> int:
        raise OSError(98, "cannot listen on 127.0.0.1:8480: Address already in use")

    monkeypatch.setattr("app.gateway.run", run)
    result = shell.invoke(serve, [])
    assert result.exit_code == 1
    assert "cannot listen on 127.0.0.1:8480" in result.output
    assert "Traceback" not in result.output


def test_development_certificate_is_made_before_the_first_start(shell: CliRunner) -> None:
    result = shell.invoke(dev_cert, ["--host", "relay.test", "--java-truststore", "fanway.p12"])
    assert result.exit_code == 0, result.output
    assert Path(".fanway/tls/server.pem").is_file()
    assert Path("fanway.p12").is_file()
    assert "export NODE_EXTRA_CA_CERTS=.fanway/tls/ca.pem" in result.output
    assert "keytool" not in result.output


def test_host_that_no_certificate_can_name_is_refused_and_nothing_is_made(shell: CliRunner) -> None:
    result = shell.invoke(dev_cert, ["--host", "relay test"])
    assert result.exit_code == 2
    assert "'relay test' is neither a host name nor an IP address" in result.output
    assert not Path(".fanway/tls").exists()


def test_folder_that_cannot_be_made_is_a_failure_in_one_line(shell: CliRunner) -> None:
    Path("taken").write_text("")
    result = shell.invoke(dev_cert, ["--data", "taken"])
    assert result.exit_code == 1
    assert "Traceback" not in result.output


def test_authority_that_had_to_be_replaced_is_told(shell: CliRunner) -> None:
    news = "The authority is a new one, which clients must trust anew."
    assert news not in shell.invoke(dev_cert, []).output
    assert news not in shell.invoke(dev_cert, ["--host", "shop.localhost"]).output
    assert news in shell.invoke(dev_cert, ["--host", "relay.test"]).output
    assert news not in shell.invoke(dev_cert, ["--host", "deep.relay.test"]).output
