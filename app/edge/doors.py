"""Which door a path leads to. Everything of our own lies under `/-/`; `/$hc` and the paths of its management are
Azure's; the rest is relayed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.edge import gather, sockets, tickets, wcf
from app.edge.asgi import AsgiExchange
from app.edge.discovery import feed_for
from app.edge.exchange import Exchange
from app.edge.feeds import acks
from app.edge.feeds import http as feed_http
from app.edge.feeds import sockets as feed_sockets
from app.edge.management import AtomExchange, is_for_gateway, is_marked
from app.edge.origin import server_name
from app.edge.peers import check_peer
from app.edge.refusal import Door
from app.edge.requests import RelayedRequest
from app.edge.websocket import Socket
from app.errors import BadRequest, EndpointNotFound, GatewayDraining
from app.wire.azure.arm import is_arm
from app.wire.azure.handshake import is_hc_path
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.context import Context
    from app.edge.seam import Seam

EVENTS = "/-/events"


def door_of(head: Head) -> Door:
    return Door.OURS if head.path.startswith("/-/") else Door.AZURE


def exchange_for(connection: Seam, head: Head) -> Exchange:
    """The exchange that will answer a request. Raises RelayError where it may not be."""
    if connection.server_name is not None:
        connection.context.hosts.check_direction(connection.server_name, head.host)
    if not head.path.startswith("/-/"):
        _refuse_when_draining(connection.context)
        address = connection.context.hosts.place(head.host).address
        if address and not is_marked(head):  # whatever else the path says, it is the listener's
            check_peer(connection.context, connection.transport, head)
            return _relayed(connection, head.under(address))
        if is_arm(head.path, head.query) and connection.context.settings.arm.enabled:
            return AsgiExchange(connection, head)
        check_peer(connection.context, connection.transport, head)
        if is_for_gateway(connection.context, head):
            return AtomExchange(connection, head)
        if head.path.endswith("/") and (feed := feed_for(connection, head)) is not None:
            return feed
        return _relayed(connection, head)
    if head.path == EVENTS or head.path.startswith(EVENTS + "/"):
        _refuse_when_draining(connection.context)
        check_peer(connection.context, connection.transport, head)
        return feed_http.exchange_for(connection, head)
    if head.path == gather.DOOR or head.path.startswith(gather.DOOR + "/"):
        _refuse_when_draining(connection.context)
        check_peer(connection.context, connection.transport, head)
        return gather.exchange_for(connection, head)
    if head.path.startswith(acks.DOOR + "/"):
        _refuse_when_draining(connection.context)
        check_peer(connection.context, connection.transport, head)
        return acks.exchange_for(connection, head)
    if head.path == tickets.DOOR:
        check_peer(connection.context, connection.transport, head)
        return tickets.exchange_for(connection, head)
    return AsgiExchange(connection, head)


def _relayed(connection: Seam, head: Head) -> Exchange:
    return wcf.exchange_for(connection, head) if connection.context.has_wcf_relays else RelayedRequest(connection, head)


def _refuse_when_draining(context: Context) -> None:
    if context.is_draining:
        raise GatewayDraining("The gateway is restarting.", retry_after=1)


def socket_for(context: Context, transport: asyncio.Transport, head: Head) -> Socket:
    """The socket that an upgrade becomes. Raises RelayError where it may not."""
    if (name := server_name(transport)) is not None:
        context.hosts.check_direction(name, head.host)
    check_peer(context, transport, head)
    if head.path == EVENTS or head.path.startswith(EVENTS + "/"):
        _refuse_when_draining(context)
        return feed_sockets.open_socket(context, transport, head)
    if is_hc_path(head.path):
        return sockets.open_socket(context, transport, head)
    if head.path.startswith("/-/"):
        raise EndpointNotFound("There is no such door; events are at /-/events/{address}.")
    if address := context.hosts.place(head.host).address:
        return sockets.open_below(context, transport, head, address)
    raise BadRequest("A WebSocket is opened at /$hc/{address} (sockets) or /-/events/{address} (events).")
