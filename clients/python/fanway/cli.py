"""The `fanway` command.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted. The commands of the gateway
(`serve`, `migrate`, `check`, `dev-cert`) join by the entry-point group `fanway.commands` when it is installed.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from importlib.metadata import entry_points, version

import click

from fanway.cli_ask import ask
from fanway.cli_delayed import delayed
from fanway.cli_durables import durable
from fanway.cli_events import publish
from fanway.cli_manage import key, relay, status, token
from fanway.cli_moving import export, import_
from fanway.cli_namespaces import alias, namespace
from fanway.cli_options import safe, say
from fanway.cli_push import push
from fanway.cli_relays import forward, listen, open_
from fanway.cli_revocations import revoke
from fanway.cli_subscribe import subscribe
from fanway.cli_tickets import ticket
from fanway.errors import RelayError

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
GATEWAY_COMMANDS = ("serve", "migrate", "check", "dev-cert")


class Commands(click.Group):
    """Our own commands, and those that an installed gateway brings."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._installed()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name) or self._installed().get(cmd_name)
        if found is None and cmd_name in GATEWAY_COMMANDS:
            raise click.ClickException(
                f"`fanway {cmd_name}` belongs to the gateway, which is not installed here: in a clone of Fanway,"
                " pip install . ./clients/python"
            )
        return found

    def _installed(self) -> dict[str, click.Command]:
        commands: dict[str, click.Command] = {}
        for entry in entry_points(group="fanway.commands"):
            try:
                loaded = entry.load()
            except ImportError as error:
                say(f"fanway: the commands of {entry.name!r} cannot be loaded: {error}")
                continue
            commands.update({command.name: command for command in loaded if command.name})
        return commands


class SafeFormatter(logging.Formatter):
    """Log lines on a terminal: nothing that came from the network can steer it. A handler's own traceback is kept."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"fanway: {safe(record.getMessage())}"
        if record.exc_info:
            line += "\n" + safe(self.formatException(record.exc_info), keep="\n")
        return line


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("fanway"), message="fanway %(version)s")
def cli() -> None:
    """Publish, subscribe, listen, ask and open at a Fanway relay.

    \b
    Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
    Example:
      fanway publish orders/eu/7 '{"total": 42}'
    """


_EVERYDAY = (publish, subscribe, listen, ask, open_, forward, token, ticket, status)
_MANAGING = (relay, key, delayed, durable, push, revoke, namespace, alias, import_, export)
for _command in (*_EVERYDAY, *_MANAGING):
    cli.add_command(_command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with its code; never a traceback (FANWAY_DEBUG=1 shows it)."""
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    for noisy in ("httpx", "websockets", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        cli.main(arguments, prog_name="fanway", standalone_mode=False)
        return 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        say(f"fanway: {error.format_message()}")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read our output has left; leave quietly too
        return EXIT_FAILED
    except RelayError as error:
        tracking = f" (tracking id {error.tracking_id})" if error.tracking_id else ""
        say(f"fanway: {error}{tracking}")
        return EXIT_FAILED
    except Exception as error:
        if os.environ.get("FANWAY_DEBUG"):
            traceback.print_exc()
        say(f"fanway: {type(error).__name__}: {error}")
        return EXIT_FAILED
