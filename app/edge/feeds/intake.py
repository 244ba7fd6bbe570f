"""Events in: how an event gets its place in its relay's stream, and on to those who listen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    """
    history = realm.history(relay)
    event = publication.as_event(address, history.next_offset(), now)
    history.append(event, now)
    realm.touch(relay)
    plan = realm.router.plan(relay.key, address)
    if on_receipt is None:
        realm.tick.publish(plan, event)
        return
    cursor, tell = str(history.cursor), on_receipt
    realm.tick.publish(plan, event, lambda receipt: tell(PublishReceipt(event.id_in(history.epoch), cursor, *receipt)))


def publish_run(realm: Realm, relay: Relay, events: Sequence[Event], now: float) -> None:
    """Accept events of one relay, which ask for no receipt; their offsets are the next ones of its history."""
    realm.history(relay).extend(events, now)
    realm.touch(relay)
    realm.router.publish(relay.key, events)
