"""Events in: how an event gets its place in its relay's stream, and on to those who listen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from app.edge.feeds.checks import check_event, check_events, check_room
from app.edge.realm import Realm
from app.namespace import Relay
from app.wire.native.publication import Publication
from app.wire.native.receipt import PublishReceipt
from fanout.event import Event


def publish(
    realm: Realm,
    relay: Relay,
    address: str,
    publication: Publication,
    now: float,
    on_receipt: Callable[[PublishReceipt], None] | None = None,
) -> None:
    """Accept an event: it has its place in the stream when this returns; the receipt comes after its flush.

    The permission was checked by `app.edge.feeds.callers.may_publish`, which also gave the canonical address.
    Raises PayloadTooLarge, QuotaExceeded, SchemaViolation, Unsupported.
    """
    if relay.checks_events or publication.terms is not None:
        check_event(relay, publication, now)
        check_room(relay, realm.history(relay).retained, address, (publication,))
    _accept(realm, relay, address, publication, now, on_receipt)


def publish_all(
    realm: Realm,
    relay: Relay,
    address: str,
    publications: Sequence[Publication],
    now: float,
    on_receipt: Callable[[int, PublishReceipt], None],
) -> None:
    """The same for all events of a request, or for none of them; `on_receipt` is told of which, counted from 0."""
    check_events(relay, publications, now)
    check_room(relay, realm.history(relay).retained, address, publications)
    for place, publication in enumerate(publications):
        _accept(realm, relay, address, publication, now, partial(on_receipt, place))


def publish_run(realm: Realm, relay: Relay, events: Sequence[Event], now: float) -> None:
    """Accept events of one relay, which ask for no receipt; their offsets are the next ones of its history.

    The caller has seen to what the relay asks of them.
    """
    realm.history(relay).extend(events, now)
    realm.touch(relay)
    realm.router.publish(relay.key, events)


def _accept(
    realm: Realm,
    relay: Relay,
    address: str,
    publication: Publication,
    now: float,
    on_receipt: Callable[[PublishReceipt], None] | None,
) -> None:
    history = realm.history(relay)
    event = publication.as_event(address, history.next_offset(), now)
    history.append(event, now)
    realm.touch(relay)
    if publication.terms is not None and event.expires_at <= now:  # it counts, but nobody is given it
        if on_receipt is not None:
            on_receipt(PublishReceipt(event.id_in(history.epoch), str(history.cursor), 0, 0, 0, 0))
        return
    plan = realm.router.plan(relay.key, address)
    if on_receipt is None:
        realm.tick.publish(plan, event)
        return
    cursor, tell = str(history.cursor), on_receipt
    realm.tick.publish(plan, event, lambda receipt: tell(PublishReceipt(event.id_in(history.epoch), cursor, *receipt)))
