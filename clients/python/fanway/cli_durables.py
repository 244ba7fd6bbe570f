"""`fanway durable`: durable subscriptions, over the gateway's `/-/api/durables`."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click

from fanway.address import check_address, check_pattern
from fanway.cli_events import print_line
from fanway.cli_manage import call
from fanway.cli_options import gateway_options, safe
from fanway.connect import Gateway
from fanway.management import items_of


def _place(name: str, rest: str = "") -> str:
    return f"durables/{quote(name, safe='')}{rest}"


@click.group()
def durable() -> None:
    """List, make and move durable subscriptions."""


@durable.command("ls")
@click.argument("relay")
@click.option("--json", "as_json", is_flag=True, help="Print the subscriptions as JSON, one a line.")
@gateway_options
def durable_ls(gateway: Gateway, relay: str, as_json: bool) -> None:
    """List the durable subscriptions of RELAY.

    \b
    Example:
      fanway durable ls jobs
    """
    for item in items_of(call(gateway, "GET", "durables", query={"relay": relay}), "durables"):
        if as_json:
            print_line(json.dumps(item))
            continue
        counts = f"{item['behind']} behind, {item['inFlight']} in flight, {item['consumers']} consumers"
        state = "paused" if item["paused"] else "active"
        print_line("\t".join(map(safe, (item["name"], item["pattern"], state, item["cursor"], counts))))


@durable.command("show")
@click.argument("relay")
@click.argument("name")
@gateway_options
def durable_show(gateway: Gateway, relay: str, name: str) -> None:
    """Show a durable subscription as JSON.

    \b
    Example:
      fanway durable show jobs billing
    """
    print_line(json.dumps(call(gateway, "GET", _place(name), query={"relay": relay}), indent=2))


@durable.command("add")
@click.argument("relay")
@click.argument("name")
@click.argument("pattern")
@click.option("--from", "start", metavar="WHERE", help="now, start, a cursor or a time (default: now).")
@click.option("--partition-by", metavar="ATTRIBUTE", help="Events with one value of it go to one consumer, in order.")
@click.option("--ack-wait", type=float, metavar="SECONDS", help="Until a delivery is made again (default: 30).")
@click.option("--max-deliveries", type=int, metavar="N", help="After N in vain an event is dead.")
@click.option("--max-in-flight", type=int, metavar="N", help="Most events under way at once (default: 1024).")
@click.option("--dead-letter", metavar="ADDRESS", help="Where dead events are published.")
@gateway_options
def durable_add(
    gateway: Gateway,
    relay: str,
    name: str,
    pattern: str,
    start: str | None,
    partition_by: str | None,
    ack_wait: float | None,
    max_deliveries: int | None,
    max_in_flight: int | None,
    dead_letter: str | None,
) -> None:
    """Make the durable subscription NAME of a PATTERN in RELAY, or change it.

    \b
    Example:
      fanway durable add jobs billing 'jobs/**' --dead-letter dead/billing
    """
    wish: dict[str, Any] = {
        "pattern": check_pattern(pattern),
        "from": start,
        "key": partition_by,
        "ackWait": ack_wait,
        "maxDeliveries": max_deliveries,
        "maxInFlight": max_in_flight,
        "deadLetter": None if dead_letter is None else check_address(dead_letter),
    }
    body = {option: value for option, value in wish.items() if value is not None}
    made = call(gateway, "PUT", _place(name), body, {"relay": relay})
    print_line("\t".join(map(safe, (made["name"], made["cursor"]))))


@durable.command("seek")
@click.argument("relay")
@click.argument("name")
@click.argument("to")
@gateway_options
def durable_seek(gateway: Gateway, relay: str, name: str, to: str) -> None:
    """Go on from another place: now (let go of everything), start, a cursor or a time.

    \b
    Example:
      fanway durable seek jobs billing start
    """
    moved = call(gateway, "POST", _place(name, "/seek"), {"to": to}, {"relay": relay})
    print_line("\t".join(map(safe, (moved["name"], moved["cursor"]))))


@durable.command("rm")
@click.argument("relay")
@click.argument("name")
@gateway_options
def durable_rm(gateway: Gateway, relay: str, name: str) -> None:
    """Remove a durable subscription; what was not settled is not delivered any more.

    \b
    Example:
      fanway durable rm jobs billing
    """
    call(gateway, "DELETE", _place(name), query={"relay": relay})
    print_line(safe(f"{name} removed"))
