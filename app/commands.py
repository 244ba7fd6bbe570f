"""The gateway's commands: `serve`, `migrate`, `check`, `dev-cert`. They join the `fanway` command by an entry point.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings. The options are made from the settings, so
their help is written once.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from app.config import ConfigurationError, Settings, is_switch, load_settings, variable
from app.errors import RelayError

if TYPE_CHECKING:
    from app.started import Started

EXIT_USAGE = 2  # click's own is 1
_NO_FLAG = (
    "certificates",
    "cors_origins",
    "trusted_proxies",
    "limits",
    "deadlines",
    "budgets",
    "history",
    "push",
    "identity",
    "arm",
    "azure",
)
_PATHS = ("data", "relays", "tls_cert", "tls_key")


def _options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: one option for each of these settings (all when none is named), and `--config`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names or [n for n in Settings.model_fields if n not in _NO_FLAG]):
            command = _option(name)(command)
        return click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings.")(command)

    return decorate


def _option(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    field = Settings.model_fields[name]
    flag = "--" + name.replace("_", "-")
    text = f"{field.description} [{variable(name)}]"
    if is_switch(field):
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text)
    if field.default is not None:
        text += f" Default: {field.default}"
    kind = click.Path(path_type=Path) if name in _PATHS else None
    return click.option(flag, name, type=kind, default=None, help=text)


def _settings(config: Path | None, flags: dict[str, Any]) -> Settings:
    try:
        return load_settings(flags, config)
    except ConfigurationError as error:
        raise _Unusable(str(error)) from None


@click.command()
@_options()
@click.option("--json", "is_json", is_flag=True, help="Announce readiness as one line of JSON on stdout.")
def serve(config: Path | None, is_json: bool, **flags: Any) -> None:
    """Start the gateway.

    \b
    Examples:
      fanway serve
      fanway serve --listen 127.0.0.1:0 --no-tls --data /tmp/relay --relays relays.toml --json
    """
    from app.gateway import run

    settings = _settings(config, flags)

    def announce(started: Started) -> None:
        click.echo(ready_line(started) if is_json else banner(started))
        sys.stdout.flush()  # whoever waits for the line reads a pipe

    try:
        code = run(settings, announce)
    except ConfigurationError as error:
        raise _Unusable(str(error)) from None
    except (RelayError, OSError) as error:
        raise click.ClickException(str(error)) from None
    if code:
        raise click.exceptions.Exit(code)


@click.command()
@_options("data")
def migrate(config: Path | None, **flags: Any) -> None:
    """Bring the database up to date without starting; `serve` does so by itself.

    \b
    Example:
      fanway migrate --data /var/lib/fanway
    """
    from app.startup import migrate_data

    try:
        applied = asyncio.run(migrate_data(_settings(config, flags)))
    except (RelayError, OSError) as error:
        raise click.ClickException(str(error)) from None
    for migration in applied:
        click.echo(f"applied {migration}")
    click.echo("the database is up to date")


@click.command()
@_options()
def check(config: Path | None, **flags: Any) -> None:
    """Check settings, provisioning file and database without starting or changing anything.

    \b
    Example:
      fanway check --relays relays.toml
    """
    from app.startup import check_data
    from app.tls import check_certificates

    settings = _settings(config, flags)
    try:
        check_certificates(settings)
        waiting = asyncio.run(check_data(settings))
    except ConfigurationError as error:
        raise _Unusable(str(error)) from None
    except (RelayError, OSError) as error:
        raise click.ClickException(str(error)) from None
    for migration in waiting:
        click.echo(f"migration {migration} will be applied at the next start")
    click.echo("settings and provisioning file are sound")


@click.command("dev-cert")
@_options("data", "namespace")
@click.option(
    "--host", "hosts", multiple=True, metavar="HOST", help="Another name or address to vouch for; repeatable."
)
@click.option(
    "--java-truststore",
    "truststore",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a PKCS #12 truststore for Java too.",
)
def dev_cert(config: Path | None, hosts: tuple[str, ...], truststore: Path | None, **flags: Any) -> None:
    """Make or renew the development certificate and say how each client comes to trust it; `serve` takes it.

    A host that the certificate authority may not vouch for costs a new authority, which clients must trust anew.

    \b
    Examples:
      fanway dev-cert
      fanway dev-cert --host relay.test --host '*.relay.test' --java-truststore fanway.p12
    """
    from app.certificates import development_certificate
    from app.store.folder import DataFolder
    from app.trust import show, write_truststore

    settings = _settings(config, flags)
    folder = DataFolder(settings.data)
    authority = folder.tls / "ca.pem"
    try:
        folder.create()
        before = authority.read_bytes() if authority.exists() else None
        files = development_certificate(settings, folder, hosts)
        if truststore is not None:
            write_truststore(authority, truststore)
    except ConfigurationError as error:
        raise _Unusable(str(error)) from None
    except OSError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"certificate {files.certificate}, key {files.key}, authority {authority}")
    if before is not None and before != authority.read_bytes():
        click.echo("The authority is a new one, which clients must trust anew.")
    click.echo("\n".join(["To trust it:", *show(authority, truststore)]))


commands: list[click.Command] = [serve, migrate, check, dev_cert]


def ready_line(started: Started) -> str:
    """What `--json` prints once the gateway serves; it holds no key but the emulator's, which everybody knows."""
    line = {
        "event": "ready",
        "url": started.url,
        "tls_url": started.tls_url,
        "namespace": started.namespace,
        "data": str(started.data),
        "ca": str(started.ca) if started.ca else None,
        "key_name": started.key_name,
    }
    doors = {"nettcp_url": started.nettcp_url, "nettcp_tls_url": started.nettcp_tls_url}
    line |= {name: url for name, url in doors.items() if url}
    if started.is_emulator:
        line |= {"key": started.key, "connection_string": _connection_string(started, started.tls_url or started.url)}
    return json.dumps(line)


def banner(started: Started) -> str:
    """What a person needs next: where the gateway is, its key on the first start, commands to copy."""
    if started.is_emulator:
        return _emulator_banner(started)
    fanway = own_command(started.data)
    key_file = shlex.quote(str(started.data / "root.key"))
    lines = [f"Fanway serves namespace '{started.namespace}'", f"  {started.url}"]
    if started.tls_url:
        lines.append(f"  {started.tls_url}")
        lines.append(f"  {_endpoint(started)}")
    elif started.is_first_start:
        lines.append(f"  key {started.key_name}: {started.key}")
    lines += [f"  {url}" for url in (started.nettcp_url, started.nettcp_tls_url) if url]
    if started.is_first_start:
        lines.append(f"The key is shown this once; it lies in {key_file}, commands run in this folder find it.")
    else:
        lines.append(f"The key lies in {key_file}; commands run in this folder find it.")
    if started.ca:
        from app.trust import show

        lines += ["", "To trust the local certificate:", *show(started.ca)]
    lines += [
        "",
        "Try it, in another shell in this folder:",
        *([] if started.allows_dynamic_relays else [f"  {fanway} relay add orders", f"  {fanway} relay add shop"]),
        f"  {fanway} subscribe 'orders/**'",
        f"  {fanway} publish orders/eu/7 '{{\"total\": 42}}'",
        f'  curl -H "Authorization: $({fanway} token orders --send)" '
        f"-d '{{\"total\": 42}}' {started.url}/-/events/orders/eu/7",
        f"  {fanway} listen shop --to localhost:3000",
    ]
    return "\n".join(lines)


def own_command(data: Path) -> str:
    """How to call `fanway` from a shell in this folder: by name if that finds this program, else by its path."""
    program = Path(sys.argv[0]).absolute()
    found = shutil.which("fanway")
    command = "fanway"
    if program.name == "fanway" and (found is None or Path(found).resolve() != program.resolve()):
        here = Path.cwd()
        command = shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))
    if data == Settings.model_fields["data"].default:
        return command
    return f"FANWAY_DATA={shlex.quote(str(data))} {command}"


def _emulator_banner(started: Started) -> str:
    """Nothing is in the folder, so commands are told where the emulator is by variables."""
    fanway = own_command(Settings.model_fields["data"].default)
    lines = [
        f"Fanway emulates namespace '{started.namespace}': everything is in memory, and the key is known to everybody.",
        f"  {started.url}",
        *([f"  {started.tls_url}", f"  {_connection_string(started, started.tls_url)}"] if started.tls_url else []),
        "",
        "For commands in another shell:",
        f"  export FANWAY_CONNECTION_STRING={shlex.quote(_connection_string(started, started.url))}",
        f"  {fanway} subscribe 'orders/**'",
        "",
        "Move its clock, or let something go wrong (docs/emulator.md):",
        f"  curl -H 'Content-Type: application/json' -d '{{\"advance\": 3600}}' {started.url}/-/emulator/clock",
    ]
    return "\n".join(lines)


def _connection_string(started: Started, url: str) -> str:
    parts = urlsplit(url)
    scheme = "sb" if parts.scheme == "https" else "http"
    return f"Endpoint={scheme}://{parts.netloc}/;SharedAccessKeyName={started.key_name};SharedAccessKey={started.key}"


def _endpoint(started: Started) -> str:
    """The connection string for the SDKs, which take `sb:` to mean TLS; with the key on the first start only."""
    if started.is_first_start and started.tls_url:
        return _connection_string(started, started.tls_url)
    return f"Endpoint=sb://{urlsplit(started.tls_url or started.url).netloc}/"


class _Unusable(click.ClickException):
    exit_code = EXIT_USAGE
