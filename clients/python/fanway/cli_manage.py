"""`fanway relay`, `key`, `token` and `status`: what is provisioned, over the gateway's `/-/api`."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlsplit

import click

from fanway.address import check_address, check_pattern, literal_prefix
from fanway.cli_events import print_line
from fanway.cli_options import gateway_options, safe, say
from fanway.connect import Gateway
from fanway.errors import ConfigurationError, RelayError
from fanway.management import Management, items_of
from fanway.token import make_token

PROFILES = ("native", "hybridConnection", "http", "netTcp")  # the others come into being by use
RIGHTS = click.Choice(["Listen", "Send", "Manage"], case_sensitive=False)
SLOW = ("close", "drop", "catch-up", "block")


def call(gateway: Gateway, method: str, path: str, body: Any = None, query: dict[str, str] | None = None) -> Any:
    """One request to `/-/api`; the decoded JSON answer. Raises RelayError."""
    with Management(gateway) as api:
        return api.call(method, path, body, query)


@click.group()
def relay() -> None:
    """List, add and remove relays."""


@relay.command("ls")
@click.option("--json", "as_json", is_flag=True, help="Print the relays as JSON, one a line.")
@gateway_options
def relay_ls(gateway: Gateway, as_json: bool) -> None:
    """List the relays.

    \b
    Example:
      fanway relay ls
    """
    for item in items_of(call(gateway, "GET", "relays"), "relays"):
        if as_json:
            print_line(json.dumps(item))
        else:
            kind = "dynamic" if item.get("isDynamic") else "provisioned"
            print_line(
                f"{safe(str(item.get('name')))}\t{safe(str(item.get('profile')))}\t{kind}\t"
                f"{item.get('listenerCount', 0)} listeners\t{item.get('subscriptionCount', 0)} subscriptions"
            )


@relay.command("add")
@click.argument("name")
@click.option("--profile", type=click.Choice(PROFILES), help="Whom it imitates.")
@click.option("--anonymous", is_flag=True, help="Senders need no token.")
@click.option("--public", is_flag=True, help="List it in the discovery feed while somebody listens.")
@click.option("--display-name", metavar="TEXT", help="Its name there (default: the last segment of NAME).")
@click.option("--history", metavar="N|none", help="Most events it remembers.")
@click.option("--history-seconds", type=click.FloatRange(min=0), metavar="S", help="And how long, at most.")
@click.option("--history-bytes", type=click.IntRange(min=0), metavar="BYTES", help="And how much payload, at most.")
@click.option("--durable", is_flag=True, help="Remember them on disk; a publish is acknowledged when it is there.")
@click.option("--retain", is_flag=True, help="Keep the last event of each address.")
@click.option("--slow", type=click.Choice(SLOW), help="What becomes of slow consumers.")
@click.option("--budget", type=click.IntRange(min=1), metavar="BYTES", help="What a subscriber may owe.")
@click.option("--max-event", type=click.IntRange(min=1), metavar="BYTES", help="Largest payload of an event.")
@click.option("--dedup", type=click.FloatRange(min=0), metavar="SECONDS", help="How long an id is known; 0: never.")
@click.option("--schema", type=click.File("rb"), metavar="FILE", help="A JSON Schema that payloads must satisfy.")
@gateway_options
def relay_add(
    gateway: Gateway,
    name: str,
    profile: str | None,
    anonymous: bool,
    public: bool,
    display_name: str | None,
    history: str | None,
    history_seconds: float | None,
    history_bytes: int | None,
    durable: bool,
    retain: bool,
    slow: str | None,
    budget: int | None,
    max_event: int | None,
    dedup: float | None,
    schema: Any,
) -> None:
    """Provision a relay, or replace its settings.

    Whichever limit of its history is reached first cuts; those that are not given are as the gateway has them.

    \b
    Examples:
      fanway relay add orders --history 5000 --history-seconds 86400
      fanway relay add orders --durable
      fanway relay add orders --schema order.json --max-event 10000
    """
    settings: dict[str, Any] = {"profile": profile, "displayName": display_name, "slow": slow, "budget": budget}
    settings |= {"maxEventBytes": max_event, "dedupSeconds": dedup}
    if schema is not None:
        settings["eventSchema"] = _read_schema(schema)
    if anonymous:
        settings["requiresClientAuthorization"] = False
    if public:
        settings["isPublic"] = True
    if retain:
        settings["retain"] = "last"
    settings["history"] = _history(history, history_seconds, history_bytes, durable)
    body = {key: value for key, value in settings.items() if value is not None}
    call(gateway, "PUT", f"relays/{quote(check_address(name))}", body)
    print_line(safe(f"{name} added"))


def _read_schema(file: Any) -> dict[str, Any]:
    try:
        schema = json.load(file)
    except ValueError as error:
        raise click.UsageError(f"--schema is not a file of JSON: {error}.") from None
    if not isinstance(schema, dict):
        raise click.UsageError("--schema is not a file with a JSON object.")
    return schema


def _history(events: str | None, seconds: float | None, most_bytes: int | None, durable: bool) -> dict[str, Any] | None:
    """What a relay shall remember; None: nothing was said of it."""
    if events == "none":
        if durable or seconds is not None or most_bytes is not None:
            raise click.UsageError("--history none remembers nothing; --durable and other limits do not go with it.")
        return {"keep": "none"}
    if events is not None and not events.isdecimal():
        raise click.UsageError(f"--history takes a number or none, not {events!r}.")
    limits = {"events": None if events is None else int(events), "seconds": seconds, "bytes": most_bytes}
    said = {name: value for name, value in limits.items() if value is not None}
    return {"keep": "durable" if durable else "memory", **said} if said or durable else None


@relay.command("rm")
@click.argument("name")
@gateway_options
def relay_rm(gateway: Gateway, name: str) -> None:
    """Remove a relay; what lives on it is closed.

    \b
    Example:
      fanway relay rm orders
    """
    call(gateway, "DELETE", f"relays/{quote(check_address(name))}")
    print_line(safe(f"{name} removed"))


@relay.command("who")
@click.argument("name", required=False)
@click.option("--listeners", "kind", flag_value="listener", help="Only who listens.")
@click.option("--subscribers", "kind", flag_value="subscriber", help="Only who subscribes.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON, one a line.")
@gateway_options
def relay_who(gateway: Gateway, name: str | None, kind: str | None, as_json: bool) -> None:
    """List who listens and who subscribes, on one relay or on all: where, how, by which rule, from where, since when.

    Who comes and goes is told by `fanway subscribe -- '-/sys/presence/**'`.

    \b
    Example:
      fanway relay who orders
    """
    query = {name: value for name, value in (("relay", name and check_address(name)), ("kind", kind)) if value}
    with Management(gateway) as api:
        after: int | None = 0
        while after is not None:
            answer = api.call("GET", "presence", query={**query, "limit": "1000", "after": str(after)})
            for item in items_of(answer, "members"):
                print_line(json.dumps(item) if as_json else _who(item))
            after = answer.get("next")


def _who(item: dict[str, Any]) -> str:
    names = ("group", "durable", "instance", "listener", "session")
    place = item.get("address") or item.get("pattern")
    known_as = next((item[name] for name in names if item.get(name)), "-")
    columns = (item["kind"], place, item["transport"], item["holder"], item["remoteAddress"], item["since"], known_as)
    return "\t".join(safe(str(column)) for column in columns)


@click.group()
def key() -> None:
    """List, add, remove and rotate rules and their keys."""


def _of_relay(relay_name: str | None) -> dict[str, str] | None:
    return {"relay": check_address(relay_name)} if relay_name else None


_relay_option = click.option("--relay", "relay_name", metavar="NAME", help="A relay's rule instead of the namespace's.")


@key.command("ls")
@_relay_option
@click.option("--json", "as_json", is_flag=True, help="Print the rules as JSON, one a line.")
@gateway_options
def key_ls(gateway: Gateway, relay_name: str | None, as_json: bool) -> None:
    """List the rules, without their keys.

    \b
    Example:
      fanway key ls --relay orders
    """
    for item in items_of(call(gateway, "GET", "rules", query=_of_relay(relay_name)), "rules"):
        print_line(json.dumps(item) if as_json else f"{safe(str(item['name']))}\t{','.join(item['rights'])}")


@key.command("add")
@click.argument("name")
@click.option("--right", "rights", multiple=True, required=True, type=RIGHTS, help="Repeatable.")
@click.option("--creates-relays", is_flag=True, help="Who listens by it may create dynamic relays.")
@_relay_option
@gateway_options
def key_add(gateway: Gateway, name: str, rights: tuple[str, ...], creates_relays: bool, relay_name: str | None) -> None:
    """Add a rule and print its connection string.

    \b
    Example:
      fanway key add shop-sender --right Send --relay shop
    """
    query = _of_relay(relay_name)
    body: dict[str, Any] = {"rights": list(rights)}
    if creates_relays:
        body["createsRelays"] = True
    call(gateway, "PUT", f"rules/{quote(name, safe='')}", body, query)
    keys = call(gateway, "GET", f"rules/{quote(name, safe='')}/keys", query=query)
    print_line(connection_string(gateway, name, keys["primaryKey"], relay_name))


@key.command("rm")
@click.argument("name")
@_relay_option
@gateway_options
def key_rm(gateway: Gateway, name: str, relay_name: str | None) -> None:
    """Remove a rule; what lives on its keys is closed.

    \b
    Example:
      fanway key rm shop-sender --relay shop
    """
    call(gateway, "DELETE", f"rules/{quote(name, safe='')}", query=_of_relay(relay_name))
    print_line(safe(f"{name} removed"))


@key.command("rotate")
@click.argument("name")
@click.option("--secondary", is_flag=True, help="The second key instead of the first.")
@_relay_option
@gateway_options
def key_rotate(gateway: Gateway, name: str, secondary: bool, relay_name: str | None) -> None:
    """Replace one of a rule's two keys and print the new connection string; what lives on the old key is closed.

    \b
    Example:
      fanway key rotate shop-sender --relay shop
    """
    query, which = _of_relay(relay_name), "secondary" if secondary else "primary"
    keys = call(gateway, "POST", f"rules/{quote(name, safe='')}/rotate", {"key": which}, query)
    print_line(connection_string(gateway, name, keys[f"{which}Key"], relay_name))


def connection_string(gateway: Gateway, name: str, secret: str, relay_name: str | None) -> str:
    """What an SDK takes: the endpoint is written `sb://`, which they take to mean TLS; `http://` without it."""
    scheme, netloc = ("sb", urlsplit(gateway.tls_url).netloc) if gateway.tls_url else urlsplit(gateway.url)[:2]
    entity = f";EntityPath={relay_name}" if relay_name else ""
    return f"Endpoint={scheme}://{netloc}/;SharedAccessKeyName={name};SharedAccessKey={secret}{entity}"


@click.command()
@click.argument("address", required=False)
@click.option("--operator", is_flag=True, help="The bearer token that manages the whole gateway, as ARM's clients do.")
@click.option("--listen", "rights", flag_value="Listen", multiple=True, help="Sign with a rule that only listens.")
@click.option("--send", "rights", flag_value="Send", multiple=True, help="Sign with a rule that only sends.")
@click.option("--ttl", type=click.IntRange(min=1), default=3600, metavar="S", help="Seconds it lives (3600).")
@click.option("--rule", metavar="NAME", help="Sign with this rule's key.")
@gateway_options
def token(
    gateway: Gateway, address: str | None, operator: bool, rights: tuple[str, ...], ttl: int, rule: str | None
) -> None:
    """Print a token for an address, or for all that lie under a pattern's literal beginning; / is the whole namespace.

    A token can do what its rule can do. With --listen or --send a rule with just these rights is
    used where there is one; otherwise standard error says what else the token confers.

    \b
    Example:
      curl -H "Authorization: $(fanway token orders --send)" -d hi http://127.0.0.1:8480/-/events/orders
      curl -H "Authorization: $(fanway token /)" http://127.0.0.1:8480/-/api/relays
      fanway token --operator
    """
    if operator:
        if address or rights or rule:
            raise click.UsageError("--operator stands alone: that token is for the whole gateway.")
        print_line(gateway.operator_token())
        return
    if address is None:
        raise click.UsageError("Say for which address the token shall be, / for the whole namespace, or --operator.")
    scope = "" if address == "/" else literal_prefix(check_pattern(address))
    credential = gateway.credential
    if not credential.is_renewable:
        raise ConfigurationError("A token makes no other tokens: give --key-name and --key.")
    name, secret = credential.key_name, credential.key
    if rule:
        name, secret = rule, _key_of(gateway, rule, scope)
    elif rights:
        name, secret = _narrowest(gateway, set(rights), scope)
    expires_at = int(credential.clock()) + ttl
    print_line(make_token(f"http://{gateway.host}/{quote(scope)}", name, secret, expires_at))


def _key_of(gateway: Gateway, rule: str, scope: str) -> str:
    """The primary key of a rule: the relay's, else the namespace's."""
    path = f"rules/{quote(rule, safe='')}/keys"
    try:
        return str(call(gateway, "GET", path, query={"relay": scope})["primaryKey"])
    except RelayError as error:
        if error.status not in (400, 404):
            raise
    return str(call(gateway, "GET", path)["primaryKey"])


def _narrowest(gateway: Gateway, rights: set[str], scope: str) -> tuple[str, str]:
    """A rule with exactly these rights, if there is one and it can be read; else our own key, saying so."""
    for query in ({"relay": scope}, None):
        try:
            rules = items_of(call(gateway, "GET", "rules", query=query), "rules")
            for item in rules:
                if set(item["rights"]) == rights:
                    keys = call(gateway, "GET", f"rules/{quote(item['name'], safe='')}/keys", query=query)
                    return item["name"], keys["primaryKey"]
        except RelayError:
            continue  # no such relay yet, or no right to read: our own key signs
    own = gateway.credential
    flags = " ".join(f"--right {right}" for right in sorted(rights))
    say(
        f"note: no rule has just these rights, so this token can do all that {own.key_name} can; see `fanway key add`"
        f" (for instance: fanway key add {scope.replace('/', '-') or 'namespace'}-key {flags})"
    )
    return own.key_name, own.key


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the gateway's answer as it is.")
@gateway_options
def status(gateway: Gateway, as_json: bool) -> None:
    """Show how the gateway is.

    \b
    Example:
      fanway status --json
    """
    answer = call(gateway, "GET", "status")
    if as_json:
        print_line(json.dumps(answer))
        return
    print_line(f"gateway\t{gateway.url}")
    for name, value in answer.items():
        print_line(f"{safe(name)}\t{safe(value if isinstance(value, str) else json.dumps(value))}")
