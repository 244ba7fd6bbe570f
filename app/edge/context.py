"""What every connection of the edge shares: settings, directories, timers, counters. Built by `app.gateway`."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from app.access.authorize import Authorizer
from app.access.grant import Grant
from app.closes import Close
from app.edge.feeds.appender import Appender
from app.edge.feeds.delayed import Delayed
from app.edge.feeds.durables import Durables
from app.edge.feeds.groups import Groups
from app.edge.feeds.turns import Turns
from app.edge.journal import Journal
from app.edge.nowhere import Nowhere
from app.edge.owed import Owed
from app.edge.realm import Realm
from app.edge.storms import Storms
from app.edge.wheel import Wheel
from app.errors import RelayError, as_relay_error
from app.faults import Faults
from app.hosts import Hosts
from app.namespace import Namespace
from fanout.shared import Pool

if TYPE_CHECKING:
    from app.config import Settings

_log = logging.getLogger("fanway.edge")

READ_BYTES = 512 * 1024  # what is passed on at once: every read and its write wake the loop and the peer once
PUBLISH_READ_BYTES = 64 * 1024  # a publisher is read in smaller gulps, so that no tick grows too large


class Live(Protocol):
    """A connection that lives on grants and relays, and must end when they do."""

    def review(self) -> None:
        """Something that is provisioned changed: end, or narrow, what no longer stands."""

    def end(self, close: Close) -> None:
        """End in good order, with this code and reason."""

    def abort(self) -> None:
        """End at once."""


class Appointment(Protocol):
    """A sender that waits for a listener to come to a rendezvous."""


@dataclass(slots=True)
class Context:
    """One gateway's edge. `clock` is unix seconds; deadlines run on the loop's monotonic clock."""

    settings: Settings
    hosts: Hosts
    authorizer: Authorizer
    loop: asyncio.AbstractEventLoop
    wheel: Wheel
    clock: Callable[[], float]
    realms: dict[Namespace, Realm]
    journal: Journal
    appender: Appender
    delayed: Delayed
    node: int = 0
    is_draining: bool = False
    has_wcf_relays: bool = False  # somewhere: then every request's relay is looked at first
    has_network_rules: bool = False  # of some namespace: then every peer's address is looked at first
    connections: int = 0
    max_connections: int = 1 << 20  # set from the file limit at start
    counters: Counter[str] = field(default_factory=Counter)
    lives: set[Live] = field(default_factory=set)
    rendezvous: dict[str, Appointment] = field(default_factory=dict)  # by the secret in its URL
    nowhere: Nowhere = field(default_factory=Nowhere)
    owed: Owed = field(init=False)
    storms: Storms = field(init=False)
    durables: Durables = field(init=False)
    groups: Groups = field(init=False)
    pending: Pool = field(init=False)  # in those two
    turns: Turns = field(default_factory=Turns)
    faults: Faults | None = None  # the emulator's
    stalled: int = 0  # sides of joined sockets whose peer reads too slowly now
    read_buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(READ_BYTES)))
    publish_buffer: memoryview = field(init=False)  # the start of the same memory

    def __post_init__(self) -> None:
        self.owed = Owed(self.wheel, self.settings.budgets.process_bytes)
        self.storms = Storms(self)
        self.durables = Durables(self)
        self.groups = Groups(self)
        self.pending = Pool(self.settings.budgets.process_bytes)
        self.publish_buffer = self.read_buffer[:PUBLISH_READ_BYTES]

    def realm(self, host: str) -> Realm:
        """The realm of the namespace that answers to a Host header. Raises UnknownHost."""
        return self.realms[self.hosts.find(host)]

    def is_full(self) -> bool:
        """Whether another connection would come too near to the limit of open files."""
        return self.connections > self.max_connections

    def shown(self, error: Exception) -> RelayError:
        """The error as a peer may see it; a fault of ours is logged, and shown without details."""
        shown = as_relay_error(error)
        if shown is not error and shown.status == 500:
            self.counters["faults"] += 1
            _log.error("a connection failed", exc_info=error)
        return shown

    def is_live(self, grant: Grant) -> bool:
        """Whether a grant still stands: its rule and key exist and its time is not over."""
        return self.authorizer.is_live(grant, self.clock())
