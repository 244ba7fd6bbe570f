"""`fanway publish` and `fanway subscribe`."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

import click

from fanway.cli_options import StandardInput, gateway_options, run, safe, say
from fanway.connect import Gateway
from fanway.errors import RelayTimeoutError
from fanway.event import Event
from fanway.relay import Relay


@click.command()
@click.argument("address")
@click.argument("data", required=False)
@click.option("--type", "type_", help="The event's type.")
@click.option("--content-type", help="The payload's media type (default: application/json if it is JSON).")
@click.option("--id", "id_", help="The event's id (default: the gateway gives one).")
@click.option("--partition-key", metavar="KEY", help="Events of one key belong together.")
@click.option("--ttl", metavar="PERIOD", help="For how long it may be given to anybody, such as 30s, 5m or 12h.")
@click.option("--not-before", "not_before", metavar="TIME|PERIOD", help="When it is published.")
@click.option("--in", "in_", metavar="PERIOD", help="The same, as a period from now.")
@click.option("--retain/--no-retain", default=None, help="Whether it becomes the last event of its address.")
@click.option("--file", "file", type=click.File("rb"), help="Take the payload from a file.")
@click.option("--lines", is_flag=True, help="Publish every line of the file or of standard input as one event.")
@gateway_options
def publish(
    gateway: Gateway,
    address: str,
    data: str | None,
    type_: str | None,
    content_type: str | None,
    id_: str | None,
    partition_key: str | None,
    ttl: str | None,
    not_before: str | None,
    in_: str | None,
    retain: bool | None,
    file: Any,
    lines: bool,
) -> None:
    """Publish an event and print its receipt, one JSON object a line.

    DATA is the payload; `-` reads it from standard input.

    \b
    Examples:
      fanway publish orders/eu/7 '{"total": 42}'
      tail -f app.log | fanway publish logs/web - --lines
      fanway publish orders/eu/7/remind --in 30m --ttl 1h
    """
    if (data is None) == (file is None) and not (lines and data is None):
        raise click.UsageError("Give DATA (or - for standard input) or --file.")
    if lines and id_:
        raise click.UsageError("--id names one event; with --lines every event gets its own.")
    if not_before is not None and in_ is not None:
        raise click.UsageError("--not-before and --in both say when.")
    wishes = {"type": type_, "id": id_, "key": partition_key, "ttl": ttl, "retain": retain}
    wishes["not_before"] = in_ if not_before is None else not_before
    run(_publish(Relay(gateway), address, data, file, lines, content_type, wishes))


async def _publish(
    relay: Relay,
    address: str,
    data: str | None,
    file: Any,
    lines: bool,
    content_type: str | None,
    wishes: dict[str, Any],
) -> None:
    async with relay:

        async def send(payload: bytes) -> None:
            value, kind = as_data(payload)
            receipt = await relay.publish(address, value, content_type=content_type or kind, **wishes)
            print_line(json.dumps({name: value for name, value in receipt._asdict().items() if _is_told(name, value)}))

        if lines and file is not None:
            for line in file:
                await send(line.rstrip(b"\r\n"))
        elif lines:
            async for line in StandardInput().lines():
                await send(line)
        elif file is not None:
            await send(file.read())
        elif data == "-":
            await send(await StandardInput().read())
        else:
            await send((data or "").encode("utf-8", "surrogateescape"))


def _is_told(name: str, value: Any) -> bool:
    """Whether a member of a receipt says something."""
    return value is not None and not (name == "duplicate" and value is False)


def as_data(payload: bytes) -> tuple[str | bytes, str | None]:
    """A payload from outside as (value, media type): text where it is text, JSON named where it is JSON."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return payload, None
    try:
        json.loads(text)
    except ValueError:
        return text, None
    return text, "application/json"


@click.command()
@click.argument("pattern")
@click.option("--from", "start", default="now", metavar="CURSOR|TIME|start|retained|now", help="Where to begin.")
@click.option("--where", multiple=True, metavar="NAME=TEXT", help="Only events whose attribute is this text.")
@click.option("--where-prefix", multiple=True, metavar="NAME=TEXT", help="Only those whose attribute begins with it.")
@click.option("--where-suffix", multiple=True, metavar="NAME=TEXT", help="Only those whose attribute ends with it.")
@click.option("--filter", "filter_", metavar="JSON", help="Only those that pass a filter of CloudEvents dialects.")
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
    as_json: bool,
    count: int | None,
    timeout: float | None,
) -> None:
    """Print events as they come: address, a tab, the payload.

    `*` stands for one segment, a final `**` for any number. Survives reconnects. Ends with 1 if
    --timeout passes before --count events came. Of several --where… and --filter all must hold;
    attributes are such as type, source, subject.

    \b
    Examples:
      fanway subscribe 'orders/**'
      fanway subscribe 'orders/*/7' --from start --json --count 1
      fanway subscribe 'orders/**' --where type=order.created
    """
    wanted = as_filter({"exact": where, "prefix": where_prefix, "suffix": where_suffix}, filter_)
    run(_subscribe(Relay(gateway), pattern, start, wanted, as_json, count, timeout))


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
    start: str,
    wanted: Any,
    as_json: bool,
    count: int | None,
    seconds: float | None,
) -> None:
    seen = 0
    async with relay:
        try:
            async with asyncio.timeout(seconds):
                subscription = await relay.subscribe(pattern, after=start, filter=wanted).ready()
                say(f"subscribed to {pattern}" + (f" from {subscription.cursor}" if subscription.cursor else ""))
                async for event in subscription:
                    if event.missed:
                        say(f"! a gap: events before {event.cursor} may be missing ({event.missed} or more)")
                    print_line(as_json_line(event) if as_json else as_line(event))
                    seen += 1
                    if seen == count:
                        return
        except RelayTimeoutError:
            raise
        except TimeoutError:
            if count:
                raise RelayTimeoutError(f"{seen} of {count} events came within {seconds:g} s.") from None


def as_line(event: Event) -> str:
    """An event for a reader: nothing in it can steer a terminal."""
    try:
        text = event.text
    except UnicodeDecodeError:
        text = "base64:" + base64.b64encode(event.data).decode()
    return f"{safe(event.address)}\t{safe(text)}"


def as_json_line(event: Event) -> str:
    """An event for a program: JSON in ASCII; `data` where it is text, else `data_base64`."""
    members: dict[str, Any] = {
        "address": event.address,
        "cursor": event.cursor,
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "time": event.time,
        "content_type": event.content_type,
        "attributes": dict(event.attributes) or None,
        "missed": event.missed or None,
    }
    line = {name: value for name, value in members.items() if value is not None}
    try:
        line["data"] = event.text
    except UnicodeDecodeError:
        line["data_base64"] = base64.b64encode(event.data).decode()
    return json.dumps(line).replace("\x7f", "\\u007f")


def print_line(line: str) -> None:
    """One line on standard output, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
