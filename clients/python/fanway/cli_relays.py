"""`fanway listen`, `open` and `forward`: who answers, and sockets."""

from __future__ import annotations

import asyncio
import re
from typing import get_args

import click

from fanway.asgi import load_code
from fanway.cli_events import print_line
from fanway.cli_options import StandardInput, gateway_options, instance_option, run, safe, say, write_body
from fanway.connect import Gateway
from fanway.errors import ConfigurationError, RelayError
from fanway.exchange import Request, Response
from fanway.listener import Handlers, Offer
from fanway.listener_wire import Demand, Profile, Terms
from fanway.relay import Relay
from fanway.socket import READ_BYTES, Socket, reset
from fanway.targets import Target, WebManners, parse_target
from fanway.tcp import join_stream

_DEMAND = click.Choice(get_args(Demand), case_sensitive=False)


@click.command()
@click.argument("address")
@click.option("--to", "target", required=True, metavar="TARGET", help="Where requests and sockets go.")
@click.option(
    "--rewrite/--no-rewrite",
    "rewrites",
    default=True,
    help="Make redirects and cookie paths of a web application fit what senders see (default).",
)
@click.option("--keep-host", "keeps_host", is_flag=True, help="It gets the Host that the sender asked, not its own.")
@click.option("--profile", type=click.Choice(get_args(Profile), case_sensitive=False), help="What the relay shall be.")
@click.option("--client-authorization", type=_DEMAND, help="Whether its senders need a token.")
@click.option("--transport-security", type=_DEMAND, help="Whether its senders need TLS.")
@click.option("--public", is_flag=True, help="List it in the discovery feed while somebody listens.")
@click.option("--display-name", metavar="NAME", help="Its name there.")
@click.option("--instance", metavar="NAME", help="A name by which senders can choose this listener among several.")
@gateway_options
def listen(
    gateway: Gateway,
    address: str,
    target: str,
    rewrites: bool,
    keeps_host: bool,
    profile: Profile | None,
    client_authorization: Demand | None,
    transport_security: Demand | None,
    public: bool,
    display_name: str | None,
    instance: str | None,
) -> None:
    """Listen at an address and hand what comes to something local.

    \b
    TARGET:
      :3000, localhost:3000, http://…  an HTTP server; the address is cut off the path
      tcp://host:port, unix:/path      a TCP or Unix server, for sockets
      net.tcp://host:port/path         a net.tcp service (WCF), which gets its own address as the via
      module:app                       a Python handler function or an ASGI application
      -                                standard output
    \b
    Examples:
      fanway listen shop --to localhost:3000
      fanway listen db --to tcp://127.0.0.1:5432
      fanway listen alarms --profile netEvent --to localhost:3000

    With --profile and what follows it a relay that comes into being by this listener is made so; one that exists
    must be so. A message to a netEvent relay goes to every listener, one to netOneway to one of them; their answers
    go nowhere.
    """
    terms = Terms(profile, client_authorization, transport_security, public or None, display_name)
    run(_listen(gateway, address, target, WebManners(rewrites, keeps_host), terms, instance))


async def _listen(
    gateway: Gateway, address: str, text: str, manners: WebManners, terms: Terms, instance: str | None
) -> None:
    target = _target(text, address, manners)
    try:
        async with Relay(gateway) as relay:
            relay.listen_with(address, target.handlers(), terms, instance)
            await relay.listening()
            where = f"{address} of {gateway.url}" if text.startswith("net.tcp:") else f"{gateway.url}/{address}"
            say(f"listening at {where} for {text} (end with Ctrl-C)")
            await relay.run()
    finally:
        await target.close()


def _target(text: str, address: str, manners: WebManners) -> Target:
    if text == "-":
        return PrintTarget()
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", text):
        return load_code(text, address)
    return parse_target(text, address, manners)


class PrintTarget:
    """Standard output: one line for every request and every message of a socket; requests are answered 204."""

    def handlers(self) -> Handlers:
        return Handlers(self._request, self._offer)

    async def close(self) -> None:
        pass

    async def _request(self, request: Request) -> Response:
        body = (await request.read()).decode("utf-8", "replace")
        print_line(f"{safe(request.method)} {safe(request.target)}\t{safe(body)}")
        return Response(status=204)

    async def _offer(self, offer: Offer) -> None:
        async with await offer.accept(offer.subprotocols[0] if offer.subprotocols else None) as socket:
            async for message in socket:
                text = message if isinstance(message, str) else message.decode("utf-8", "replace")
                print_line(f"SOCKET {safe(offer.target)}\t{safe(text)}")


@click.command(name="open")
@click.argument("address")
@click.option("--path", default="", help="Path and query added to the address.")
@instance_option
@gateway_options
def open_(gateway: Gateway, address: str, path: str, instance: str | None) -> None:
    """Open a socket and join it to standard input and output; the end of input closes our direction only.

    \b
    Example:
      fanway open db < query.bin > answer.bin
    """
    run(_open(Relay(gateway), address, path, instance))


async def _open(relay: Relay, address: str, path: str, instance: str | None) -> None:
    async with relay:
        socket = await relay.open(address, path=path, instance=instance)
        sending = asyncio.create_task(_send_input(socket))
        try:
            async for fragment in socket.fragments():
                write_body(fragment.data, end="")
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        await socket.close()


async def _send_input(socket: Socket) -> None:
    async for piece in StandardInput().pieces():
        await socket.send(piece)
    await socket.close_send()


@click.command()
@click.option(
    "-L", "--local", "locals_", multiple=True, required=True, metavar="[HOST:]PORT:ADDRESS", help="Repeatable."
)
@instance_option
@gateway_options
def forward(gateway: Gateway, locals_: tuple[str, ...], instance: str | None) -> None:
    """Make relayed sockets reachable as local TCP ports. The other end runs `fanway listen … --to tcp://…`.

    \b
    Example:
      fanway forward -L 5432:db
    """
    run(_forward(gateway, [parse_forward(text) for text in locals_], instance))


async def _forward(gateway: Gateway, forwards: list[tuple[str, int, str]], instance: str | None) -> None:
    async with Relay(gateway) as relay:
        servers = []
        for host, port, address in forwards:

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str = address) -> None:
                await serve_forward(relay, address, reader, writer, instance)

            try:
                server = await asyncio.start_server(serve, host, port, limit=READ_BYTES)
            except OSError as error:
                raise ConfigurationError(f"{host}:{port} cannot be listened on: {error.strerror}.") from None
            servers.append(server)
            say(f"{host}:{server.sockets[0].getsockname()[1]} leads to {address} (end with Ctrl-C)")
        await asyncio.gather(*(server.serve_forever() for server in servers))


async def serve_forward(
    relay: Relay,
    address: str,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    instance: str | None = None,
) -> None:
    """Join one local TCP connection to a relayed socket; when that cannot be had, the TCP peer is reset."""
    try:
        socket = await relay.open(address, instance=instance)
    except RelayError as error:
        reset(writer)
        say(f"{address}: {error}")
        return
    await join_stream(socket, reader, writer)


def parse_forward(text: str) -> tuple[str, int, str]:
    """`[HOST:]PORT:ADDRESS` as (host, port, address); the host is the loopback if not given."""
    match = re.fullmatch(r"(?:(\[[^\]]+\]|[^:]+):)?(\d{1,5}):(.+)", text)
    if not match or int(match.group(2)) > 65535:
        raise click.UsageError(f"-L takes [HOST:]PORT:ADDRESS, not {text!r}.")
    return (match.group(1) or "127.0.0.1").strip("[]"), int(match.group(2)), match.group(3)
