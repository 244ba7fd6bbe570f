"""Events in: how an event gets its place in its relay's stream, and on to those who listen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from app.edge.feeds.checks import check_event, check_events, check_room
from app.errors import RelayError
from app.namespace import Relay
from app.wire.native.publication import Publication
from app.wire.native.receipt import PublishReceipt
from fanout.event import Event

if TYPE_CHECKING:
    from app.edge.feeds.appender import Publisher
    from app.edge.realm import Realm

OnReceipt = Callable[[PublishReceipt], None]
OnFailure = Callable[[RelayError], None]


def publish(
    realm: Realm,
    relay: Relay,
    address: str,
    publication: Publication,
    now: float,
    on_receipt: OnReceipt | None = None,
    on_failure: OnFailure | None = None,
    publisher: Publisher | None = None,
) -> None:
    """Accept an event: it has its place in the stream when this returns; the receipt comes after its flush.

    In a durable relay it gets its place later, once it is on disk, or `on_failure` is told; `publisher` is who may be
    held till then. The permission was checked by `app.edge.feeds.callers.may_publish`, which also gave the canonical
    address. Raises PayloadTooLarge, QuotaExceeded, SchemaViolation, Unsupported, and Overloaded where too much waits
    for the disk.
    """
    history = realm.history(relay)
    if relay.checks_events or publication.terms is not None:
        check_event(relay, publication, now)
        check_room(relay, history.retained, address, (publication,))
    event = publication.as_event(address, history.next_offset(), now)
    if history.log is None:
        accept(realm, relay, event, now, on_receipt)
    else:
        realm.appender.admit()
        realm.appender.append(realm, relay, (event,), on_receipt, on_failure, publisher)


def publish_all(
    realm: Realm,
    relay: Relay,
    address: str,
    publications: Sequence[Publication],
    now: float,
    on_receipt: Callable[[int, PublishReceipt], None],
    on_failure: OnFailure,
) -> None:
    """The same for all events of a request, or for none of them; `on_receipt` is told of which, counted from 0."""
    check_events(relay, publications, now)
    history = realm.history(relay)
    check_room(relay, history.retained, address, publications)
    if history.log is not None:
        realm.appender.admit()
    for place, publication in enumerate(publications):
        event = publication.as_event(address, history.next_offset(), now)
        if history.log is None:
            accept(realm, relay, event, now, partial(on_receipt, place))
        else:
            realm.appender.append(realm, relay, (event,), partial(on_receipt, place), on_failure, None)


def publish_run(
    realm: Realm,
    relay: Relay,
    events: Sequence[Event],
    now: float,
    on_failure: OnFailure | None = None,
    publisher: Publisher | None = None,
) -> None:
    """Accept events of one relay, which ask for no receipt; their offsets are the next ones of its history.

    In a durable relay as with `publish`: others are given then. The caller has seen to what the relay asks of them.
    """
    if realm.history(relay).log is None:
        accept_run(realm, relay, events, now)
    else:
        realm.appender.admit()
        realm.appender.append(realm, relay, events, None, on_failure, publisher)


def accept(realm: Realm, relay: Relay, event: Event, now: float, on_receipt: OnReceipt | None) -> None:
    """Take the next event of a stream in, and publish it."""
    history = realm.history(relay)
    history.append(event, now)
    realm.touch(relay)
    if event.expires_at <= now:  # it counts, but nobody is given it
        if on_receipt is not None:
            on_receipt(PublishReceipt(event.id_in(history.epoch), str(history.cursor), 0, 0, 0, 0))
        return
    plan = realm.router.plan(relay.key, event.address)
    if on_receipt is None:
        realm.tick.publish(plan, event)
        return
    cursor, tell = str(history.cursor), on_receipt
    realm.tick.publish(plan, event, lambda receipt: tell(PublishReceipt(event.id_in(history.epoch), cursor, *receipt)))


def accept_run(realm: Realm, relay: Relay, events: Sequence[Event], now: float) -> None:
    """The same for the next ones, which do not expire, and of which nobody wants receipts."""
    realm.history(relay).extend(events, now)
    realm.touch(relay)
    realm.router.publish(relay.key, events)
