"""What the gateway says in a session, `fanway.v1`, as frames (docs/protocol.md, "Sessions")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from app.closes import Close
from app.errors import RelayError
from app.wire.frames import BINARY, TEXT, encode_frame
from app.wire.native.cloudevents import bye_members
from app.wire.native.receipt import PublishReceipt
from fanout.event import Event
from fanout.history import Cursor


@dataclass(frozen=True, slots=True)
class SessionFrames:
    """Live events of one relay: as `ev`, the same bytes for every session, or as `dl` for all that call it `sub`.

    A subscription with a filter needs that mark: its client could not tell by the pattern which events are its own.
    """

    epoch: str
    sub: int | None = None

    @property
    def name(self) -> str:
        return "session"

    def encode(self, event: Event) -> bytes:
        if self.sub is not None:
            return encode_replayed(event, self.epoch, self.sub)
        return _event_frame({"t": "ev"}, event, self.epoch)

    def join(self, parts: list[bytes]) -> bytes:
        return b"".join(parts)

    def in_epoch(self, epoch: str) -> SessionFrames:
        """The same for another stream."""
        return replace(self, epoch=epoch)

    def ready(self, relay: str, cursor: Cursor) -> bytes:
        """Nothing: the answer to `sub` says it."""
        return b""

    def gap(self, relay: str, from_: Cursor, to: Cursor, why: str) -> bytes:
        return encode_session_gap(relay, from_, to, why, self.sub)

    def position(self, relay: str, cursor: Cursor) -> bytes:
        return encode_cursor(relay, cursor, self.sub)


def encode_replayed(event: Event, epoch: str, sub: int) -> bytes:
    """A `dl` from history, or through a filter: for one subscription only, and acknowledged by nobody."""
    return _event_frame({"t": "dl", "sub": sub, "n": 1}, event, epoch)


def encode_delivery(event: Event, epoch: str, sub: int, attempt: int, number: int, deadline: float) -> bytes:
    """A `dl` of what is shared. `number` 0: nobody acknowledges it; else it is to be until `deadline`, unix seconds."""
    header: dict[str, object] = {"t": "dl", "sub": sub, "n": attempt}
    if number:
        header["d"] = number
        header["deadline"] = round(deadline, 3)
    return _event_frame(header, event, epoch)


def encode_hi(
    session: str,
    namespace: str,
    *,
    max_event_bytes: int,
    max_subs: int,
    heartbeat_seconds: int,
    expires_at: float | None,
) -> bytes:
    """The relay's first message."""
    return _frame(
        {
            "t": "hi",
            "session": session,
            "namespace": namespace,
            "max_event": max_event_bytes,
            "max_subs": max_subs,
            "heartbeat": heartbeat_seconds,
            "exp": None if expires_at is None else int(expires_at),
        }
    )


def encode_subscribed(r: int, sub: int, relay: str, cursor: Cursor, *, is_behind: bool) -> bytes:
    """The answer to `sub`, before any event of it; if it is behind, what it missed follows, up to a `cur` for it."""
    behind = {"behind": True} if is_behind else {}
    return _frame({"t": "ok", "r": r, "sub": sub, "relay": relay, "cursor": str(cursor), **behind})


def encode_behind(relay: str, cursor: Cursor, sub: int) -> bytes:
    """A subscription was too slow for the live stream: what follows comes from history, up to a `cur` for it."""
    return _frame({"t": "behind", "relay": relay, "sub": sub, "c": str(cursor)})


def encode_ok(r: int, sub: int) -> bytes:
    """The answer to what concerns a subscription: it was done. After `unsub` nothing of it follows."""
    return _frame({"t": "ok", "r": r, "sub": sub})


def encode_published(r: int, receipt: PublishReceipt) -> bytes:
    """The answer to `pub`."""
    return _frame({"t": "ok", "r": r, **receipt.members()})


def encode_renewed(r: int, expires_at: float) -> bytes:
    """The answer to `renew`."""
    return _frame({"t": "ok", "r": r, "exp": int(expires_at)})


def encode_session_gap(relay: str, from_: Cursor, to: Cursor, why: str, sub: int | None = None) -> bytes:
    """Events after `from_` up to and including `to` are missing, for one subscription or all of the relay."""
    whose = {} if sub is None else {"sub": sub}
    return _frame({"t": "gap", "relay": relay, **whose, "from": str(from_), "to": str(to), "why": why})


def encode_cursor(relay: str, cursor: Cursor, sub: int | None = None) -> bytes:
    """The position reached in a relay's stream, or by one subscription, which is live from there."""
    whose = {} if sub is None else {"sub": sub}
    return _frame({"t": "cur", "relay": relay, **whose, "c": str(cursor)})


def encode_pong(r: int) -> bytes:
    """The answer to `ping`."""
    return _frame({"t": "pong", "r": r})


def encode_err(
    error: RelayError, tracking_id: str, r: int | None = None, sub: int | None = None, d: Sequence[int] = ()
) -> bytes:
    """A refusal: of the message `r`, of what became of the subscription `sub`, of deliveries `d` of it."""
    header: dict[str, object] = {"t": "err"}
    if r is not None:
        header["r"] = r
    if sub is not None:
        header["sub"] = sub
    if d:
        header["d"] = list(d)
    header |= {"status": error.status, "code": error.code, "message": error.message, "tracking": tracking_id}
    if error.retry_after is not None:
        header["retry_after"] = error.retry_after
    return _frame(header)


def encode_session_bye(close: Close) -> bytes:
    """The goodbye; a Close frame follows it."""
    return _frame({"t": "bye", **bye_members(close)})


def _event_frame(header: dict[str, object], event: Event, epoch: str) -> bytes:
    header["a"] = event.address
    header["c"] = f"{epoch}:{event.offset}"
    header["i"] = event.id_in(epoch)
    if event.type is not None:
        header["y"] = event.type
    if event.source is not None:
        header["s"] = event.source
    if event.time is not None:
        header["tm"] = event.time
    if event.content_type is not None:
        header["ct"] = event.content_type
    if extensions := event.extensions():
        header["x"] = dict(extensions)
    return encode_frame(TEXT if event.is_text else BINARY, orjson.dumps(header) + b"\n" + event.payload)


def _frame(header: Mapping[str, object]) -> bytes:
    return encode_frame(TEXT, orjson.dumps(header))
