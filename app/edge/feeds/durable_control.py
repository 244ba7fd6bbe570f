"""Durable subscriptions as they are managed: listed, made, changed, moved, ended, by their owners and by managers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app.access.grant import Grant
from app.edge.feeds.beginning import find_beginning
from app.edge.feeds.callers import may_subscribe
from app.edge.feeds.durable import Durable
from app.edge.realm import Realm
from app.errors import BadRequest, Conflict, EndpointNotFound, RelayError
from app.namespace import Namespace, Relay, Right
from app.wire.native.query import parse_start
from app.wire.native.sharing import parse_sharing
from fanout.address import check_pattern
from fanout.filters import parse_filter

if TYPE_CHECKING:
    from app.edge.context import Context


class DurableControl:
    """What the management API asks. Each raises what `Durables.find` does for what the grant does not reach."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def visible(self, namespace: Namespace, relay: Relay, grant: Grant) -> Sequence[dict[str, Any]]:
        """Those of a relay that are the caller's, or all for who manages it."""
        grant.require_right(Right.SUBSCRIBE)
        found = [each for each in self._context.durables.of(relay) if each.may_be_used_by(grant)]
        return [_described(each) for each in sorted(found, key=lambda durable: durable.name)]

    def get(self, namespace: Namespace, relay: Relay, name: str, grant: Grant) -> dict[str, Any]:
        return _described(self._find(namespace, relay, name, grant))

    async def put(
        self, namespace: Namespace, relay: Relay, name: str, wanted: dict[str, Any], grant: Grant
    ) -> tuple[dict[str, Any], bool]:
        """Make it, or change all but its pattern and where it is; whether it is new. Raises Conflict, BadRequest."""
        realm = self._realm(namespace)
        said = {option: value for option, value in wanted.items() if value is not None}
        sharing = parse_sharing({**said, "durable": name})
        assert sharing is not None
        start = parse_start(said.pop("from", "now"))
        if start == "retained":
            raise BadRequest("'from' is none of: now, start, a cursor, a time.")
        filter = parse_filter(said["filter"]) if "filter" in said else None
        owner, pattern = may_subscribe(realm, grant, check_pattern(said["pattern"]), filter)
        if owner is not relay:
            raise BadRequest("The pattern's addresses are not this relay's.")
        durables = self._context.durables
        if any(each.name == name for each in durables.of(relay)):
            durable = durables.find(realm, relay, name, grant)
            if durable.is_pushed:
                raise Conflict(f"'{name}' is pushed to a sink; change it at /-/api/subscriptions/{name}.")
            if durable.pattern.text != pattern.text or durable.settings.key != sharing.key:
                raise Conflict(f"'{name}' has another pattern or key, which stay; delete it, or take another name.")
            return _described(durables.change(durable, filter, sharing, grant)), False
        opened: asyncio.Future[Durable | RelayError] = self._context.loop.create_future()
        realm.tick.flush()
        durables.open(realm, relay, pattern, filter, sharing, grant, start, opened.set_result)
        found = await opened
        if isinstance(found, RelayError):
            raise found
        return _described(found), True

    def remove(self, namespace: Namespace, relay: Relay, name: str, grant: Grant) -> None:
        self._context.durables.remove(self._find(namespace, relay, name, grant))

    def seek(self, namespace: Namespace, relay: Relay, name: str, to: str, grant: Grant) -> dict[str, Any]:
        """Go on from there, whatever was under way; `now` lets go of everything. Raises BadRequest."""
        durable = self._find(namespace, relay, name, grant)
        start = parse_start(to)
        if start == "retained":
            raise BadRequest("'to' is none of: now, start, a cursor, a time.")
        durable.realm.tick.flush()
        durable.seek(find_beginning(durable.history, start))
        return _described(durable)

    def _find(self, namespace: Namespace, relay: Relay, name: str, grant: Grant) -> Durable:
        grant.require_right(Right.SUBSCRIBE)
        return self._context.durables.find(self._realm(namespace), relay, name, grant)

    def _realm(self, namespace: Namespace) -> Realm:
        realm = self._context.realms.get(namespace)
        if realm is None:
            raise EndpointNotFound("The namespace is gone.")
        return realm


def _described(durable: Durable) -> dict[str, Any]:
    settings, shared, history = durable.settings, durable.shared, durable.history
    state = shared.state
    return {
        "relay": durable.relay.name,
        "name": durable.name,
        "pattern": durable.pattern.text,
        "filter": None if durable.filter is None else durable.filter.value,
        "key": settings.key,
        "ack_wait": settings.ack_wait,
        "max_deliveries": settings.max_deliveries,
        "max_in_flight": settings.max_in_flight,
        "dead_letter": settings.dead_letter,
        "owner": settings.owner.name,
        "paused": durable.is_paused,
        "cursor": str(durable.cursor),
        "behind": history.head - state.floor if durable.epoch == history.epoch else history.head,
        "pending": len(state.pending),
        "in_flight": shared.in_flight,
        "redelivered": shared.redelivered,
        "dead_letters": durable.dead_letters,
        "lost": durable.lost,
        "gaps": durable.gaps,
        "consumers": len(durable.consumers),
    }
