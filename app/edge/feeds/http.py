"""The events door over HTTP: which exchange answers, and the streams: server-sent events and NDJSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.closes import REVOCATIONS, TOKEN_EXPIRED, Close
from app.edge.exchange import Exchange
from app.edge.feeds.beginning import Beginning
from app.edge.feeds.callers import cors_headers
from app.edge.feeds.durable_poll import DurablePoll
from app.edge.feeds.exchange import Misdirected, Preflight, Publish, Subscribe
from app.edge.feeds.feed import HEARTBEAT_SECONDS, Feed
from app.edge.feeds.gate import Gate
from app.edge.feeds.group_feed import GroupFeed
from app.edge.feeds.long_poll import LongPoll
from app.edge.feeds.mouth import Mouth, budget_of
from app.edge.wheel import Deadline
from app.errors import MethodNotAllowed, RelayError, TokenExpired
from app.wire.http import Head, Headers
from app.wire.native import ndjson, sse
from app.wire.native.query import Transport, choose_transport, split_options
from fanout.address import Pattern

if TYPE_CHECKING:
    from app.edge.seam import Seam

_STREAM_HEADERS: Headers = [("Cache-Control", "no-store"), ("X-Accel-Buffering", "no")]


def exchange_for(seam: Seam, head: Head) -> Exchange:
    """The exchange that answers a request at this door."""
    if head.method == "OPTIONS":
        return Preflight(seam, head)
    if head.method == "POST":
        return Publish(seam, head)
    if head.method != "GET":
        return Misdirected(seam, head, MethodNotAllowed("Events are published by POST and received by GET."))
    try:
        transport = choose_transport(head.get_all("accept"), head.query)
        if transport is not Transport.LONG_POLL:
            return Stream(seam, head, transport)
        return DurablePoll(seam, head) if "durable" in split_options(head.query) else LongPoll(seam, head)
    except RelayError as error:
        return Misdirected(seam, head, error)


class Stream(Subscribe):
    """Server-sent events or NDJSON: a chunked body without end, a heartbeat in it."""

    def __init__(self, seam: Seam, head: Head, transport: Transport) -> None:
        super().__init__(seam, head)
        self.transport = transport
        self._heartbeat: Deadline | None = None

    def start(self) -> None:
        try:
            super().start()
        except TokenExpired:
            if self.transport is not Transport.SSE or not self.head.get("last-event-id"):
                raise
            # EventSource gives up for good on anything but 200, so that it learns the reason as an event.
            self.is_keep_alive = False
            self._start_stream([])
            self.send_chunks(sse.encode_bye(TOKEN_EXPIRED))
            self.finish()

    def make_feed(self, pattern: Pattern, gate: Gate) -> Feed:
        query, relay = self.query, self.relay
        epoch = self.realm.history(relay).epoch
        if self.transport is Transport.SSE:
            shape = query.shape or ("data" if pattern.is_concrete else "cloudevent")
            self._voice: sse.ServerSentEvents | ndjson.JsonLines = sse.ServerSentEvents(epoch, shape == "cloudevent")
        else:
            self._voice = ndjson.JsonLines(epoch)
        self._mouth = Mouth(
            self.context,
            self.realm,
            relay,
            self.seam.outflow,
            self._voice,
            self.end,
            self.policy,
            budget_of(self.context, relay, query.budget),
        )
        if query.sharing is not None:
            return GroupFeed(self.context, self, self._mouth, pattern, gate, query.filter, query.sharing)
        return Feed(self.context, self, self._mouth, pattern, gate, query.filter, is_sole=True)

    def open(self, beginning: Beginning) -> None:
        self._start_stream([("Fanway-Cursor", str(beginning.cursor))])
        self.send_chunks(self._voice.ready(self.relay.name, beginning.cursor))
        self._heartbeat = self.context.wheel.after(HEARTBEAT_SECONDS, self._beat)

    def on_writable(self, is_writable: bool) -> None:
        if is_writable:
            self.feed.on_writable()

    def end(self, close: Close) -> None:
        if self.is_over:
            return
        self.release()
        if close in REVOCATIONS and self.seam.outflow.backlog() > 0:
            self.abort()
            return
        self.send_chunks(self._voice.bye(self.relay.name, self._mouth.history.cursor, close))
        self.is_keep_alive = False
        self.finish()

    def release(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        super().release()

    def _start_stream(self, headers: Headers) -> None:
        kind = sse.CONTENT_TYPE if self.transport is Transport.SSE else ndjson.CONTENT_TYPE
        cors = cors_headers(self.context, self.head)
        self.start_answer(200, [("Content-Type", kind), *_STREAM_HEADERS, *headers, *cors], None)

    def _beat(self) -> None:
        self.feed.tell_position()
        self._heartbeat = self.context.wheel.after(HEARTBEAT_SECONDS, self._beat)
