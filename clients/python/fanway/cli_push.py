"""`fanway push`: events delivered to URLs, over the gateway's `/-/api/subscriptions`."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click

from fanway.address import check_address, check_pattern
from fanway.cli_events import print_line
from fanway.cli_manage import call
from fanway.cli_options import gateway_options, safe, say
from fanway.connect import Gateway
from fanway.management import items_of

MODES = click.Choice(["binary", "structured", "batch"])


def _place(id: str, rest: str = "") -> str:
    return f"subscriptions/{quote(id, safe='')}{rest}"


@click.group()
def push() -> None:
    """Deliver events to URLs."""


@push.command("ls")
@click.option("--json", "as_json", is_flag=True, help="Print the subscriptions as JSON, one a line.")
@gateway_options
def push_ls(gateway: Gateway, as_json: bool) -> None:
    """List the push subscriptions.

    \b
    Example:
      fanway push ls
    """
    for item in items_of(call(gateway, "GET", "subscriptions"), "subscriptions"):
        if as_json:
            print_line(json.dumps(item))
            continue
        status = item["status"]
        counts = ", ".join(f"{status[name]} {name}" for name in ("delivered", "failed", "dead"))
        words = (item["id"], item["config"]["pattern"], item["sink"], _state(status), counts)
        print_line("\t".join(map(safe, words)))


@push.command("show")
@click.argument("id")
@gateway_options
def push_show(gateway: Gateway, id: str) -> None:
    """Show a push subscription as JSON, without its secrets.

    \b
    Example:
      fanway push show 4a1f0c7e9b2d8365
    """
    print_line(json.dumps(call(gateway, "GET", _place(id)), indent=2))


@push.command("add")
@click.argument("pattern")
@click.argument("sink")
@click.option("--from", "start", default="now", metavar="WHERE", help="now, start, a cursor or a time (default: now).")
@click.option("--mode", type=MODES, default="binary", help="How events travel (default: binary).")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only events of this type; repeatable.")
@click.option("--strict", is_flag=True, help="One event at a time, in order.")
@click.option(
    "--max-deliveries", type=click.IntRange(1, 1000), metavar="N", help="After N in vain it is a dead letter."
)
@click.option("--dead-letter", metavar="ADDRESS", help="Where dead letters are published.")
@click.option("--rate", type=click.IntRange(min=1), metavar="N", help="Most requests a minute.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A further header; repeatable.")
@gateway_options
def push_add(
    gateway: Gateway,
    pattern: str,
    sink: str,
    start: str,
    mode: str,
    types: tuple[str, ...],
    strict: bool,
    max_deliveries: int | None,
    dead_letter: str | None,
    rate: int | None,
    headers: tuple[str, ...],
) -> None:
    """Push the events of PATTERN to SINK; prints the id of the subscription and the secret that signs its requests.

    \b
    Examples:
      fanway push add 'orders/**' https://example.com/hook
      fanway push add 'orders/**' http://localhost:3000/ --dead-letter failed/orders
    """
    config: dict[str, Any] = {"pattern": check_pattern(pattern), "from": start}
    if strict:
        config["order"] = "strict"
    if max_deliveries is not None:
        config["maxDeliveries"] = max_deliveries
    if dead_letter is not None:
        config["deadLetter"] = check_address(dead_letter)
    settings: dict[str, Any] = {"mode": mode, "headers": dict(map(_header, headers))}
    if rate is not None:
        settings["rate"] = rate
    wish = {"config": config, "sink": sink, "protocol": "HTTP", "protocolsettings": settings}
    made = call(gateway, "POST", "subscriptions", wish | ({"types": list(types)} if types else {}))
    print_line(f"{safe(made['id'])}\t{safe(made['secret'])}")
    validation = made["status"]["validation"]
    if validation["state"] == "pending":
        say(f"note: nothing is sent yet. {validation['reason']} It is asked again until it answers.")
    elif validation["state"] == "refused":
        say(f"note: nothing is sent. {validation['reason']} Once it does: fanway push validate {made['id']}")


@push.command("rm")
@click.argument("id")
@gateway_options
def push_rm(gateway: Gateway, id: str) -> None:
    """Remove a push subscription, with what is still owed to it.

    \b
    Example:
      fanway push rm 4a1f0c7e9b2d8365
    """
    call(gateway, "DELETE", _place(id))
    print_line(safe(f"{id} removed"))


@push.command("log")
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="Print the deliveries as JSON, one a line.")
@gateway_options
def push_log(gateway: Gateway, id: str, as_json: bool) -> None:
    """Show what became of the last deliveries, the newest first.

    \b
    Example:
      fanway push log 4a1f0c7e9b2d8365
    """
    for item in items_of(call(gateway, "GET", _place(id, "/deliveries")), "deliveries"):
        if as_json:
            print_line(json.dumps(item))
            continue
        answer = item["status"] if item["status"] is not None else item["error"]
        again = f"again at {item['nextAt']}" if item["nextAt"] else ""
        words = (
            item["at"],
            item["cursor"],
            item["address"],
            f"attempt {item['attempt']}",
            item["result"],
            answer,
            f"{item['milliseconds']} ms",
            again,
        )
        print_line("\t".join(safe(str(word)) for word in words).rstrip())


@push.command("replay")
@click.argument("id")
@click.argument("start", metavar="FROM")
@gateway_options
def push_replay(gateway: Gateway, id: str, start: str) -> None:
    """Deliver again from a cursor or a time, as far as the relay's history reaches.

    \b
    Examples:
      fanway push replay 4a1f0c7e9b2d8365 start
      fanway push replay 4a1f0c7e9b2d8365 2026-01-31T08:00:00Z
    """
    call(gateway, "POST", _place(id, "/replay"), {"from": start})
    print_line(safe(f"{id} reads again from {start}"))


@push.command("pause")
@click.argument("id")
@gateway_options
def push_pause(gateway: Gateway, id: str) -> None:
    """Send nothing for now; what is owed waits.

    \b
    Example:
      fanway push pause 4a1f0c7e9b2d8365
    """
    call(gateway, "POST", _place(id, "/pause"))
    print_line(safe(f"{id} paused"))


@push.command("resume")
@click.argument("id")
@gateway_options
def push_resume(gateway: Gateway, id: str) -> None:
    """Send again, also after the sink had said that it is gone.

    \b
    Example:
      fanway push resume 4a1f0c7e9b2d8365
    """
    call(gateway, "POST", _place(id, "/resume"))
    print_line(safe(f"{id} resumed"))


@push.command("validate")
@click.argument("id")
@gateway_options
def push_validate(gateway: Gateway, id: str) -> None:
    """Ask the sink again whether it wants events.

    \b
    Example:
      fanway push validate 4a1f0c7e9b2d8365
    """
    found = call(gateway, "POST", _place(id, "/validate"))
    print_line("\t".join(map(safe, (id, found["state"], found["reason"]))).rstrip())


@push.command("secret")
@click.argument("id")
@click.option("--drop", is_flag=True, help="Sign no more by the one before, instead of making a new one.")
@gateway_options
def push_secret(gateway: Gateway, id: str, drop: bool) -> None:
    """Make a new signing secret and print it; the one before signs beside it until it is dropped.

    \b
    Examples:
      fanway push secret 4a1f0c7e9b2d8365
      fanway push secret 4a1f0c7e9b2d8365 --drop
    """
    if drop:
        call(gateway, "DELETE", _place(id, "/secret/previous"))
        print_line(safe(f"{id} signs by its newest secret only"))
    else:
        print_line(safe(call(gateway, "POST", _place(id, "/secret"), {})["secret"]))


def _state(status: dict[str, Any]) -> str:
    if not status["isEnabled"]:
        return f"stopped: {status['stoppedBecause']}" if status["stoppedBecause"] else "paused"
    state = status["validation"]["state"]
    return "active" if state == "granted" else f"consent {state}"


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise click.UsageError("A header reads 'NAME: VALUE'.")
    return name.strip(), value.strip()
