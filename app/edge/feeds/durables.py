"""All durable subscriptions of a gateway: found by name, made, changed, ended, and kept in the journal.

Theory. That there is one is kept before anybody is told so. How far it has come is kept half a second later, and when
the gateway stops: an acknowledgement that a crash took away only means that an event is delivered once more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from app.access.grant import Grant
from app.edge.feeds.beginning import find_beginning
from app.edge.feeds.callers import may_publish
from app.edge.feeds.durable import Durable, Settings
from app.edge.feeds.owner import Owner
from app.edge.journal import Row, Statement
from app.edge.realm import Realm
from app.edge.wheel import Deadline
from app.errors import (
    BadRequest,
    ClaimMissing,
    EndpointNotFound,
    QuotaExceeded,
    RelayError,
    Unsupported,
    as_relay_error,
)
from app.namespace import Relay
from app.wire.native.query import Start
from app.wire.native.sharing import Sharing
from fanout.address import Pattern
from fanout.errors import FanoutError
from fanout.filters import Filter
from fanout.shared import State

if TYPE_CHECKING:
    from app.edge.context import Context

KEEP_SECONDS = 0.5
MOST_OF_RELAY = 1000

Then = Callable[["Durable | RelayError"], None]

_log = logging.getLogger("fanway.edge")

_COLUMNS = "namespace, relay, name, settings, epoch, position, pending"
_INSERT = f"REPLACE INTO durables ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"
_UPDATE = "UPDATE durables SET epoch = ?, position = ?, pending = ? WHERE namespace = ? AND relay = ? AND name = ?"
_DELETE = "DELETE FROM durables WHERE namespace = ? AND relay = ? AND name = ?"


class Durables:
    """By relay and name. Those of relays that go, go with them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._all: dict[Relay, dict[str, Durable]] = {}
        self._awaited: dict[tuple[Relay, str], list[Callable[[RelayError | None], None]]] = {}  # being kept first
        self._changed: set[Durable] = set()
        self._timer: Deadline | None = None

    # --- finding and making ---

    def of(self, relay: Relay) -> Sequence[Durable]:
        """Those of a relay."""
        return list(self._all.get(relay, {}).values())

    def find(self, realm: Realm, relay: Relay, name: str, grant: Grant) -> Durable:
        """One, for its owner or a manager. Raises EndpointNotFound, ClaimMissing."""
        durable = self._all.get(relay, {}).get(name)
        if durable is None:
            raise EndpointNotFound(f"The relay has no durable subscription '{name}'.")
        if not durable.may_be_used_by(grant):
            raise ClaimMissing(
                f"The durable subscription '{name}' is another's, or receives more than the token reaches; "
                "its owner and managers may use it."
            )
        return durable

    def open(
        self,
        realm: Realm,
        relay: Relay,
        pattern: Pattern,
        filter: Filter | None,
        wanted: Sharing,
        grant: Grant,
        start: Start,
        then: Then,
    ) -> None:
        """The one that is wanted, made if there is none; `then` has it, or the reason why not, perhaps later."""
        name = wanted.durable or ""
        try:
            if name in self._all.get(relay, {}):
                durable = self.find(realm, relay, name, grant)
                durable.settings.check_same(name, pattern, filter, wanted)
                if durable.may_be_renewed_by(grant):
                    durable.renew(Owner.of(grant, self._context.clock()))
            else:
                durable = self._make(realm, relay, pattern, filter, wanted, grant, start)
        except (RelayError, FanoutError) as error:
            then(as_relay_error(error))
            return
        awaited = self._awaited.get((relay, name))
        if awaited is None:
            then(durable)
        else:
            awaited.append(lambda error: then(durable if error is None else error))

    def change(self, durable: Durable, filter: Filter | None, wanted: Sharing, grant: Grant) -> Durable:
        """The one that takes its place, with what is wanted now; consumers of the old one are told that it ended.

        Raises as `open` does where the grant may not publish at the dead-letter address, or the filter costs too much.
        """
        realm, relay = durable.realm, durable.relay
        if filter is not None and filter != durable.settings.filter:
            realm.router.check_filter(relay.key, durable.pattern, filter)
        settings = Settings.of(durable.pattern, filter, durable.settings.owner, wanted)
        self._check_dead_letter(realm, relay, settings, grant)
        state = durable.shared.state
        durable.close(EndpointNotFound(f"The durable subscription '{durable.name}' was changed."))
        fresh = Durable(self._context, realm, relay, durable.name, settings, self._note)
        fresh.is_pushed = durable.is_pushed
        fresh.start(durable.epoch, state)
        self._changed.discard(durable)
        self._all[relay][durable.name] = fresh
        self._write(lambda: [(_INSERT, [_row(fresh)])], "a change of a durable subscription could not be kept")
        return fresh

    def remove(self, durable: Durable) -> None:
        """End it, and forget it."""
        ours = self._all.get(durable.relay, {})
        if ours.pop(durable.name, None) is None:
            return
        if not ours:
            del self._all[durable.relay]
        self._changed.discard(durable)
        durable.close(EndpointNotFound(f"The durable subscription '{durable.name}' was deleted."))
        key = _key(durable)
        self._write(lambda: [(_DELETE, [key])], "a durable subscription could not be deleted")

    # --- life ---

    async def load(self) -> None:
        """Take up all that are kept. Raises StoreUnavailable."""
        for row in await self._context.journal.rows(f"SELECT {_COLUMNS} FROM durables"):
            try:
                self._load(row)
            except (ValueError, KeyError, TypeError):
                _log.exception("the durable subscription %r of %r cannot be taken up", row[2], row[1])

    def review(self) -> None:
        """Something provisioned changed."""
        for relay, ours in list(self._all.items()):
            for durable in list(ours.values()):
                namespace = durable.realm.namespace
                if namespace.is_deleted or not (relay.is_system or namespace.relays.get(relay.key) is relay):
                    self.remove(durable)
                else:
                    durable.review()

    async def close(self) -> None:
        """Keep how far each has come. Errors are logged: then some is delivered once more."""
        if self._timer is not None:
            self._timer.cancel()
        statements = self._states()
        if statements:
            try:
                await self._context.journal.commit(*statements)
            except RelayError:
                _log.exception("how far durable subscriptions have come could not be kept")

    # --- inside ---

    def _make(
        self,
        realm: Realm,
        relay: Relay,
        pattern: Pattern,
        filter: Filter | None,
        wanted: Sharing,
        grant: Grant,
        start: Start,
    ) -> Durable:
        name = wanted.durable or ""
        if grant.by_ticket:
            raise ClaimMissing("What a ticket opens ends with it; a durable subscription is made with a token.")
        if relay.history.keep == "none":
            raise Unsupported(f"The relay '{relay.name}' keeps no events, which a durable subscription reads.")
        if len(self._all.get(relay, {})) >= MOST_OF_RELAY:
            raise QuotaExceeded(f"A relay has at most {MOST_OF_RELAY} durable subscriptions.")
        if filter is not None:
            realm.router.check_filter(relay.key, pattern, filter)  # once: after a restart it is taken up in any case
        settings = Settings.of(pattern, filter, Owner.of(grant, self._context.clock()), wanted)
        self._check_dead_letter(realm, relay, settings, grant)
        durable = Durable(self._context, realm, relay, name, settings, self._note)
        durable.begin(find_beginning(realm.history(relay), start))
        self._all.setdefault(relay, {})[name] = durable
        waiting = self._awaited[relay, name] = []

        def done(error: RelayError | None) -> None:
            del self._awaited[relay, name]
            if error is not None:
                self.remove(durable)
            for each in waiting:
                each(error)

        self._context.journal.write(lambda: [(_INSERT, [_row(durable)])], done)
        return durable

    def _check_dead_letter(self, realm: Realm, relay: Relay, settings: Settings, grant: Grant) -> None:
        if settings.dead_letter:
            target, address = may_publish(realm, grant, settings.dead_letter, is_secure=True)
            if target is relay and settings.pattern.matches(address):
                raise BadRequest("'dead_letter' lies among the addresses that the subscription itself receives.")

    def _load(self, row: Row) -> None:
        namespace_name, relay_key, name, settings, epoch, position, pending = row
        realm = next((each for each in self._context.realms.values() if each.namespace.name == namespace_name), None)
        relay = None
        if realm is not None:
            relay = realm.system if relay_key == realm.system.key else realm.namespace.relays.get(relay_key)
        if realm is None or relay is None:
            self._write(lambda: [(_DELETE, [row[:3]])], "a durable subscription of no relay could not be deleted")
            return
        known = Settings.from_json(orjson.loads(settings))
        durable = Durable(self._context, realm, relay, name, known, self._note)
        durable.start(epoch, State(position, dict(orjson.loads(pending))))
        self._all.setdefault(relay, {})[name] = durable

    def _note(self, durable: Durable) -> None:
        """It has come further."""
        self._changed.add(durable)
        if self._timer is None:
            self._timer = self._context.wheel.after(KEEP_SECONDS, self._keep)

    def _keep(self) -> None:
        self._timer = None

        def done(error: RelayError | None) -> None:
            if error is not None:
                _log.warning("how far durable subscriptions have come could not be kept: %s", error.message)
                for durable in self.all():
                    self._note(durable)

        self._context.journal.write(self._states, done)

    def all(self) -> Sequence[Durable]:
        """Those of all relays."""
        return [durable for ours in self._all.values() for durable in ours.values()]

    def _states(self) -> list[Statement]:
        changed, self._changed = self._changed, set()
        rows = [(*_row(durable)[4:], *_key(durable)) for durable in changed if not durable.is_closed]
        return [(_UPDATE, rows)] if rows else []

    def _write(self, prepare: Callable[[], list[Statement]], complaint: str) -> None:
        def done(error: RelayError | None) -> None:
            if error is not None:
                _log.error("%s: %s", complaint, error.message)

        self._context.journal.write(prepare, done)


def _key(durable: Durable) -> tuple[str, str, str]:
    return durable.realm.namespace.name, durable.relay.key, durable.name


def _row(durable: Durable) -> tuple[Any, ...]:
    state = durable.shared.state
    settings, pending = (
        orjson.dumps(durable.settings.as_json()).decode(),
        orjson.dumps([*state.pending.items()]).decode(),
    )
    return (*_key(durable), settings, durable.epoch, state.position, pending)
