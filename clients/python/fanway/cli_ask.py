"""`fanway ask`: one listener, or with `--all` everybody who listens at a pattern."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import click

from fanway.asking import ListenerAnswer, StopRules, Summary
from fanway.cli_events import as_data, print_line
from fanway.cli_options import StandardInput, gateway_options, instance_option, run, safe, say, write_body
from fanway.connect import Gateway
from fanway.errors import RelayError
from fanway.relay import Relay


def _duration(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """`300ms`, `2s` or plain seconds, as seconds."""
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s)?", value)
    if not match:
        raise click.BadParameter(f"{value!r} is no time such as 300ms, 2s or 1.5.")
    return float(match[1]) / (1000 if match[2] == "ms" else 1)


@click.command()
@click.argument("address")
@click.argument("data", required=False)
@click.option("--method", help="The HTTP method (default: POST with DATA, GET without).")
@click.option("--path", default="", help="Path and query added to the address.")
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME: VALUE", help="A header field; repeatable.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Seconds to wait (default: 60).")
@instance_option
@click.option("--all", "asks_all", is_flag=True, help="ADDRESS is a pattern: ask everybody who listens there.")
@click.option("--max", "most", type=click.IntRange(min=1), metavar="N", help="With --all: N answers are enough.")
@click.option("--wait", callback=_duration, metavar="TIME", help="With --all: end after 300ms, 2s, … (default: 10s).")
@click.option("--stall", callback=_duration, metavar="TIME", help="With --all: end so long after the last answer.")
@click.option("--first", is_flag=True, help="With --all: the first answer below 400 is enough.")
@click.option("--json", "as_json", is_flag=True, help="With --all: each answer whole, as one JSON object a line.")
@gateway_options
def ask(
    gateway: Gateway,
    address: str,
    data: str | None,
    method: str | None,
    path: str,
    headers: tuple[str, ...],
    timeout: float | None,
    instance: str | None,
    asks_all: bool,
    most: int | None,
    wait: float | None,
    stall: float | None,
    first: bool,
    as_json: bool,
) -> None:
    """Ask one listener and print its answer's body; ends with 1 if the status is 400 or more.

    With --all everybody who listens at an address that the pattern matches is asked. Each answer is a line: address,
    instance name, status, body. Who failed, and the summary, are told on standard error. Ends with 1 if nobody
    answered.

    \b
    Examples:
      fanway ask shop/price '{"sku": 7}'
      fanway ask shop --path '/cart?open=1' -H 'Accept: text/plain'
      fanway ask --all 'plant/*/status' --wait 1s
    """
    fields: dict[str, str] = {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise click.UsageError(f"-H takes 'Name: value', not {header!r}.")
        fields[name.strip()] = value.strip()
    rules = StopRules(most, wait, stall, first)
    if asks_all:
        if path or timeout is not None:
            raise click.UsageError("--path and --timeout are for one listener; with --all there is --wait.")
        run(_ask_all(Relay(gateway), address, data, method, fields, instance, rules, as_json))
    elif rules != StopRules() or as_json:
        raise click.UsageError("--max, --wait, --stall, --first and --json go with --all.")
    else:
        seconds = 60.0 if timeout is None else timeout
        run(_ask(Relay(gateway), address, data, method, path, fields, seconds, instance))


async def _ask(
    relay: Relay,
    address: str,
    data: str | None,
    method: str | None,
    path: str,
    fields: dict[str, str],
    seconds: float,
    instance: str | None,
) -> None:
    async with relay:
        body = await _body(data, fields)
        answer = await relay.ask(
            address, body, timeout=seconds, method=method, path=path, headers=fields, instance=instance
        )
    write_body(answer.content)
    if answer.status >= 400:
        raise RelayError(f"The listener answered {answer.status} {answer.reason}".rstrip() + ".")


async def _ask_all(
    relay: Relay,
    pattern: str,
    data: str | None,
    method: str | None,
    fields: dict[str, str],
    instance: str | None,
    rules: StopRules,
    as_json: bool,
) -> None:
    async with relay:
        body = await _body(data, fields)
        asking = relay.ask_all(pattern, body, **rules._asdict(), method=method, headers=fields, instance=instance)
        async with asking:
            async for answer in asking:
                if answer.error is not None:
                    say(f"{_name(answer.address, answer.instance)} failed: {answer.error} ({answer.status})")
                elif not as_json:
                    print_line(as_line(answer))
                if as_json:
                    print_line(as_json_line(answer))
    assert asking.summary is not None
    say(as_words(asking.summary))
    if not asking.summary.answered:
        raise RelayError("Nobody answered.")


async def _body(data: str | None, fields: dict[str, str]) -> str | bytes | None:
    """What is asked; `-` is standard input. Its content type goes into the fields unless one stands there."""
    if data is None:
        return None
    raw = await StandardInput().read() if data == "-" else data.encode("utf-8", "surrogateescape")
    body, kind = as_data(raw)
    if kind and not any(name.lower() == "content-type" for name in fields):
        fields["Content-Type"] = kind
    return body


def as_line(answer: ListenerAnswer) -> str:
    """An answer for a reader: nothing in it can steer a terminal."""
    try:
        text = answer.text
    except UnicodeDecodeError:
        text = "base64:" + base64.b64encode(answer.content).decode()
    return f"{safe(answer.address)}\t{safe(answer.instance or '-')}\t{answer.status}\t{safe(text)}"


def as_json_line(answer: ListenerAnswer) -> str:
    """An answer for a program: JSON in ASCII; `data` where it is text, else `data_base64`, or the `error`."""
    members: dict[str, Any] = {
        "address": answer.address,
        "listener": answer.listener,
        "instance": answer.instance,
        "status": answer.status,
        "content_type": answer.headers.get("Content-Type"),
        "error": str(answer.error) if answer.error is not None else None,
    }
    line = {name: value for name, value in members.items() if value is not None}
    if answer.content:
        try:
            line["data"] = answer.text
        except UnicodeDecodeError:
            line["data_base64"] = base64.b64encode(answer.content).decode()
    return json.dumps(line).replace("\x7f", "\\u007f")


def as_words(summary: Summary) -> str:
    """A summary in one line."""
    words = f"{summary.answered} of {summary.asked} answered"
    if summary.failed:
        words += f", {summary.failed} failed"
    if count := summary.asked - summary.answered - summary.failed:
        named = ", ".join(_name(who.address, who.instance) for who in summary.missing)
        words += f", {count} missing: {named}" + (", …" if count > len(summary.missing) else "")
    return f"{words} (ended by: {summary.why})"


def _name(address: str, instance: str | None) -> str:
    return f"{address} ({instance})" if instance else address
