"""`fanway namespace` and `alias`: the namespaces of a gateway, and the host names that lead into them."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit

import click

from fanway.address import check_address
from fanway.cli_events import print_line
from fanway.cli_manage import call, connection_string
from fanway.cli_options import gateway_options, safe, say
from fanway.connect import Gateway, with_host
from fanway.management import items_of


@click.group()
def namespace() -> None:
    """List, add and remove namespaces; for who manages the gateway's primary one."""


@namespace.command("ls")
@click.option("--json", "as_json", is_flag=True, help="Print the namespaces as JSON, one a line.")
@gateway_options
def namespace_ls(gateway: Gateway, as_json: bool) -> None:
    """List the namespaces.

    \b
    Example:
      fanway namespace ls
    """
    for item in items_of(call(gateway, "GET", "namespaces"), "namespaces"):
        if as_json:
            print_line(json.dumps(item))
        else:
            hosts = [*item["hosts"], *(alias["host"] for alias in item["aliases"])]
            kind = "primary" if item["isPrimary"] else "further"
            print_line(f"{safe(item['name'])}\t{kind}\t{item['relayCount']} relays\t{safe(', '.join(hosts))}")


@namespace.command("add")
@click.argument("name")
@click.option("--alias", "aliases", multiple=True, metavar="HOST", help="A host name that leads to it; repeatable.")
@gateway_options
def namespace_add(gateway: Gateway, name: str, aliases: tuple[str, ...]) -> None:
    """Add a namespace and print its connection string; one that is there stays as it is.

    The string holds the first --alias; without any it holds the name itself if that has a dot, else NAME.localhost.

    \b
    Examples:
      fanway namespace add tenant
      fanway namespace add tenant --alias tenant.example.org
    """
    place = f"namespaces/{quote(name, safe='')}"
    call(gateway, "PUT", place)
    keys = call(gateway, "GET", f"{place}/keys")
    for alias in aliases:
        call(gateway, "PUT", f"{place}/aliases/{quote(alias, safe='')}")
    host = next(iter(aliases), name if "." in name else f"{name}.localhost").lower()
    found = replace(gateway, url=with_host(gateway.url, host), tls_url=with_host(gateway.tls_url, host))
    print_line(connection_string(found, keys["name"], keys["primaryKey"], None))
    note = unresolved(host, urlsplit(found.url).port)
    if note:
        say(note)


@namespace.command("rm")
@click.argument("name")
@gateway_options
def namespace_rm(gateway: Gateway, name: str) -> None:
    """Remove a namespace with everything in it; what lives there is closed.

    \b
    Example:
      fanway namespace rm tenant
    """
    call(gateway, "DELETE", f"namespaces/{quote(name, safe='')}")
    print_line(safe(f"{name} removed"))


@click.group()
def alias() -> None:
    """List, add and remove further host names of the namespace."""


@alias.command("ls")
@click.option("--json", "as_json", is_flag=True, help="Print the aliases as JSON, one a line.")
@gateway_options
def alias_ls(gateway: Gateway, as_json: bool) -> None:
    """List the aliases and the addresses that they lead to.

    \b
    Example:
      fanway alias ls
    """
    for item in items_of(call(gateway, "GET", "aliases"), "aliases"):
        print_line(json.dumps(item) if as_json else f"{safe(item['host'])}\t/{safe(item['address'])}")


@alias.command("add")
@click.argument("host")
@click.argument("address", required=False)
@gateway_options
def alias_add(gateway: Gateway, host: str, address: str | None) -> None:
    """Let the namespace answer to a host name; with ADDRESS, let the name lead there.

    \b
    Examples:
      fanway alias add relay.example.org
      fanway alias add demo.localhost demo
    """
    body: dict[str, Any] = {"address": check_address(address)} if address else {}
    call(gateway, "PUT", f"aliases/{quote(host, safe='')}", body)
    print_line(safe(f"{host} leads to /{address or ''}"))


@alias.command("rm")
@click.argument("host")
@gateway_options
def alias_rm(gateway: Gateway, host: str) -> None:
    """Take a host name away.

    \b
    Example:
      fanway alias rm demo.localhost
    """
    call(gateway, "DELETE", f"aliases/{quote(host, safe='')}")
    print_line(safe(f"{host} removed"))


def unresolved(host: str, port: int | None) -> str:
    """What to do when this machine's programs would not find the host; '' when they do."""
    try:
        socket.getaddrinfo(host, port)
    except OSError:
        if host.endswith(".localhost"):
            return (
                f"note: this machine does not resolve {host}. Browsers, curl and Fanway's own clients know where names"
                f" below localhost are; for other programs add a line '127.0.0.1 {host}' to /etc/hosts, or a name that"
                " is known with --alias."
            )
        return (
            f"note: this machine does not resolve {host}. Let it lead to the gateway, by DNS or by a line in"
            " /etc/hosts, and see to a certificate for it (docs/operations.md, Certificates)."
        )
    return ""
