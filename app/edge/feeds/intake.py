"""Events in: how an event gets its place in its relay's stream, and on to those who listen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from app.edge.feeds.checks import check_event, check_events, check_room
from app.edge.feeds.duplicates import key_of
from app.errors import RelayError, StoreUnavailable
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
    address. An event that was accepted before is not published again; one that is not due yet waits for its time.
    Raises PayloadTooLarge, SchemaViolation, BadRequest, Unsupported, QuotaExceeded, and Overloaded where too much waits
    for the disk.
    """
    history = realm.history(relay)
    if relay.checks_events or publication.terms is not None:
        check_event(relay, publication)
        check_room(relay, history.retained, address, (publication,))
        _check_delays(realm, relay, (publication,), now)
    if history.log is not None:
        realm.appender.admit()
    if publication.id or publication.terms is not None:
        _take(realm, relay, address, publication, now, on_receipt, on_failure, publisher)
    else:
        _place(realm, relay, address, publication, now, on_receipt, on_failure, publisher)


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
    check_events(relay, publications)
    history = realm.history(relay)
    check_room(relay, history.retained, address, publications)
    _check_delays(realm, relay, publications, now)
    if history.log is not None:
        realm.appender.admit()
    is_alone = len(publications) == 1
    for place, publication in enumerate(publications):
        tell = partial(on_receipt, place)
        _take(realm, relay, address, publication, now, tell, on_failure, None, is_alone=is_alone)


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
    realm.counters["events"] += 1
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
    realm.counters["events"] += len(events)
    realm.touch(relay)
    realm.router.publish(relay.key, events)


# --- inside ---


def _check_delays(realm: Realm, relay: Relay, publications: Sequence[Publication], now: float) -> None:
    dues = [each.terms.due(now) for each in publications if each.terms is not None]
    if waits := [due for due in dues if due > now]:
        realm.delayed.check(realm, relay, waits, now)


def _take(
    realm: Realm,
    relay: Relay,
    address: str,
    publication: Publication,
    now: float,
    on_receipt: OnReceipt | None,
    on_failure: OnFailure | None,
    publisher: Publisher | None,
    *,
    is_alone: bool = True,
) -> None:
    """Accept an event, unless it is one that was accepted before; others fail with it unless it `is_alone`."""
    if not publication.id or not relay.dedup_seconds:
        _place(realm, relay, address, publication, now, on_receipt, on_failure, publisher)
        return
    duplicates, key = realm.duplicates(relay), key_of(publication, address)
    duplicates.prune(now - relay.dedup_seconds)
    if (receipt := duplicates.find(key)) is not None:
        if on_receipt is not None:
            on_receipt(receipt)
        return

    def repeated(receipt: PublishReceipt | None) -> None:
        if receipt is not None:
            if on_receipt is not None:
                on_receipt(receipt)
        elif is_alone and realm.has(relay):  # the first came to nothing
            _take(realm, relay, address, publication, realm.now(), on_receipt, on_failure, publisher)
        elif on_failure is not None:
            on_failure(StoreUnavailable("The event of this id that came before was not kept.", retry_after=1))

    def succeeded(receipt: PublishReceipt) -> None:
        if on_receipt is not None:
            on_receipt(receipt)
        duplicates.end(key, receipt, realm.now())

    def failed(error: RelayError) -> None:
        if on_failure is not None:
            on_failure(error)
        duplicates.end(key, None, now)

    if not duplicates.waits(key, repeated):
        duplicates.begin(key)
        _place(realm, relay, address, publication, now, succeeded, failed, publisher)


def _place(
    realm: Realm,
    relay: Relay,
    address: str,
    publication: Publication,
    now: float,
    on_receipt: OnReceipt | None,
    on_failure: OnFailure | None,
    publisher: Publisher | None,
) -> None:
    """Give an event its place, in a durable relay once it is on disk; or let it wait for its time."""
    if publication.terms is not None and publication.terms.due(now) > now:
        realm.delayed.hold(realm, relay, address, publication, now, on_receipt, on_failure)
        return
    history = realm.history(relay)
    event = publication.as_event(address, history.next_offset(), now)
    if history.log is None:
        accept(realm, relay, event, now, on_receipt)
    else:
        realm.appender.append(realm, relay, (event,), on_receipt, on_failure, publisher)
