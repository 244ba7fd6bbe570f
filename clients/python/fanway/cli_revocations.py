"""`fanway revoke`: tokens that shall be good no more, over the gateway's `/-/api/revocations`."""

from __future__ import annotations

import hashlib
import re

import click

from fanway.cli_events import print_line
from fanway.cli_options import gateway_options
from fanway.connect import Gateway
from fanway.management import Management, items_of

_SCHEME = re.compile(r"bearer\s+", re.IGNORECASE)  # is of the header that it was copied from, and no part of a token
_NAMED = ("jti", "sub", "rule", "token", "all")


@click.command()
@click.option("--sub", metavar="SUBJECT", help="All JSON Web Tokens of a subject.")
@click.option("--jti", metavar="ID", help="A JSON Web Token by its id.")
@click.option("--issuer", metavar="ISSUER", help="Whose --sub or --jti is meant; left out: anybody's.")
@click.option("--rule", metavar="NAME", help="All signatures of a rule; see also `fanway key rotate`.")
@click.option("--relay", metavar="PATH", help="The relay that the rule belongs to.")
@click.option("--text", metavar="TOKEN", help="One token or ticket; only its hash is sent.")
@click.option("--all", "everyone", is_flag=True, help="All JSON Web Tokens issued until now.")
@click.option("--reason", default="", metavar="TEXT", help="For whoever reads the list.")
@click.option("--list", "is_list", is_flag=True, help="Show what is revoked instead.")
@gateway_options
def revoke(
    gateway: Gateway,
    sub: str | None,
    jti: str | None,
    issuer: str | None,
    rule: str | None,
    relay: str | None,
    text: str | None,
    everyone: bool,
    reason: str,
    is_list: bool,
) -> None:
    """Let tokens be good no more; what lives on them ends at once.

    \b
    Example:
      fanway revoke --sub 42 --reason 'left the company'
      fanway revoke --list
    """
    digest = None if text is None else hashlib.sha256(_SCHEME.sub("", text.strip()).encode()).hexdigest()
    wish = {"jti": jti, "sub": sub, "issuer": issuer, "rule": rule, "relay": relay, "token": digest}
    body = {name: value for name, value in {**wish, "all": everyone or None}.items() if value is not None}
    if not is_list and sum(name in body for name in _NAMED) != 1:
        raise click.UsageError("Say which tokens: one of --sub, --jti, --rule, --text, --all.")
    with Management(gateway) as management:
        if not is_list:
            management.call("POST", "revocations", {**body, "reason": reason})
            return
        for each in items_of(management.call("GET", "revocations"), "revocations"):
            words = (each.get(name, "") for name in ("kind", "value", "issuer", "before", "reason"))
            print_line("\t".join(map(str, words)))
