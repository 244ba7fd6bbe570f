"""The one seam: uvicorn's HTTP protocol class, with the data plane taken out before ASGI.

Theory. uvicorn gives each new connection one `Seam`. It checks every head itself (the parser is lenient),
keeps the connection's exchanges in one queue, and hands them over: relayed requests and feeds to our own
exchanges, the rest to FastAPI through uvicorn's request cycle. A WebSocket upgrade ends the seam: the raw
head, the bytes after it and the transport go to a socket protocol of `app.edge.websocket`. Where a request may
begin, bytes that are one remembered whole (`app.wire.recent`) are taken without the parser, which knows nothing of it.
uvicorn is pinned for what is relied on here, in `hosted.py`, `exchange.py`, `asgi.py` and `server.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import httptools

from app.edge import doors
from app.edge.exchange import Exchange, Refused
from app.edge.head_size import HeadSize
from app.edge.hosted import Hosted
from app.edge.refusal import refused_handshake, unreadable
from app.edge.wheel import Timer
from app.errors import BadRequest, KeysPending, Overloaded, RelayError, TooSlow
from app.wire.http import Head, check_head, check_trailer, check_upgrade
from app.wire.recent import RecentHeads
from app.wire.upgrades import RecentUpgrades

if TYPE_CHECKING:
    from app.edge.context import Context

QUEUE_LIMIT = 16  # exchanges in the queue at which no more is read
PIPELINE_LIMIT = 256  # and at which what one read has brought is refused
LINGER_SECONDS = 2.0
LINGER_BYTES = 1 << 20


class Seam(Hosted):
    """One HTTP connection. What all have in common is set on a subclass: made by `bind`, completed by `share`."""

    heads: ClassVar[RecentHeads]
    upgrades: ClassVar[RecentUpgrades]

    def __init__(self) -> None:
        self.parser = None  # type: ignore[assignment]  # made when it is needed: most upgrades can do without
        self._queue: deque[Exchange] = deque()
        self._incoming: Exchange | None = None
        self._size = HeadSize(self.context.settings.limits.head_bytes)
        self._is_in_head = True
        self._is_discarding = False
        self._discarded = 0
        self._has_eof = False
        self._raw_headers: list[tuple[bytes, bytes]] = []
        self._upgrade: Head | None = None
        self._deadline = Timer(self.context.wheel)
        self._patience: Timer | None = None
        self._is_between = True  # a request may begin here
        self._head: Head | None = None  # that this read has brought

    # --- the transport's calls ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.context.is_full():
            self._refuse_head(Overloaded("The gateway holds as many connections as it can.", retry_after=5))
            return
        self._await_head(self.context.settings.limits.head_seconds)

    def data_received(self, data: bytes) -> None:
        if self._is_discarding:
            self._discarded += len(data)
            if self._discarded > LINGER_BYTES:
                self.flow.pause_reading()  # the close that is under way has its deadline
            return
        starts_here = self._is_between
        if starts_here and (head := self.heads.find(data)) is not None:
            self._take_again(head)
            return
        if self.parser is None and not (self._queue or self.outflow.is_paused):
            if (head := self.upgrades.find(data)) is not None:
                self._hand_over(head, b"")
                return
        try:
            if self.parser is None:
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # see `on_headers_complete`
            if not self._is_in_head:
                self._size.add_trailers(data)
            elif self._size.add_head(data) and self._deadline.is_set:
                self._await_head(self.context.settings.limits.head_seconds)
            self.parser.feed_data(data)
            head, self._head = self._head, None
            if head is not None and starts_here and self._is_between:
                self.heads.remember(data, head)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data if starts_here else None, data[upgrade.args[0] :])
        except (RelayError, httptools.HttpParserError) as error:
            self._refuse_head(unreadable(self.context, error))

    def eof_received(self) -> bool | None:  # type: ignore[override]
        self._has_eof = True
        if (cut_short := self._incoming) is not None and not cut_short.is_over:  # it will never be whole
            self._queue.remove(cut_short)
            self._lose(cut_short)
        self._incoming = None
        if self._queue and self._queue[0].is_streaming:
            return False  # who half-closes does so before the answer begins; in its midst a FIN means leaving
        return self.is_busy and self.transport.can_write_eof()  # our half stays while an answer is owed; TLS has none

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self.context.connections -= 1
        self.context.owed.discard(self.outflow)
        self.context.turns.leave(self)
        self._close_timers()
        queue, self._queue = self._queue, deque()
        for exchange in queue:
            self._lose(exchange)
        if self.flow is not None:
            self.flow.resume_writing()
        self.parser = None  # type: ignore[assignment]

    def pause_writing(self) -> None:
        self.outflow.pause()
        self.context.owed.add(self.outflow)
        self.flow.pause_writing()
        if self._queue and self._queue[0].is_started:
            self._queue[0].on_writable(False)

    def resume_writing(self) -> None:
        self.outflow.resume()
        self.context.owed.discard(self.outflow)
        self.flow.resume_writing()
        if self._queue and self._queue[0].is_started:
            self._queue[0].on_writable(True)
        else:
            self.loop.call_soon(self._go_on)

    def shutdown(self) -> None:
        """The gateway drains: close when idle, else after the current exchange."""
        if not self._queue:
            self.close()

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered that will come to an end by itself."""
        return any(not exchange.is_endless for exchange in self._queue)

    # --- the parser's calls ---

    def on_message_begin(self) -> None:
        self.url, self._raw_headers = b"", []
        self._is_in_head = True
        self._is_between = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:
            self._raw_headers.append((name, value))
        else:
            check_trailer(name)  # and dropped, as a relay may

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._size.reset()
        if self._is_discarding:  # it was pipelined behind a request after which the connection closes
            return
        self._deadline.stop()
        self._size.check(self.url, self._raw_headers, self.context.settings.limits.url_bytes)
        head = check_head(self.parser.get_method(), self.url, self.parser.get_http_version(), self._raw_headers)
        if self.parser.should_upgrade():
            check_upgrade(head)
            if self._queue or self.outflow.is_paused:
                raise BadRequest("An upgrade may not follow a request that is not answered yet.")
            self._upgrade = head
            return
        self._head = head
        self._take(head)

    def _take(self, head: Head) -> None:
        if len(self._queue) >= PIPELINE_LIMIT:
            raise Overloaded(f"At most {PIPELINE_LIMIT} requests of a connection may wait for their answers.")
        exchange = doors.exchange_for(self, head)
        self._incoming = exchange
        self._queue.append(exchange)
        if head.has_body and exchange.has_timed_body:
            self._await_body()
        if len(self._queue) == 1 and not self.outflow.is_paused:
            self._start(exchange)
        elif head.has_body or len(self._queue) >= QUEUE_LIMIT or self.outflow.is_paused:
            self.flow.pause_reading()

    def on_body(self, body: bytes) -> None:
        exchange = self._incoming
        self._size.reset()
        if exchange is None or exchange.is_over:
            return
        if exchange.has_timed_body:
            self._await_body()
        if exchange.is_started:
            self._guard(exchange, exchange.on_body, body)
        else:
            exchange.early.append(body)
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        exchange, self._incoming = self._incoming, None
        self._is_in_head = self._is_between = True
        self._size.reset()
        if exchange is None:
            return
        if exchange.has_timed_body and not exchange.is_over:
            self._deadline.stop()
        exchange.is_body_complete = True
        if exchange.is_started and not exchange.is_over and exchange.head.has_body:
            self._guard(exchange, exchange.on_end)

    def _take_again(self, head: Head) -> None:
        """What came is, byte for byte, a whole request that was parsed before: the parser need not know of it."""
        self._deadline.stop()
        self._size.reset()
        try:
            self._take(head)
        except Exception as error:
            self.url = head.target.encode()
            self._refuse_head(self.context.shown(error))
        self._incoming = None

    # --- the exchanges' calls ---

    @property
    def patience(self) -> Timer:
        """A timer that the first exchange may use as it likes, and stops when it ends."""
        if self._patience is None:
            self._patience = Timer(self.context.wheel)
        return self._patience

    def exchange_done(self, exchange: Exchange) -> None:
        """The first exchange has answered: start the next, wait for one, or close."""
        if not self._queue or self._queue[0] is not exchange:
            return
        self._queue.popleft()
        self.server_state.total_requests += 1
        if self.transport.is_closing() or not exchange.is_keep_alive or (self._has_eof and not self._queue):
            self._queue.clear()
            self.close(lingers=not exchange.is_body_complete)
        elif not self._queue and self.context.is_draining:
            self.close()
        elif self.outflow.is_paused:
            self.flow.pause_reading()  # who does not take this answer gets no other: `resume_writing` goes on
        elif self._queue:
            self.loop.call_soon(self._go_on)
        else:
            self._go_on()

    def close(self, *, lingers: bool = False) -> None:
        """Close once all is written, within the deadline; `lingers` reads past a body nobody wants first,
        because closing with unread bytes would reset the connection and destroy the answer."""
        self._is_discarding = True
        self._deadline.set(self.context.settings.deadlines.close_seconds, self.transport.abort)
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if lingers:
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.context.wheel.after(LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()

    # --- inside ---

    def _go_on(self) -> None:
        """Start the exchange whose turn it is, or wait for the next head; read on if there is room for it."""
        if self.flow is None or self.transport.is_closing() or self.outflow.is_paused:
            return
        if len(self._queue) < QUEUE_LIMIT:
            self.flow.resume_reading()
        if self._queue and not self._queue[0].is_started:
            self._start(self._queue[0])
        elif not (self._queue or self._is_discarding):
            limits, deadlines = self.context.settings.limits, self.context.settings.deadlines
            self._await_head(limits.head_seconds if self._size.count else deadlines.keep_alive_seconds)

    def _start(self, exchange: Exchange) -> None:
        exchange.is_started = True
        self._guard(exchange, self._begin, exchange)

    def _begin(self, exchange: Exchange) -> None:
        try:
            exchange.start()
        except KeysPending as pending:
            exchange.is_started = False  # as if it had yet to come to its turn
            pending.then(self._go_on)
            return
        if not exchange.head.has_body:
            return
        early, exchange.early = exchange.early, []
        for data in early:
            if not exchange.is_over:
                exchange.on_body(data)
        if exchange.is_body_complete and not exchange.is_over:
            exchange.on_end()

    def _guard(self, exchange: Exchange, call: Callable[..., None], *arguments: object) -> None:
        """Let an exchange act; what it raises is its answer."""
        try:
            call(*arguments)
        except Exception as error:
            exchange.refuse(self.context.shown(error))

    def _lose(self, exchange: Exchange) -> None:
        if exchange.is_started and not exchange.is_over:
            exchange.is_over = True
            exchange.on_lost()

    def _refuse_head(self, error: RelayError) -> None:
        """Bytes that cannot be served: answered in their turn, and the connection ends with it.

        Where they are part of a body, the request they belong to is refused.
        """
        if self._is_discarding:
            return
        self._deadline.stop()
        self._is_discarding = True  # whatever follows is read past, not interpreted
        broken, self._incoming = self._incoming, None
        if broken is not None and broken.is_over:
            self.close(lingers=True)
        elif broken is not None and broken.is_started:
            broken.is_keep_alive = False
            broken.refuse(error)
        else:
            if broken is not None:
                self._queue.remove(broken)
            head = Head("GET", self.url.decode("latin-1") if hasattr(self, "url") else "", "1.1", [])
            refused = Refused(self, head, error, doors.door_of(head))
            refused.is_body_complete = False
            self._queue.append(refused)
            if len(self._queue) == 1:
                self._start(refused)

    def _upgraded(self, whole: bytes | None, rest: bytes) -> None:
        """The parser has stopped behind an upgrade's head; `whole` is the read, if the head also began in it."""
        head, self._upgrade = self._upgrade, None
        if head is None:
            self._refuse_head(BadRequest("This upgrade is not offered."))
            return
        if self._hand_over(head, rest) and head.memo is not None and whole is not None:
            self.upgrades.remember(whole, head)

    def _hand_over(self, head: Head, rest: bytes) -> bool:
        """The connection becomes a WebSocket, or stays what it was (False) and closes with a refusal."""
        try:
            protocol = doors.socket_for(self.context, self.transport, head)
        except KeysPending as pending:
            self._close_timers()
            self.flow.pause_reading()
            pending.then(lambda: self.transport.is_closing() or self._hand_over(head, rest))
            return False  # as yet
        except Exception as error:
            shown = self.context.shown(error)
            self.outflow.write(refused_handshake(self.context, head, shown, doors.door_of(head)))
            self.close(lingers=True)
            return False
        self.flow.resume_reading()  # if it was held
        self._close_timers()
        self.connections.discard(self)
        self.transport.set_protocol(protocol)
        self.parser = self.flow = None  # type: ignore[assignment]
        protocol.begin(rest)
        return True

    def _await_head(self, seconds: float) -> None:
        self._deadline.set(seconds, self._on_deadline)

    def _await_body(self) -> None:
        self._deadline.set(self.context.settings.deadlines.idle_seconds, self._on_body_deadline)

    def _on_body_deadline(self) -> None:
        if self.flow.read_paused:  # it is we who do not read
            self._await_body()
        else:
            self._refuse_head(TooSlow("The request's body did not arrive in time."))

    def _on_deadline(self) -> None:
        if self._size.count:
            self._refuse_head(TooSlow("The request's head did not arrive in time."))
        else:
            self.close()

    def _close_timers(self) -> None:
        self._deadline.close()
        if self._patience is not None:
            self._patience.close()


def bind(context: Context) -> type[Seam]:
    """The protocol class to give to uvicorn as `http=`."""
    return type("BoundSeam", (Seam,), {"context": context, "heads": RecentHeads(), "upgrades": RecentUpgrades()})
