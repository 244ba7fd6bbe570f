"""The `net.tcp` door: a TCP connection whose first bytes say where its session leads ([MC-NMF]).

Theory. A connection is read until its preamble is known, within a deadline and a few KiB. Nothing is answered: what
acknowledges a preamble is the service, and what upgrades the stream (TLS, Negotiate) is the service too. Then it is
admitted as a socket of the address in its via, and held like one until a listener comes (see `streams.py`), who gets
the preamble again, without the token. A refusal is a Fault record.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from app.closes import Close
from app.edge.admission import admit, find_listener
from app.edge.credentials import credential_of
from app.edge.origin import server_name
from app.edge.passage import check_passage
from app.edge.peers import check_address
from app.edge.refusal import note_refusal
from app.edge.streams import StreamSender
from app.edge.websocket import LINGER_SECONDS
from app.edge.wheel import Deadline
from app.errors import GatewayDraining, KeysPending, Overloaded, RelayError, TooSlow
from app.namespace import Right
from app.telemetry import new_tracking_id
from app.wire.azure.handshake import Action, Handshake, matching_path
from app.wire.http import Head, Headers
from app.wire.nettcp.faults import fault_of
from app.wire.nettcp.preamble import Preamble, PreambleReader
from app.wire.nettcp.records import Kind, Record, encode_record
from app.wire.nettcp.via import Via, parse_via

if TYPE_CHECKING:
    from app.edge.context import Context


class PreambleConnection(asyncio.Protocol):
    """A connection of which nothing is known yet but that it should begin with a preamble."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._reader: PreambleReader | None = PreambleReader()
        self._transport: asyncio.Transport | None = None
        self._deadline: Deadline | None = None

    # --- the transport's calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.context.connections += 1
        self.context.lives.add(self)
        if self.context.is_draining:
            self._refuse(GatewayDraining("The gateway is restarting."))
        elif self.context.is_full():
            self._refuse(Overloaded("The gateway holds as many connections as it can."))
        else:
            seconds = self.context.settings.limits.head_seconds
            self._deadline = self.context.wheel.after(seconds, self._on_deadline)

    def data_received(self, data: bytes) -> None:
        if self._reader is None:
            return
        try:
            preamble = self._reader.feed(data)
        except RelayError as error:
            self._refuse(error)
        else:
            if preamble is not None:
                self._hand_over(preamble)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self.context.connections -= 1

    # --- what provisions and drains ---

    def review(self) -> None:
        """Nothing was admitted yet."""

    def end(self, close: Close) -> None:
        """The gateway stops."""
        self._refuse(GatewayDraining(close.reason))

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- inside ---

    def _hand_over(self, preamble: Preamble) -> None:
        """The connection becomes a sender's, or is refused."""
        transport = self._transport
        if self._reader is None or transport is None:  # it was lost or refused while keys were fetched
            return
        via: Via | None = None
        try:
            via = parse_via(preamble.via)
            sender = open_session(self.context, transport, via)
        except KeysPending as pending:  # within the preamble's deadline
            transport.pause_reading()
            pending.then(lambda: self._hand_over(preamble))
        except Exception as error:
            self._refuse(self.context.shown(error), _head(via, via.raw_path) if via is not None else None)
        else:
            self._leave()
            transport.resume_reading()
            transport.set_protocol(sender)
            sender.begin(preamble.encode(via.text))

    def _refuse(self, error: RelayError, head: Head | None = None) -> None:
        if self._reader is None or self._transport is None:
            return
        self._leave()
        note_refusal(self.context, head, error, new_tracking_id(None, self.context.node))
        transport = self._transport
        transport.resume_reading()
        transport.write(encode_record(Record(Kind.FAULT, fault_of(error))))
        if transport.can_write_eof():
            transport.write_eof()
        # Not at once: bytes that nobody has read would reset the connection, and the fault would be lost.
        self.context.wheel.after(LINGER_SECONDS, transport.abort)

    def _on_deadline(self) -> None:
        self._refuse(TooSlow("The preamble did not arrive in time."))

    def _leave(self) -> None:
        self._reader = None
        self.context.lives.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()


def open_session(context: Context, transport: asyncio.Transport, via: Via) -> StreamSender:
    """The sender that a connection with this via becomes. Raises RelayError where it may not."""
    if context.is_draining:
        raise GatewayDraining("The gateway is restarting.")
    place = context.hosts.place(via.host)
    if (name := server_name(transport)) is not None:
        context.hosts.check_direction(name, via.host)
    realm = context.realms[place.namespace]
    if context.has_network_rules:
        check_address(realm, transport.get_extra_info("peername")[0])
    raw_path = f"{place.address}/{via.raw_path}".strip("/") if place.address else via.raw_path
    path = matching_path(raw_path)
    if context.faults is not None:
        context.faults.refuse(realm.namespace, "connect", path)
    head = _head(via, raw_path)
    credential = credential_of(context, transport, head, via.token)
    relay, address, grant = admit(context, realm, Right.OPEN, raw_path, credential)
    check_passage(context, transport, head, relay, is_socket=True)
    listener = find_listener(realm, relay, address, head)
    handshake = Handshake(Action.CONNECT, path, raw_path, via.query, None, via.token, None, None)
    return StreamSender(context, transport, head, realm, relay, address, grant, handshake, listener)


def _head(via: Via, raw_path: str) -> Head:
    """The head that a WebSocket to this address would have had: listeners' SDKs insist on one."""
    headers: Headers = [
        ("Host", via.host),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", base64.b64encode(secrets.token_bytes(16)).decode()),
        ("Sec-WebSocket-Version", "13"),
    ]
    head = Head("GET", f"/$hc/{raw_path}", "1.1", headers)
    head.host = via.host
    return head


def serve(context: Context) -> Callable[[], PreambleConnection]:
    """What makes a protocol of this door for each connection."""
    return lambda: PreambleConnection(context)
