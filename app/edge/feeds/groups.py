"""Groups: those who subscribe to the same events under the same name get each event once between them, at most once.

A group begins with its first member and ends with its last; nothing is kept of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.edge.feeds.beginning import find_beginning
from app.edge.feeds.dispatcher import Consumer, Dispatcher
from app.edge.realm import Realm
from app.errors import Conflict
from app.namespace import Relay
from app.wire.native.query import Start
from app.wire.native.sharing import Sharing
from fanout.address import Pattern
from fanout.filters import Filter
from fanout.shared import Terms

if TYPE_CHECKING:
    from app.edge.context import Context


class Group(Dispatcher):
    """One group; `on_empty` is told when the last member has left."""

    def __init__(
        self,
        context: Context,
        realm: Realm,
        relay: Relay,
        pattern: Pattern,
        filter: Filter | None,
        key: str | None,
        on_empty: Callable[[], None],
    ) -> None:
        super().__init__(context, realm, relay, pattern, filter, Terms(wants_acks=False, key=key))
        self._on_empty = on_empty

    def leave(self, consumer: Consumer) -> None:
        super().leave(consumer)
        if not self.consumers and not self.is_closed:
            self.close()
            self._on_empty()


class Groups:
    """All groups of a gateway, by relay and name."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._all: dict[tuple[Relay, str], Group] = {}

    def check(self, relay: Relay, pattern: Pattern, filter: Filter | None, wanted: Sharing) -> None:
        """Return when the group that is wanted can be joined or begun. Raises Conflict."""
        group = self._all.get((relay, wanted.group or ""))
        if group is None:
            return
        said = {"pattern": pattern.text, "filter": filter, "key": wanted.key}
        have = {"pattern": group.pattern.text, "filter": group.filter, "key": group.terms.key}
        other = [option for option, value in said.items() if have[option] != value]
        if other:
            raise Conflict(
                f"The group '{wanted.group}' shares another {' and '.join(other)} now; join it as it is, or take "
                "another name."
            )

    def open(
        self, realm: Realm, relay: Relay, pattern: Pattern, filter: Filter | None, wanted: Sharing, start: Start
    ) -> Group:
        """The group that is wanted, begun at `start` if there is none; the caller joins at once. Raises as `check`."""
        self.check(relay, pattern, filter, wanted)
        name = wanted.group or ""
        group = self._all.get((relay, name))
        if group is not None:
            return group

        def forget() -> None:
            del self._all[relay, name]

        group = Group(self._context, realm, relay, pattern, filter, wanted.key, forget)
        group.begin(find_beginning(realm.history(relay), start))
        self._all[relay, name] = group
        return group
