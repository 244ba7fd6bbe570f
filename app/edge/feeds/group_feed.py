"""One's part in a group, where that is all that its connection is for: event streams, CloudEvents sockets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.edge.feeds.beginning import Beginning
from app.edge.feeds.client import Client
from app.edge.feeds.feed import Feed
from app.edge.feeds.gate import Gate
from app.edge.feeds.groups import Group
from app.edge.feeds.mouth import Mouth
from app.edge.presence import Particulars
from app.errors import RelayError
from app.wire.native.query import Start
from app.wire.native.sharing import Sharing
from fanout.address import Pattern
from fanout.filters import Filter
from fanout.history import Gap
from fanout.members import Member
from fanout.shared import Pending

if TYPE_CHECKING:
    from app.edge.context import Context


class GroupFeed(Feed):
    """A feed that is dealt events by its group; the engine knows the group only."""

    __slots__ = ("_group", "_sharing", "member")

    def __init__(
        self,
        context: Context,
        client: Client,
        mouth: Mouth,
        pattern: Pattern,
        gate: Gate,
        filter: Filter | None,
        sharing: Sharing,
    ) -> None:
        super().__init__(context, client, mouth, pattern, gate, filter, is_sole=True)
        self._sharing = sharing
        self._group: Group | None = None
        self.member = Member(gate, self._is_ready)

    # --- what its connection asks ---

    @property
    def is_live(self) -> bool:
        return self._group is not None and self._group.is_live

    def find_beginning(self, start: Start) -> Beginning:
        mouth = self.mouth
        groups = self._context.groups
        self._group = groups.open(mouth.realm, mouth.relay, self.pattern, self._filter, self._sharing, start)
        cursor = self._group.cursor
        return Beginning(cursor, None, cursor.offset)

    def begin(self, beginning: Beginning) -> None:
        if self._group is not None:
            self._group.join(self)
            self.mouth.realm.presence.come(self, is_sharer=True)

    def on_writable(self) -> None:
        if self._group is not None:
            self._group.wake(self)

    def tell_position(self) -> None:
        if self._group is not None and self._is_ready():
            data = self.mouth.encoding.position(self.mouth.relay.name, self._group.cursor)
            if data:
                self.mouth.outflow.write(data)

    def end(self) -> None:
        group, self._group = self._group, None
        if group is not None:
            group.leave(self)
        super().end()

    # --- what its group asks ---

    def deliver(self, deliveries: Sequence[Pending]) -> None:
        self.send([each.event for each in deliveries], self.mouth.history.epoch)

    def tell_gap(self, gap: Gap) -> None:
        self.send_gap(gap)

    def on_over(self, error: RelayError) -> None:
        """A group ends with its last member; it never ends before one."""

    # --- who it is, for those who ask who is there ---

    @property
    def count(self) -> int:
        return 0 if self._group is None else len(self._group.consumers)

    def particulars(self) -> Particulars:
        about = super().particulars()
        return about._replace(names={**about.names, "group": self._sharing.group})

    # --- inside ---

    def _is_ready(self) -> bool:
        return not self.mouth.outflow.is_paused
