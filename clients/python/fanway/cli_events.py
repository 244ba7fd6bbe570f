"""`fanway publish`, and how events are printed."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import click

from fanway.cli_options import StandardInput, gateway_options, run, safe
from fanway.connect import Gateway
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
        "attempt": event.attempt if event.deadline is not None else None,
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
