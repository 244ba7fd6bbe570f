"""`fanway ticket`: a stand-in for one's token that may stand in a URL."""

from __future__ import annotations

import click

from fanway.cli_events import print_line
from fanway.cli_options import gateway_options, run
from fanway.connect import Gateway
from fanway.relay import Relay
from fanway.tickets import Ticket


@click.command()
@click.option("--ttl", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Seconds to use it in (60).")
@click.option("--once", is_flag=True, help="It is good for one use.")
@click.option(
    "--allow", multiple=True, metavar="ACTION=PATTERN", help="All it shall do, such as `subscribe=user/42/**`."
)
@gateway_options
def ticket(gateway: Gateway, ttl: float | None, once: bool, allow: tuple[str, ...]) -> None:
    """Print a ticket: for `?sb-hc-token=` in the URLs of a browser, where no token should stand.

    \b
    Example:
      fanway ticket --ttl 30 --allow 'subscribe=orders/**'
    """
    wanted: dict[str, list[str]] = {}
    for each in allow:
        action, equals, pattern = each.partition("=")
        if not equals:
            raise click.UsageError("--allow takes an action and a pattern, such as subscribe=user/42/**.")
        wanted.setdefault(action, []).append(pattern)

    async def ask() -> Ticket:
        async with Relay(gateway) as relay:
            return await relay.ticket(seconds=ttl, once=once, allow=wanted or None)

    print_line(run(ask()).text)
