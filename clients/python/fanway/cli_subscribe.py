"""`fanway subscribe`: events printed, or a command run for each; shared with others if wanted."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from typing import Any

import click

from fanway.cli_events import as_json_line, as_line, print_line
from fanway.cli_options import gateway_options, run, say
from fanway.connect import Gateway
from fanway.errors import RelayTimeoutError, UnknownDeliveryError
from fanway.event import Event
from fanway.relay import Relay


@click.command()
@click.argument("pattern")
@click.option("--from", "start", default="now", metavar="CURSOR|TIME|start|retained|now", help="Where to begin.")
@click.option("--where", multiple=True, metavar="NAME=TEXT", help="Only events whose attribute is this text.")
@click.option("--where-prefix", multiple=True, metavar="NAME=TEXT", help="Only those whose attribute begins with it.")
@click.option("--where-suffix", multiple=True, metavar="NAME=TEXT", help="Only those whose attribute ends with it.")
@click.option("--filter", "filter_", metavar="JSON", help="Only those that pass a filter of CloudEvents dialects.")
@click.option("--group", metavar="NAME", help="Share them with all who subscribe under this name: each goes to one.")
@click.option("--durable", metavar="NAME", help="So too; the relay keeps what was not printed yet for whoever comes.")
@click.option("--partition-by", metavar="ATTRIBUTE", help="Events with one value of it go to one of those who share.")
@click.option("--ack-wait", type=float, metavar="S", help="Of a new durable one: after S seconds an event comes again.")
@click.option("--max-deliveries", type=int, metavar="N", help="Of a new durable one: how often an event is tried.")
@click.option("--dead-letter", metavar="ADDRESS", help="Of a new durable one: where events go that failed so often.")
@click.option("--exec", "command", metavar="COMMAND", help="Run a shell command for each, instead of printing it.")
@click.option("--json", "as_json", is_flag=True, help="Print every event whole, as one JSON object a line.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N events.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="End after S seconds.")
@gateway_options
def subscribe(
    gateway: Gateway,
    pattern: str,
    start: str,
    where: tuple[str, ...],
    where_prefix: tuple[str, ...],
    where_suffix: tuple[str, ...],
    filter_: str | None,
    group: str | None,
    durable: str | None,
    partition_by: str | None,
    ack_wait: float | None,
    max_deliveries: int | None,
    dead_letter: str | None,
    command: str | None,
    as_json: bool,
    count: int | None,
    timeout: float | None,
) -> None:
    """Print events as they come: address, a tab, the payload.

    `*` stands for one segment, a final `**` for any number. Survives reconnects. Ends with 1 if
    --timeout passes before --count events came. Of several --where… and --filter all must hold;
    attributes are such as type, source, subject.

    --durable acknowledges each event after it was printed: what was not comes again, here or at another
    of that name. --exec gives the payload on standard input, and EVENT_ADDRESS, _ID, _TYPE,
    _CURSOR and _ATTEMPT; of a durable subscription an event whose command fails comes again.

    \b
    Examples:
      fanway subscribe 'orders/**'
      fanway subscribe 'orders/*/7' --from start --json --count 1
      fanway subscribe 'orders/**' --where type=order.created
      fanway subscribe 'jobs/**' --durable workers --exec ./work.sh
    """
    if group and durable:
        raise click.UsageError("Those who subscribe with --durable share it already; leave out --group.")
    options = {
        "after": start,
        "filter": as_filter({"exact": where, "prefix": where_prefix, "suffix": where_suffix}, filter_),
        "group": group,
        "durable": durable,
        "ack": "manual" if durable and command else "auto",
        "key": partition_by,
        "credit": 1 if command and (group or durable) else None,  # what waits is for others, who may be idle
        "ack_wait": ack_wait,
        "max_deliveries": max_deliveries,
        "dead_letter": dead_letter,
    }
    run(_subscribe(Relay(gateway), pattern, options, _Taker(command, as_json), count, timeout))


def as_filter(wheres: dict[str, tuple[str, ...]], text: str | None) -> Any:
    """The filter that the options ask for, by all of NAME=TEXT in their dialects and what is JSON; None for none."""
    found: list[Any] = []
    for dialect, pairs in wheres.items():
        for pair in pairs:
            name, equals, value = pair.partition("=")
            if not (name and equals and value):
                raise click.UsageError(f"Not NAME=TEXT: {pair!r}.")
            found.append({dialect: {name: value}})
    if text is not None:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise click.UsageError(f"--filter is not JSON: {error}.") from None
        found += value if isinstance(value, list) else [value]
    return found[0] if len(found) == 1 else found or None


async def _subscribe(
    relay: Relay,
    pattern: str,
    options: dict[str, Any],
    taker: _Taker,
    count: int | None,
    seconds: float | None,
) -> None:
    seen = 0
    async with relay:
        try:
            async with asyncio.timeout(seconds):
                subscription = await relay.subscribe(pattern, **options).ready()
                say(f"subscribed to {pattern}" + (f" from {subscription.cursor}" if subscription.cursor else ""))
                async for event in subscription:
                    if event.missed:
                        say(f"! a gap: events before {event.cursor} may be missing ({event.missed} or more)")
                    await taker.take(event)
                    seen += 1
                    if seen == count:
                        if event.deadline is not None and taker.command is None:
                            await event.ack()  # nobody goes on to the next one
                        return
        except RelayTimeoutError:
            raise
        except TimeoutError:
            if count:
                raise RelayTimeoutError(f"{seen} of {count} events came within {seconds:g} s.") from None


@dataclass(frozen=True, slots=True)
class _Taker:
    """What is done with an event."""

    command: str | None
    as_json: bool

    async def take(self, event: Event) -> None:
        """Print it; or run the command, and acknowledge it or give it back."""
        if self.command is None:
            print_line(as_json_line(event) if self.as_json else as_line(event))
            return
        code = await _execute(self.command, event)
        if code:
            say(f"! the command failed with {code}: {event.address} {event.cursor}")
        if event.deadline is None:
            return
        try:
            await (event.nack(reason=f"The command failed with {code}.") if code else event.ack())
        except UnknownDeliveryError:
            say(f"! too late, it comes again: {event.address} {event.cursor}")


async def _execute(command: str, event: Event) -> int:
    """The exit code of the command, which has the event on its standard input and in its environment."""
    told = {
        "ADDRESS": event.address,
        "ID": event.id,
        "TYPE": event.type or "",
        "CURSOR": event.cursor,
        "ATTEMPT": str(event.attempt),
    }
    environ = {f"EVENT_{name}": value.replace("\0", "") for name, value in told.items()}
    process = await asyncio.create_subprocess_shell(command, stdin=PIPE, env=os.environ | environ)
    try:
        await process.communicate(event.data)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    return process.returncode or 0
