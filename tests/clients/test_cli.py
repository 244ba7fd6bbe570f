"""The command line: help, exit codes, and text from the network made safe."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanway import ListenerAnswer, RelayError, Summary, cli
from fanway.asking import Who
from fanway.cli_ask import as_json_line as all_as_json_line
from fanway.cli_ask import as_line as all_as_line
from fanway.cli_ask import as_words
from fanway.cli_events import as_data, as_json_line, as_line
from fanway.cli_options import safe
from fanway.cli_relays import parse_forward
from fanway.cli_subscribe import as_filter
from fanway.event import Event

OURS = {
    "delayed",
    "durable",
    "push",
    "publish",
    "subscribe",
    "listen",
    "ask",
    "open",
    "forward",
    "token",
    "ticket",
    "revoke",
    "relay",
    "namespace",
    "alias",
    "key",
    "status",
    "import",
    "export",
}


@pytest.fixture(autouse=True)
def _away_from_any_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "KEY", "KEY_NAME", "TOKEN", "CONNECTION_STRING", "DATA"):
        monkeypatch.delenv(f"FANWAY_{name}", raising=False)


def code_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exited:
        cli.main(list(arguments))
    assert isinstance(exited.value.code, int)
    return exited.value.code


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
        else:
            found.append(((*path, name), command))
    return found


def test_the_verbs_are_these() -> None:
    assert set(cli.cli.commands) == OURS


@pytest.mark.parametrize(
    ("path", "command"), commands(cli.cli), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_shows_an_example(path: tuple[str, ...], command: click.Command) -> None:
    assert len(path) <= 2
    assert f"fanway {' '.join(path)}" in (command.help or "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--help",), 0),
        (("--version",), 0),
        (("publish", "a", "x"), 1),
        (("publish",), 2),
        (("publish", "a", "--url", "http://127.0.0.1:1", "--key", "k"), 2),
        (("sing",), 2),
        (("publish", "a", "x", "--url", "ftp://h"), 1),
        (("publish", "a/*", "x", "--url", "http://127.0.0.1:1", "--key", "k"), 1),
        (("ask", "a", "-H", "nonsense", "--url", "http://127.0.0.1:1", "--key", "k"), 2),
        (("status", "--url", "http://127.0.0.1:1", "--key", "k"), 1),
    ],
)
def test_exit_codes_are_the_documented_ones(arguments: tuple[str, ...], code: int) -> None:
    assert code_of(*arguments) == code


@pytest.mark.parametrize(
    ("exact", "prefix", "text", "wanted"),
    [
        ((), (), None, None),
        (("type=a=b",), (), None, {"exact": {"type": "a=b"}}),
        (("type=a",), ("subject=s",), None, [{"exact": {"type": "a"}}, {"prefix": {"subject": "s"}}]),
        ((), (), '{"not": {"exact": {"type": "a"}}}', {"not": {"exact": {"type": "a"}}}),
        (("type=a",), (), '[{"x": 1}, {"y": 2}]', [{"exact": {"type": "a"}}, {"x": 1}, {"y": 2}]),
        ((), (), "[]", None),
    ],
)
def test_conditions_become_a_filter(
    exact: tuple[str, ...], prefix: tuple[str, ...], text: str | None, wanted: object
) -> None:
    assert as_filter({"exact": exact, "prefix": prefix}, text) == wanted


@pytest.mark.parametrize(
    "option", [("--where", "type"), ("--where", "=x"), ("--where-prefix", "a="), ("--filter", "{")]
)
def test_a_bad_condition_is_wrong_usage(option: tuple[str, str]) -> None:
    assert code_of("subscribe", "a", *option, "--url", "http://127.0.0.1:1", "--key", "k") == 2


def test_a_failure_is_one_line_that_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("publish", "a", "x", "--url", "http://127.0.0.1:1", "--key", "k") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "fanway serve" in error


def test_an_interrupted_command_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.cli, "main", interrupt)
    assert code_of("status") == 130
    assert capsys.readouterr().err == ""


def test_without_the_gateway_serve_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "entry_points", lambda group: ())
    assert code_of("serve") == 1
    assert "pip install . ./clients/python" in capsys.readouterr().err


def test_an_installed_gateway_brings_its_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Entry:
        name = "gateway"

        @staticmethod
        def load() -> list[click.Command]:
            return [click.Command("serve", callback=lambda: click.echo("serving"))]

    monkeypatch.setattr(cli, "entry_points", lambda group: (Entry,))
    assert code_of("serve") == 0
    assert capsys.readouterr().out == "serving\n"


def test_a_token_is_the_only_thing_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--url", "http://127.0.0.1:1", "--key-name", "root", "--key", "k")
    assert code_of("token", "orders/**", "--send", "--ttl", "60", *options) == 0
    output = capsys.readouterr()
    assert output.out.startswith("SharedAccessSignature sr=http%3A%2F%2F127.0.0.1%2Forders&sig=")
    assert output.out.count("\n") == 1
    assert "root" in output.err


def test_the_operators_token_is_that_of_the_gateways_own_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "connection.json").write_text('{"url": "http://127.0.0.1:1", "key_name": "root", "key": "k"}')
    here = ("--data", str(tmp_path))
    assert code_of("token", "--operator", *here) != 0
    assert "operator.token" in capsys.readouterr().err
    (tmp_path / "operator.token").write_text("the-token\n")
    assert code_of("token", "--operator", *here) == 0
    assert capsys.readouterr().out == "the-token\n"
    assert code_of("token", "--operator", "--url", "http://elsewhere", "--key", "k", *here) != 0
    assert code_of("token", "shop", "--operator", *here) == 2
    assert code_of("token", *here) == 2


@pytest.mark.parametrize("text", ["\x1b[31m", "a\nb", "\u202egnp", "\x9b31m", "\x00", "\x7f", "\u2028"])
def test_text_from_the_network_cannot_steer_a_terminal(text: str) -> None:
    """S35"""
    assert safe(text).isprintable()


@given(st.text())
def test_safe_text_is_one_printable_line(text: str) -> None:
    """S35"""
    assert not set(safe(text)) & {chr(c) for c in (*range(32), *range(127, 160), 0x202E, 0x2066, 0x2028)}


def test_an_events_address_and_payload_are_made_safe() -> None:
    """S35"""
    event = Event("orders/\x1b[2J", "0a1b2c3d:1", "i", b"\x1b]0;x\x07\n", True)
    assert as_line(event).count("\t") == 1
    assert as_line(event).replace("\t", "").isprintable()
    assert as_json_line(event).isprintable()
    assert json.loads(as_json_line(event))["data"] == "\x1b]0;x\x07\n"


def test_log_lines_are_made_safe() -> None:
    """S35"""
    record = logging.LogRecord("fanway", logging.WARNING, "", 0, "lost (%s)", ("\x1b[2J\n",), None)
    assert cli.SafeFormatter().format(record) == "fanway: lost (\\x1b[2J\\n)"


def test_a_binary_payload_is_shown_in_base64() -> None:
    event = Event("a", "0a1b2c3d:1", "i", b"\xff\xfe")
    assert as_line(event) == "a\tbase64://4="
    assert json.loads(as_json_line(event))["data_base64"] == "//4="


def test_json_is_named_as_json() -> None:
    assert as_data(b'{"a": 1}') == ('{"a": 1}', "application/json")
    assert as_data(b"plain") == ("plain", None)
    assert as_data(b"\xff") == (b"\xff", None)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("5432:db", ("127.0.0.1", 5432, "db")),
        ("0.0.0.0:5432:db/x", ("0.0.0.0", 5432, "db/x")),
        ("[::1]:0:db", ("::1", 0, "db")),
        ("80:db:5432", ("127.0.0.1", 80, "db:5432")),
    ],
)
def test_a_forward_is_understood(text: str, parts: tuple[str, int, str]) -> None:
    assert parse_forward(text) == parts


@pytest.mark.parametrize("text", ["db", "x:db", "70000:db", "5432:"])
def test_a_bad_forward_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.UsageError):
        parse_forward(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", "shop", "--wait", "1s"),
        ("ask", "shop", "--first"),
        ("ask", "shop", "--json"),
        ("ask", "--all", "shop", "--path", "/x"),
        ("ask", "--all", "shop", "--timeout", "1"),
        ("ask", "--all", "shop", "--wait", "1m"),
        ("ask", "--all", "shop", "--stall", "soon"),
        ("ask", "--all", "shop", "--max", "0"),
    ],
)
def test_options_for_all_go_with_all(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANWAY_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("FANWAY_KEY", "key")
    assert code_of(*arguments) == 2


def test_answers_of_all_are_safe_lines() -> None:
    answer = ListenerAnswer(200, {"Content-Type": "x"}, b"\x1b[2J\n", "", "shop/\x1b", "7", "oslo")
    assert all_as_line(answer) == "shop/\\x1b\toslo\t200\t\\x1b[2J\\n"
    assert json.loads(all_as_json_line(answer))["data"] == "\x1b[2J\n"
    binary = ListenerAnswer(200, {}, b"\xff", "", "shop")
    assert all_as_line(binary) == "shop\t-\t200\tbase64:/w=="
    assert json.loads(all_as_json_line(binary)) == {"address": "shop", "status": 200, "data_base64": "/w=="}
    failed = ListenerAnswer(502, {}, b"", "", "shop", error=RelayError("It left."))
    assert json.loads(all_as_json_line(failed)) == {"address": "shop", "status": 502, "error": "It left."}
    many = Summary(300, 100, 100, (Who("shop", None, None),), "wait")
    assert as_words(many) == "100 of 300 answered, 100 failed, 100 missing: shop, … (ended by: wait)"
