"""`fanway import` and `fanway export`: moving in from Azure Relay, and out again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from fanway.cli_events import print_line
from fanway.cli_options import gateway_options, safe, say
from fanway.connect import Gateway
from fanway.errors import ConfigurationError, RelayError
from fanway.management import Management
from fanway.moving.azure_json import azure_resources
from fanway.moving.export import export_template
from fanway.moving.inventory import Inventory, gather
from fanway.moving.plan import Plan, make_plan
from fanway.moving.resources import Keys, Resource
from fanway.moving.template import declared_in, is_parameters, is_template, parameter_values, template_resources


@click.command(name="import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="A template's parameter; repeatable."
)
@click.option("--from-namespace", "source", metavar="NAME", help="Which of the namespaces in the files.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@gateway_options
def import_(
    gateway: Gateway, files: tuple[str, ...], parameters: tuple[str, ...], source: str | None, dry_run: bool
) -> None:
    """Provision what FILE describes: the same relays and rules with the same keys.

    FILE is an ARM template (with files of parameters beside it), or what `az relay … show`, `list` and
    `keys list` print, several in one file if you like; `-` is standard input. What is there already is
    compared; a second run changes nothing. What the files do not name stays.

    \b
    Examples:
      fanway import azuredeploy.json --parameter namespaceName=contoso
      fanway import relays.json rules.json keys.json --dry-run
    """
    inventory = read_files(files, given_parameters(parameters), source)
    with Management(gateway) as api:
        plan = make_plan(api, inventory, gateway.credential.key_name)
        for note in plan.notes:
            say(f"note: {note}")
        _carry_out(api, plan, dry_run)


def _carry_out(api: Management, plan: Plan, is_dry: bool) -> None:
    for step in plan.steps:
        if not is_dry:
            try:
                step.do(api)
            except RelayError as error:
                say(f"{step.title} could not be {step.outcome.partition(' ')[0]}; what is above has been done")
                raise error from None
        print_line(safe(f"{step.title}: {'would be ' if is_dry else ''}{step.outcome}"))
    if not plan.steps:
        print_line(f"nothing changed: {plan.settled} as they should be")
        return
    verb = "would change" if is_dry else "changed"
    print_line(f"{len(plan.steps)} {verb}, {plan.settled} as they should be")
    if plan.changes_own_key and not is_dry:
        say("note: the rule that signed these calls has changed; from now on use its key from the files")


def given_parameters(parameters: tuple[str, ...]) -> dict[str, Any]:
    """Values from the command line, as text; what a template declares to be something else is read as JSON there."""
    given: dict[str, Any] = {}
    for text in parameters:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--parameter takes NAME=VALUE, not {name!r}.")
        given[name] = value
    return given


def read_files(files: tuple[str, ...], given: dict[str, Any], namespace: str | None) -> Inventory:
    """What all the files describe together. Raises ConfigurationError with the place of what is wrong."""
    documents = [(place, document) for file in files for place, document in _documents(file)]
    declared = {name.lower() for _, document in documents if is_template(document) for name in declared_in(document)}
    for name in given:
        if name.lower() not in declared:
            raise ConfigurationError(f"No template in the files has a parameter '{name}'.")
    values: dict[str, Any] = {}
    for _, document in documents:
        if is_parameters(document):
            values |= parameter_values(document)
    values |= given
    notes: list[str] = []

    def found() -> Iterator[Resource | Keys]:
        for place, document in documents:
            if is_template(document):
                yield from template_resources(document, values, place, notes)
            elif not is_parameters(document):
                yield from azure_resources(document, place, notes)

    try:
        return gather(list(found()), namespace, notes)
    except RecursionError:
        raise ConfigurationError("The files are nested too deep.") from None


def _documents(file: str) -> Iterator[tuple[str, Any]]:
    """The JSON values of a file, one after the other, each with its place."""
    name = "standard input" if file == "-" else file
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name}: should be UTF-8: {error.reason} at byte {error.start}") from None
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    found: list[Any] = []
    at = 0
    try:
        while text[at:].strip():
            at += len(text[at:]) - len(text[at:].lstrip())
            document, at = decoder.raw_decode(text, at)
            found.append(document)
    except _NamedTwice as error:
        raise ConfigurationError(f"{name}: an object holds '{error}' twice") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name}: should be JSON: {error}") from None
    if not found:
        raise ConfigurationError(f"{name}: is empty")
    for number, document in enumerate(found, 1):
        yield (name if len(found) == 1 else f"{name} ({number})"), document


class _NamedTwice(Exception):
    """An object has two members of one name."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise _NamedTwice(next(name for name in names if names.count(name) > 1))
    return members


@click.command(name="export")
@click.option("--without-keys", is_flag=True, help="Leave the keys out, so that the file holds no secret.")
@gateway_options
def export(gateway: Gateway, without_keys: bool) -> None:
    """Print all that is provisioned as an ARM template, which `fanway import` takes back.

    It holds the keys of all rules: keep it as safe as them.

    \b
    Example:
      (umask 077; fanway export > relays.json)
    """
    notes: list[str] = []
    with Management(gateway) as api:
        template = export_template(api, with_keys=not without_keys, notes=notes)
    print_line(json.dumps(template, indent=2))
    for note in notes:
        say(f"note: {note}")
