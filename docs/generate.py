"""Writes the parts of docs/ that are made from the code: settings, errors, commands, the tests behind what is claimed.

    .venv/bin/python docs/generate.py

A test holds each of them against the code (tests/house/test_documentation.py).
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click

import app
from app.closes import CLOSES
from app.errors import RelayError
from app.reference import render_reference as render_settings
from fanway.cli import cli
from fanway.cli_events import publish

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
INTERNAL = {"SessionError"}  # it carries another error to its answer and is never shown itself
SHARED = {"url", "key_name", "key", "token", "connection_string", "folder"}  # options of all commands of the client
CHECKLIST_ID = re.compile(r"\b[PWSR]\d\d\b")
AZURE_ID = re.compile(r"\b(?:C\d\d|[NJKBE]-[A-Za-z]{3,})\b")
BEGIN, END = "<!-- made by docs/generate.py -->", "<!-- end -->"


def render_errors() -> str:
    """docs/errors.md: every error a peer can see, and every way a connection ends."""
    lines = [
        "# Errors and close codes",
        "",
        'A refusal has one shape on each kind of door (docs/protocol.md, "Errors"). Its `code` is a stable name for',
        "programs. The close code is used when a WebSocket is open already; the status when it is not, and for HTTP.",
        '"Again" says that the same call may succeed later.',
        "",
        "| Code | Status | Close | Again | When |",
        "|---|---|---|---|---|",
    ]
    for kind in _errors(RelayError):
        when = _first_sentence(kind)
        if when == "The base of what follows.":
            continue
        status = "the listener's" if kind.__name__ == "Rejected" else str(kind.status)
        again = "yes" if kind.is_transient else ""
        lines.append(f"| `{kind.code}` | {status} | {kind.close} | {again} | {when} |")
    lines += [
        "",
        "Statuses that differ from the table by circumstance: `BadRequest` is 414 for a target that is too long;",
        "`Unauthorized` is 403 for a page whose origin `cors_origins` does not list; `QuotaExceeded` is 403 for relays",
        "and rules;",
        "`Unsupported` is 406 for a GET that names no way of delivery, 415 for a format or encoding, 505 for HTTP/1.0;",
        "`ProtocolError` closes with 1007 for text that is not UTF-8 or JSON, 1003 for a message of the wrong type,",
        "1009 for one that is too large.",
        "",
        "## How connections end",
        "",
        "The gateway says these in a Close frame; subscriptions hear them in a `bye` first, where their transport has",
        'one. "Return" says whether the client should come back by itself.',
        "",
        "| Name | Close | Return | Words |",
        "|---|---|---|---|",
    ]
    for name, close in CLOSES.items():
        lines.append(f"| `{name}` | {close.code} | {'yes' if close.reconnect else ''} | {close.reason} |")
    return "\n".join([*lines, ""])


def render_commands() -> str:
    """docs/commands.md: every command of `fanway`, with its examples and options."""
    lines = [
        "# Commands",
        "",
        "`fanway COMMAND --help` says the same. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130",
        "interrupted. `serve`, `migrate`, `check` and `dev-cert` come with the gateway, the others with the client.",
        "",
        "Where the gateway and the key are found, first wins: options, `FANWAY_URL`, `FANWAY_KEY_NAME`, `FANWAY_KEY`,",
        "`FANWAY_TOKEN`, `FANWAY_CONNECTION_STRING` and `FANWAY_CA`, then `connection.json` in the data folder",
        "(`./.fanway`, or `FANWAY_DATA`). A key from the folder is used only for the gateway that wrote it.",
        "`FANWAY_DEBUG=1` shows the traceback of an unexpected failure. So the client's commands all take:",
        "",
        "| Option | Meaning |",
        "|---|---|",
        *[_option_row(each) for each in _options(publish) if each.name in SHARED],
    ]
    for name, command in commands():
        lines += ["", f"## fanway {name}", "", *_help(command), "", f"    {_usage(name, command)}"]
        is_client = SHARED <= {each.name for each in command.params}
        own = [each for each in _options(command) if not (is_client and each.name in SHARED)]
        if own:
            lines += ["", "| Option | Meaning |", "|---|---|", *map(_option_row, own)]
    return "\n".join([*lines, ""])


def render_conformance(text: str) -> str:
    """docs/conformance.md with the table of the checklist and its tests made anew; the rest is written by hand."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    carriers = tests_by_id(CHECKLIST_ID)
    rows = ["| Id | What must hold | Tests |", "|---|---|---|"]
    for identity, sentence in checklist().items():
        rows.append(f"| {identity} | {sentence} | {'<br>'.join(carriers.get(identity, ['none yet']))} |")
    return head + "\n".join([BEGIN, "", *rows, "", END]) + tail


def render_azure(text: str) -> str:
    """docs/azure-compatibility.md with its tables made anew; the rest is written by hand."""
    carriers = tests_by_id(AZURE_ID)
    for table, sentences in azure().items():
        begin = f"<!-- {table}: made by docs/generate.py -->"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(END)
        title = "For" if table == "strings" else "Id" if table == "wire" else "Test"
        rows = [f"| {title} | What must hold | Shown by |", "|---|---|---|"]
        for identity, sentence in sentences.items():
            name = identity if table == "wire" else identity.partition("-")[2]
            rows.append(f"| {name} | {sentence} | {'<br>'.join(carriers.get(identity, ['none yet']))} |")
        text = head + "\n".join([begin, "", *rows, "", END]) + tail
    return text


def azure() -> dict[str, dict[str, str]]:
    """The sentences of docs/azure.toml by table and id."""
    return tomllib.loads((DOCS / "azure.toml").read_text("utf-8"))


def checklist() -> dict[str, str]:
    """The sentences of docs/checklist.toml by id."""
    return tomllib.loads((DOCS / "checklist.toml").read_text("utf-8"))


def tests_by_id(pattern: re.Pattern[str]) -> dict[str, list[str]]:
    """Links to the tests that carry such an id in their docstring or name."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if "node_modules" in path.parts:
            continue
        file = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
                continue
            words = f"{ast.get_docstring(node) or ''} {node.name.upper().replace('_', ' ')}"
            sentence = node.name.removeprefix("test_").replace("_", " ")
            for identity in sorted(set(pattern.findall(words))):
                found.setdefault(identity, []).append(f"[{sentence}](../{file})")
    return found


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its words after `fanway`, in the order of the alphabet."""
    yield from _leaves(cli, "")


def documents() -> dict[Path, str]:
    """Every generated file and what it should hold."""
    conformance, compatibility = DOCS / "conformance.md", DOCS / "azure-compatibility.md"
    return {
        DOCS / "settings.md": render_settings(),
        DOCS / "errors.md": render_errors(),
        DOCS / "commands.md": render_commands(),
        conformance: render_conformance(conformance.read_text("utf-8")),
        compatibility: render_azure(compatibility.read_text("utf-8")),
    }


def _errors(kind: type[RelayError]) -> Iterator[type[RelayError]]:
    for module in pkgutil.walk_packages(app.__path__, "app."):
        importlib.import_module(module.name)
    yield from _tree(kind)


def _tree(kind: type[RelayError]) -> Iterator[type[RelayError]]:
    if kind.__name__ not in INTERNAL:
        yield kind
    for below in kind.__subclasses__():
        yield from _tree(below)


def _first_sentence(kind: type[RelayError]) -> str:
    paragraph = (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ")
    return paragraph.removesuffix(" The base of all.")


def _leaves(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in sorted(group.list_commands(context)):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _leaves(command, f"{prefix}{name} ")
        elif command is not None:
            yield f"{prefix}{name}", command


def _help(command: click.Command) -> list[str]:
    """The command's text: paragraphs as they are, those that click keeps verbatim as code under their titles."""
    lines: list[str] = []
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if not paragraph.startswith("\b\n"):
            lines += ["", " ".join(paragraph.split())]
            continue
        for title, code in re.findall(r"^(\S.*)\n((?:  .*\n)+)", paragraph + "\n", re.MULTILINE):
            lines += ["", title, "", "```text", *[line.removeprefix("  ") for line in code.splitlines()], "```"]
    return lines[1:]


def _usage(name: str, command: click.Command) -> str:
    return " ".join(["fanway", name, *command.collect_usage_pieces(click.Context(command, info_name=name))])


def _options(command: click.Command) -> list[click.Option]:
    return [each for each in command.params if isinstance(each, click.Option)]


def _option_row(option: click.Option) -> str:
    names = "/".join([*option.opts, *option.secondary_opts])
    value = "" if option.is_flag or option.count else f" {option.metavar or _kind(option)}"
    text = (option.help or "").replace("|", "\\|")
    return f"| `{names}{value}` | {text} |"


def _kind(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return "/".join(str(choice) for choice in option.type.choices)
    return option.type.name.upper()


def main() -> None:
    for path, text in documents().items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
