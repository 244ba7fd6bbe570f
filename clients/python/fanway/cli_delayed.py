"""`fanway delayed`: events that wait for their time."""

from __future__ import annotations

import json

import click

from fanway.address import check_address
from fanway.cli_events import print_line
from fanway.cli_manage import call
from fanway.cli_options import gateway_options, safe
from fanway.connect import Gateway
from fanway.management import items_of


@click.group()
def delayed() -> None:
    """List and cancel events that wait for their time."""


@delayed.command("ls")
@click.argument("relay")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@gateway_options
def delayed_ls(gateway: Gateway, relay: str, as_json: bool) -> None:
    """Print the events of a relay that wait: number, time, address, id, bytes.

    \b
    Example:
      fanway delayed ls orders
    """
    answer = call(gateway, "GET", "delayed", query={"relay": check_address(relay), "limit": "10000"})
    for item in items_of(answer, "delayed"):
        if as_json:
            print_line(json.dumps(item))
        else:
            print_line(
                safe("\t".join(str(item.get(name)) for name in ("number", "due", "address", "id", "size")), "\t")
            )


@delayed.command("rm")
@click.argument("numbers", metavar="[NUMBER]...", nargs=-1, type=click.IntRange(min=1))
@click.option("--all", "relay", metavar="RELAY", help="All that wait at this relay.")
@gateway_options
def delayed_rm(gateway: Gateway, numbers: tuple[int, ...], relay: str | None) -> None:
    """Cancel events that wait, by the numbers that their receipts and `fanway delayed ls` give.

    \b
    Examples:
      fanway delayed rm 1767225600000000
      fanway delayed rm --all orders
    """
    if bool(numbers) == (relay is not None):
        raise click.UsageError("Give numbers, or --all and a relay.")
    if relay is not None:
        call(gateway, "DELETE", "delayed", query={"relay": check_address(relay)})
        print_line(safe(f"all of {relay} cancelled"))
    for number in numbers:
        call(gateway, "DELETE", f"delayed/{number}")
        print_line(f"{number} cancelled")
