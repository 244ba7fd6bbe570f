"""Long polls: one answer with what has happened since a cursor, or what happens first while one waits.

The answer is a JSON array of CloudEvents, and `Fanway-Cursor` the place to ask from next time. A gap is the
first of them, of type `fanway.gap`.
"""

from __future__ import annotations

import orjson

from app.closes import Close
from app.edge.feeds.beginning import Beginning
from app.edge.feeds.callers import cors_headers
from app.edge.feeds.exchange import Subscribe
from app.edge.feeds.feed import Feed
from app.edge.feeds.gate import Gate
from app.edge.feeds.mouth import Mouth
from app.edge.outflow import HIGH_BYTES
from app.edge.wheel import Deadline
from app.wire.http import Headers
from app.wire.native.cloudevents import EnvelopeList
from app.wire.native.query import Transport
from fanout.address import Pattern
from fanout.event import Event
from fanout.history import Cursor, Gap
from fanout.subscription import Verdict

CONTENT_TYPE = "application/cloudevents-batch+json"


class LongPoll(Subscribe):
    """A GET that waits. It answers with the first events there are, past or present, or with none in time."""

    transport = Transport.LONG_POLL
    is_endless = False

    def make_feed(self, pattern: Pattern, gate: Gate) -> Feed:
        mouth = _PollMouth(self)
        return _PollFeed(self, mouth, pattern, gate)

    def open(self, beginning: Beginning) -> None:
        self._patience: Deadline | None = None
        self._found: list[bytes] = []
        self._cursor = beginning.cursor

    def found(self, data: bytes, cursor: Cursor) -> None:
        """Envelopes, and how far they reach; answered at once when there are events among them."""
        self._found.append(data)
        self._cursor = cursor

    @property
    def has_found(self) -> bool:
        return bool(self._found)

    def await_events(self) -> None:
        """The past has been looked through."""
        if self._found:
            self.answer()
        elif not self.is_over:
            self._cursor = self.realm.history(self.relay).cursor
            self._patience = self.context.wheel.after(self.query.wait_seconds, self._on_patience)

    def answer(self) -> None:
        if self.is_over:
            return
        self.release()
        headers: Headers = [("Content-Type", CONTENT_TYPE), ("Fanway-Cursor", str(self._cursor))]
        headers += [("Cache-Control", "no-store"), *cors_headers(self.context, self.head)]
        self.respond(200, headers, b"[" + b",".join(self._found) + b"]")

    def end(self, close: Close) -> None:
        """Whatever the reason, the caller may ask again and then hears of it."""
        self.answer()

    def release(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        super().release()

    def _on_patience(self) -> None:
        self.realm.tick.flush()  # may bring an event at the last moment, and answer
        if not self.is_over:
            self._cursor = self.realm.history(self.relay).cursor
            self.answer()


class _PollMouth(Mouth):
    """The first it is offered is the answer."""

    __slots__ = ("_poll",)

    def __init__(self, poll: LongPoll) -> None:
        realm, relay = poll.realm, poll.relay
        encoding = EnvelopeList(realm.history(relay).epoch)
        super().__init__(poll.context, realm, relay, poll.seam.outflow, encoding, poll.end, "drop", HIGH_BYTES)
        self._poll = poll

    def admit(self) -> Verdict:
        return Verdict.QUEUED

    def offer(self, data: bytes) -> Verdict:
        last = orjson.loads(b"[" + data + b"]")[-1]
        epoch, _, offset = last["fanwaycursor"].partition(":")
        self._poll.found(data, Cursor(epoch, int(offset)))
        self._poll.answer()
        return Verdict.QUEUED


class _PollFeed(Feed):
    """What it reads from history is the answer too."""

    __slots__ = ("_poll",)

    def __init__(self, poll: LongPoll, mouth: Mouth, pattern: Pattern, gate: Gate) -> None:
        super().__init__(poll.context, poll, mouth, pattern, gate, poll.query.filter, is_sole=True)
        self._poll = poll

    def send(self, events: list[Event], epoch: str) -> None:
        if self.is_telling_retained:  # all of it is one answer, which leads to where history takes over
            self._poll.found(self.encoded(events, epoch), Cursor(epoch, self.offset))
            return
        self._poll.found(self.encoded(events, epoch), Cursor(epoch, events[-1].offset))
        if epoch == self.mouth.history.epoch:  # not in the midst of a roll call, where no poll can go on
            self._poll.answer()

    def send_gap(self, gap: Gap) -> None:
        self._poll.found(self.mouth.encoding.gap(self.mouth.relay.name, gap.from_, gap.to, gap.why), gap.to)

    def on_retained(self) -> None:
        if self._poll.has_found:
            self._poll.answer()

    def on_live(self) -> None:
        self._poll.await_events()
