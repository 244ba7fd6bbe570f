"""A durable subscription: its name, its owner, what it is set to, and its dead letters."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app.access.grant import Grant
from app.edge.feeds.beginning import Beginning
from app.edge.feeds.callers import may_publish
from app.edge.feeds.dispatcher import Dispatcher
from app.edge.feeds.gate import Gate
from app.edge.feeds.intake import publish
from app.edge.feeds.owner import Owner
from app.edge.realm import Realm
from app.errors import Conflict, Overloaded, RelayError, StoreError
from app.namespace import Relay, Right
from app.wire.native.publication import Publication
from app.wire.native.receipt import PublishReceipt
from app.wire.native.sharing import Sharing
from fanout.address import Pattern, check_pattern
from fanout.event import default_source
from fanout.filters import Filter, parse_filter
from fanout.shared import Pending, Terms

if TYPE_CHECKING:
    from app.edge.context import Context

ACK_WAIT_SECONDS = 30.0
MAX_DELIVERIES = 5  # where there is a dead-letter address; else an event is tried for as long as it is kept
MAX_IN_FLIGHT = 1024
DEAD_SECONDS = 5.0  # after which a dead letter that could not be written is tried again


@dataclass(frozen=True, slots=True)
class Settings:
    """What a durable subscription is set to. Seconds; `max_deliveries` 0: no end; `dead_letter` '': nowhere."""

    pattern: Pattern
    filter: Filter | None
    owner: Owner
    key: str | None = None
    ack_wait: float = ACK_WAIT_SECONDS
    max_deliveries: int = 0
    max_in_flight: int = MAX_IN_FLIGHT
    dead_letter: str = ""

    @classmethod
    def of(cls, pattern: Pattern, filter: Filter | None, owner: Owner, wanted: Sharing) -> Settings:
        """Those of a new one, as far as anything was said."""
        dead_letter = wanted.dead_letter or ""
        settings = cls(pattern, filter, owner, wanted.key, dead_letter=dead_letter)
        most = wanted.max_deliveries
        if most is None:
            most = MAX_DELIVERIES if dead_letter else 0
        return replace(
            settings,
            ack_wait=ACK_WAIT_SECONDS if wanted.ack_wait is None else wanted.ack_wait,
            max_deliveries=most,
            max_in_flight=MAX_IN_FLIGHT if wanted.max_in_flight is None else wanted.max_in_flight,
        )

    @property
    def terms(self) -> Terms:
        return Terms(True, self.key, self.ack_wait, self.max_deliveries, self.max_in_flight)

    def check_same(self, name: str, pattern: Pattern, filter: Filter | None, wanted: Sharing) -> None:
        """Return when what is said now is what was said then. Raises Conflict, naming what is not."""
        said: dict[str, object] = {"pattern": pattern.text, "filter": filter}
        have: dict[str, object] = {"pattern": self.pattern.text, "filter": self.filter}
        for option in ("key", "ack_wait", "max_deliveries", "max_in_flight", "dead_letter"):
            if (value := getattr(wanted, option)) is not None:
                said[option], have[option] = value, getattr(self, option)
        other = [option for option, value in said.items() if have[option] != value]
        if other:
            raise Conflict(
                f"The durable subscription '{name}' exists with another {' and '.join(other)}; "
                "subscribe as it is, or change or delete it at /-/api/durables."
            )

    def as_json(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "pattern": self.pattern.text,
            "filter": None if self.filter is None else self.filter.value,
            "owner": self.owner.as_json(),
            "key": self.key,
            "ack_wait": self.ack_wait,
            "max_deliveries": self.max_deliveries,
            "max_in_flight": self.max_in_flight,
            "dead_letter": self.dead_letter,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Settings:
        return cls(
            pattern=check_pattern(value["pattern"], allow_system=True),
            filter=None if value["filter"] is None else parse_filter(value["filter"]),
            owner=Owner.from_json(value["owner"]),
            key=value["key"],
            ack_wait=value["ack_wait"],
            max_deliveries=value["max_deliveries"],
            max_in_flight=value["max_in_flight"],
            dead_letter=value["dead_letter"],
        )


class Durable(Dispatcher):
    """One of them, of one relay. `on_change` is told whenever there is something new to keep."""

    def __init__(
        self,
        context: Context,
        realm: Realm,
        relay: Relay,
        name: str,
        settings: Settings,
        on_change: Callable[[Durable], None],
    ) -> None:
        super().__init__(context, realm, relay, settings.pattern, settings.filter, settings.terms)
        self.name = name
        self.settings = settings
        self.holder = object()  # who settles what long polls were given: whoever may use this subscription
        self.mark = secrets.token_hex(4)  # of this start: delivery ids of an earlier one are not this one's
        self.is_pushed = False  # to a sink: it is changed as a push subscription
        self.dead_letters = 0
        self.lost = 0  # events that were delivered in vain and are no dead letters
        self._on_change = on_change
        self._find_gate()

    # --- deliveries of long polls ---

    def id_of(self, number: int) -> str:
        """How a delivery is named outside of sessions."""
        return f"{self.mark}-{number}"

    def number_of(self, id: str) -> int | None:
        """The delivery that is so named; None if it is not of this start."""
        mark, dash, number = id.partition("-")
        is_ours = mark == self.mark and dash and number.isascii() and number.isdecimal() and len(number) <= 18
        return int(number) if is_ours else None

    # --- the owner ---

    @property
    def is_paused(self) -> bool:
        """Whether its owner may receive nothing of it now, so that nobody is given anything."""
        return self._gate is None

    def may_be_used_by(self, grant: Grant) -> bool:
        """Whether a grant is the owner's and reaches all that is delivered here, or manages the relay."""
        is_owners = self.settings.owner.is_holder_of(grant) and grant.covers(Right.SUBSCRIBE, self.relay, self.pattern)
        return is_owners or grant.permits_all(Right.MANAGE, self.relay)

    def may_be_renewed_by(self, grant: Grant) -> bool:
        """Whether it may rest on a grant of its owner's from now: not if that ends with a ticket, or may do less."""
        if grant.by_ticket or not self.settings.owner.is_holder_of(grant):
            return False
        return not self.settings.dead_letter or self._place_of_dead(grant)[0] is not None

    def may_receive(self, address: str) -> bool:
        return self._gate is not None and self._gate(address)

    def review(self) -> None:
        """Something provisioned changed: the owner may have more or fewer rights than before."""
        before = self._gate
        self._find_gate()
        if self._gate != before:
            if self.is_paused:
                self.fall_behind()
            self.on_regated()
            self.schedule()

    def renew(self, owner: Owner) -> None:
        """Its owner is here with a grant of now."""
        self.settings = replace(self.settings, owner=owner)
        self.review()

    def seek(self, beginning: Beginning) -> None:
        """Read again from there, whatever is under way or put off."""
        self.fall_behind()
        self.shared.seek(beginning.after)
        self.epoch = self.history.epoch
        if beginning.gap is not None:
            self.note_gap(beginning.gap)
        self.on_progress()
        self.schedule()

    def _find_gate(self) -> None:
        context, relay = self.context, self.relay
        self._grant = self.settings.owner.grant(self.realm.namespace, context.authorizer, context.clock())
        self._gate: Gate | None = None
        if self._grant is not None and self._grant.covers(Right.SUBSCRIBE, relay, self.pattern):
            if self.realm.ending(relay, self.pattern.prefix) is None:
                self._gate = Gate.of(self._grant, relay)

    # --- what becomes of events ---

    def on_progress(self) -> None:
        self._on_change(self)

    def see_to_dead(self) -> None:
        dead = self.shared.dead
        while dead:
            self._see_to(dead.popleft())

    def _see_to(self, pending: Pending) -> None:
        """Publish a dead event at the dead-letter address; where it may not be, or is a dead letter, let it go."""
        target, address = self._place_of_dead(self._grant)
        if target is None or "fanwayreason" in pending.event.attributes:
            self._let_go(pending)
            return

        def again() -> None:
            if not self.is_closed:
                self._see_to(pending)

        def on_receipt(receipt: PublishReceipt) -> None:
            self.shared.bury(pending)
            self.dead_letters += 1
            self.context.counters["dead_letters"] += 1
            self.on_progress()

        def on_failure(error: RelayError) -> None:
            if isinstance(error, StoreError | Overloaded):  # its disk is full, perhaps
                self.context.wheel.after(DEAD_SECONDS, again)
            else:  # that relay takes no such events
                self._let_go(pending)

        try:
            letter = self._dead_letter(pending)
            publish(self.realm, target, address, letter, self.context.clock(), on_receipt, on_failure)
        except RelayError as error:
            on_failure(error)

    def _let_go(self, pending: Pending) -> None:
        self.lost += 1
        self.context.counters["dead_letters_lost"] += 1
        self.shared.bury(pending)

    def _place_of_dead(self, grant: Grant | None) -> tuple[Relay | None, str]:
        """Where dead letters go, if the grant may publish there."""
        if self.settings.dead_letter and grant is not None:
            with contextlib.suppress(RelayError):
                return may_publish(self.realm, grant, self.settings.dead_letter, is_secure=True)
        return None, ""

    def _dead_letter(self, pending: Pending) -> Publication:
        event, epoch = pending.event, self.history.epoch
        about = {
            "fanwayreason": pending.reason or "It was not acknowledged.",
            "fanwayorigin": event.address,
            "fanwayoriginid": event.id_in(epoch),
            "fanwayorigincursor": f"{epoch}:{event.offset}",
            "fanwaydurable": self.name,
            "fanwayattempts": str(pending.attempts),
        }
        return Publication(
            id=f"{self.name}-{epoch}-{event.offset}",  # not its own, which may be known where this goes
            payload=event.payload,
            is_text=event.is_text,
            content_type=event.content_type,
            type=event.type,
            source=event.source or default_source(event.address),
            time=event.time,
            attributes={**event.attributes, **about},
        )
