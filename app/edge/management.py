"""Which requests at an address are meant for the gateway itself, and the exchange that hands them to `app.manage`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from app.edge.asgi import AsgiExchange
from app.edge.refusal import Door
from app.errors import RelayError
from app.namespace import Right
from app.wire.azure.atom import is_atom_body, is_for_management
from app.wire.azure.handshake import matching_path, token_from
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.context import Context

RESOURCES = "$resources"

_VERBS = frozenset(("PUT", "GET", "DELETE"))


class AtomExchange(AsgiExchange):
    """A call of Atom management."""

    door = Door.AZURE
    state: ClassVar[dict[str, object]] = {"is_atom": True}


def is_for_gateway(context: Context, head: Head) -> bool:
    """Whether no listener is meant: by the header that says so, by `$Resources`, or by the ways of older tools.

    `api-version` alone never keeps a request from a relay (protocol guide, "Stripping rule").
    """
    if "x-process-at" in head.names and is_for_management(head.headers):
        return True
    if head.path[1:2] in "$%" and _is_resources(head.path):
        return True
    return head.query != "" and head.method in _VERBS and _is_by_older_tool(context, head)


def is_marked(head: Head) -> bool:
    """Whether the header says so, which counts whatever the path and the host."""
    return "x-process-at" in head.names and is_for_management(head.headers)


def _is_resources(path: str) -> bool:
    return matching_path(path[1:]).partition("/")[0].lower() == RESOURCES


def _is_by_older_tool(context: Context, head: Head) -> bool:
    """Before hybrid connections carried requests, tools managed without the header: where nothing is provisioned,
    with a version in the query and an Atom body or a token that manages."""
    if "api-version=" not in head.query.lower():
        return False
    try:
        realm = context.realm(head.host)
        if realm.find(matching_path(head.path.removeprefix("/"))) is not None:
            return False
        if is_atom_body(head.headers):
            return True
        token, _ = token_from(head.headers, head.query, context.settings.azure)
        grant = context.authorizer.authorize(token, realm.namespace, None)
        return Right.MANAGE in grant.rights
    except RelayError:  # which the relayed request will meet in its turn
        return False
