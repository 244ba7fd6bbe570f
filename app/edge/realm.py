"""A namespace at work: its router, its roster of listeners, its histories, its dynamic relays."""

from __future__ import annotations

import random
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from app.access.client_certificate import Credential
from app.access.grant import Grant, Limit
from app.access.network import Network
from app.closes import ENTITY_GONE, RELAY_MOVED, Close
from app.edge.backpressure import Backpressure
from app.edge.feeds.duplicates import Duplicates
from app.edge.presence import Presence
from app.edge.slowness import Slowness
from app.edge.status import Fate, Status
from app.edge.system import is_system, system_relay
from app.errors import EndpointNotFound, RelayError
from app.namespace import Change, HistoryLimits, Namespace, Relay, RelayTerms, Right
from app.wire.native.publication import Publication
from fanout.history import History
from fanout.retained import Retained
from fanout.roster import Roster
from fanout.router import Router
from fanout.tick import Tick

if TYPE_CHECKING:
    from app.edge.control import ControlChannel
    from app.edge.feeds.appender import Appender
    from app.edge.feeds.delayed import Delayed

LINGER_SECONDS = 300.0
DUPLICATES_BYTES = 16 << 20  # of the ids known of one relay's events
NO_ENDPOINT = "Endpoint does not exist."
NO_TERMS = RelayTerms()
_FATES: dict[str, Fate] = {"relay-added": "created", "relay-changed": "changed", "relay-removed": "deleted"}


Admitted = tuple[Relay, str, Grant]
"""What a call was admitted to: the relay, the concrete address, by which grant."""

ADMITTED_CALLS = 4096
MOST_CHARACTERS = 8192  # of the path and the token of one that is kept


class Recurring(NamedTuple):
    """A header of a session's publish that was read and permitted: where its events go, what they all share, how large
    their payloads may be."""

    relay: Relay
    address: str
    shared: Publication
    max_bytes: int


Reach = tuple[Relay | None, str, Right, tuple[Limit, ...]]
"""What a grant can do, whoever holds it: `Grant.reach`."""

REACHES = 64  # whose headers are remembered
RECURRING = 1024  # headers, of each


class RetainedLimits(NamedTuple):
    """How much one relay may keep beside its history, where it keeps the last event of each address."""

    addresses: int = 100_000
    bytes: int = 64 << 20


RETAINED_LIMITS = RetainedLimits()


class DynamicRelays(Protocol):
    """Where relays come into being by use; the registry."""

    def ensure_dynamic(self, namespace: Namespace, name: str, terms: RelayTerms | None = None) -> Relay:
        """The relay of that name, made to these terms. Raises BadRequest, QuotaExceeded."""
        ...

    def drop_dynamic(self, namespace: Namespace, relay: Relay) -> None:
        """Forget one that nobody uses any more."""
        ...


class Realm:
    """Everything live in one namespace. Relays may come and go; what hung on them is ended by the edge's review.

    `dynamic` makes relays come into being by use: for everybody if `is_open`, else for listeners whose rule says so.
    `clock` is unix seconds. What durable relays get goes through the `appender`, what waits for its time through
    `delayed`.
    """

    def __init__(
        self,
        namespace: Namespace,
        tick: Tick,
        clock: Callable[[], float],
        dynamic: DynamicRelays,
        appender: Appender,
        delayed: Delayed,
        *,
        is_open: bool,
        retained_limits: RetainedLimits = RETAINED_LIMITS,
        counters: Counter[str] | None = None,
    ) -> None:
        self.namespace = namespace
        self.network = Network(namespace.network)
        self._network_rules = namespace.network
        self.tick = tick
        self.appender = appender
        self.delayed = delayed
        self.counters = Counter() if counters is None else counters  # of the whole gateway
        self.router = Router(tick)
        self.backpressure = Backpressure(tick.schedule)
        self.system = system_relay()
        self.status = Status(self)
        self.presence = Presence(self)
        self.slowness = Slowness(self)
        self.roster: Roster[ControlChannel] = Roster(random.randrange)
        self.wcf_relays = sum(relay.profile.is_wcf for relay in namespace.relays.values())
        self.admitted: dict[tuple[Right, str, Credential | None], Admitted] = {}  # by right, raw path, token
        self._recurring: dict[Reach, dict[bytes, Recurring]] = {}
        self._epochs: set[str] = set()
        self._clock = clock
        self._dynamic = dynamic
        self._is_open = is_open
        self._retained_limits = retained_limits
        self._histories: dict[str, tuple[Relay, History]] = {}
        self._duplicates: dict[str, tuple[Relay, Duplicates]] = {}
        self._used_at: dict[Relay, float] = {}
        self._sockets: Counter[Relay] = Counter()
        for relay in namespace.relays.values():
            self._begin_durable(relay)
        namespace.on_change.append(self._on_change)

    def find(self, path: str) -> Relay | None:
        """The relay that owns a decoded path, the gateway's own among them."""
        return self.namespace.find(path) or (self.system if is_system(path) else None)

    def find_or_open(self, path: str, grant: Grant, right: Right, terms: RelayTerms = NO_TERMS) -> Relay:
        """The relay that owns `path`, a dynamic one where that is allowed.

        Raises EndpointNotFound, AccessError: the grant is asked before a dynamic relay comes into being, and before
        it is told that there is none.
        """
        relay = self.namespace.find(path)
        if relay is not None:
            return relay
        name = path if terms.names_whole_path else path.partition("/")[0]
        grant.require(right, Relay(name), path)
        if not (self._is_open or (right in Right.LISTEN and self._creates_relays(grant))):
            raise EndpointNotFound(NO_ENDPOINT)
        relay = self._dynamic.ensure_dynamic(self.namespace, name, terms)
        self.touch(relay)
        return relay

    def _creates_relays(self, grant: Grant) -> bool:
        rule = self.namespace.rules.get(grant.rule) if grant.relay is None else None
        return rule is not None and rule.creates_relays

    def ending(self, relay: Relay, place: str) -> Close | None:
        """Why what rests on `relay` owning the address `place` must end, if it must."""
        if relay.is_system:
            return None
        if self.namespace.relays.get(relay.key) is not relay:
            return ENTITY_GONE
        if self.namespace.find(place) is not relay:  # one was provisioned below it
            return RELAY_MOVED
        return None

    def remember(self, call: tuple[Right, str, Credential | None], admitted: Admitted) -> None:
        """Keep the outcome of an admission until something provisioned changes, or too many are kept; not of one whose
        path and token are long, for of these the caller may have chosen each as he likes."""
        _, raw_path, token = call
        if len(raw_path) + (len(token) if isinstance(token, str) else 0) > MOST_CHARACTERS:
            return
        if len(self.admitted) >= ADMITTED_CALLS:
            self.admitted.clear()
        self.admitted[call] = admitted

    def recurring_of(self, grant: Grant) -> dict[bytes, Recurring]:
        """The headers of publishes known to be permitted to all who hold such a grant; to be asked for again when
        something provisioned has changed."""
        if grant.reach not in self._recurring and len(self._recurring) >= REACHES:
            self._recurring.clear()
        return self._recurring.setdefault(grant.reach, {})

    def recur(self, memory: dict[bytes, Recurring], header: bytes, recurring: Recurring) -> Recurring:
        """Remember a header in one of those."""
        if len(memory) >= RECURRING:
            memory.clear()
        memory[header] = recurring
        return recurring

    def history(self, relay: Relay) -> History:
        """The relay's history, begun on first use; a durable one as soon as there is the relay."""
        entry = self._histories.get(relay.key)
        if entry is None or entry[0] is not relay:
            limits = relay.history
            if limits.keep == "durable":
                history = self.appender.log.open(self.namespace.name, relay, self.new_epoch)
                self._epochs.add(history.epoch)
            else:
                history = History(self.new_epoch(), _events_kept(limits), limits.seconds, limits.bytes)
            self._histories[relay.key] = entry = relay, history
            self._keep_last(relay, history)
        return entry[1]

    def remembers(self, relay: Relay) -> bool:
        """Whether the relay's history was begun: something was published there, or somebody subscribed."""
        return relay.key in self._histories

    def now(self) -> float:
        """Unix seconds."""
        return self._clock()

    def new_epoch(self) -> str:
        """One that no other stream here has: it names events that came without an id. `discard_epoch` it at its end."""
        while (epoch := secrets.token_hex(4)) in self._epochs:
            pass
        self._epochs.add(epoch)
        return epoch

    def discard_epoch(self, epoch: str) -> None:
        """The stream of this epoch is over."""
        self._epochs.discard(epoch)

    def has(self, relay: Relay) -> bool:
        """Whether the relay is still there, and not another of its name."""
        return self.namespace.relays.get(relay.key) is relay

    def reopen(self, address: str) -> Relay | None:
        """The relay of an address that came into being by use before a restart, if relays may do so anywhere."""
        if self._is_open:
            with suppress(RelayError):
                return self._dynamic.ensure_dynamic(self.namespace, address.partition("/")[0])
        return None

    def duplicates(self, relay: Relay) -> Duplicates:
        """The ids known of the relay's events."""
        entry = self._duplicates.get(relay.key)
        if entry is None or entry[0] is not relay:
            entry = self._duplicates[relay.key] = relay, Duplicates(DUPLICATES_BYTES)
        return entry[1]

    def touch(self, relay: Relay) -> None:
        """Note that a dynamic relay is in use, so that it lingers from now."""
        if relay.is_dynamic and self.namespace.relays.get(relay.key) is relay:  # what lived on it leaves after it
            self._used_at[relay] = self._clock()

    def vacate(self, relay: Relay) -> None:
        """Somebody left the relay. One that came into being by use lingers; if it is one of WCF Relay's and nobody is
        left on it, it goes at once, as its last listener takes it along."""
        if relay.is_dynamic and relay.profile.is_wcf and not self._is_used(relay):
            self._used_at.pop(relay, None)
            self._dynamic.drop_dynamic(self.namespace, relay)
        else:
            self.touch(relay)

    def _is_used(self, relay: Relay) -> bool:
        key = relay.key
        is_awaited = self.delayed.count(self.namespace, relay)
        return bool(relay in self._sockets or self.roster.count(key) or self.router.subscriptions(key) or is_awaited)

    def hold(self, relay: Relay) -> None:
        """A socket lives on the relay now, whoever listens; `release` it when that ends."""
        self._sockets[relay] += 1

    def release(self, relay: Relay) -> None:
        self._sockets[relay] -= 1
        if not self._sockets[relay]:
            del self._sockets[relay]
            self.vacate(relay)

    def sweep(self) -> None:
        """Cut histories by age; remove dynamic relays that nobody has used for five minutes, with theirs."""
        now = self._clock()
        for _, history in self._histories.values():
            history.prune(now)  # a relay where nothing is published any more cuts nothing by itself
            if history.retained is not None:
                history.retained.prune(now)
        for relay, duplicates in self._duplicates.values():
            duplicates.prune(now - relay.dedup_seconds)
        self.status.sweep()
        self.presence.sweep()
        self.slowness.sweep()
        for relay, used_at in list(self._used_at.items()):
            if self._is_used(relay):
                self._used_at[relay] = now
            elif relay.profile.is_wcf or now - used_at > LINGER_SECONDS:
                del self._used_at[relay]
                self._dynamic.drop_dynamic(self.namespace, relay)

    def _on_change(self, change: Change) -> None:
        self.admitted.clear()
        for memory in self._recurring.values():
            memory.clear()
        self._recurring.clear()
        if self._network_rules is not self.namespace.network:
            self._network_rules = self.namespace.network
            self.network = Network(self._network_rules)
        if change.relay is None:
            return
        if (fate := _FATES.get(change.kind)) is not None:
            self.status.tell_relay(fate, change.relay)
        if change.kind in ("relay-added", "relay-removed") and change.relay.profile.is_wcf:
            self.wcf_relays += 1 if change.kind == "relay-added" else -1
        if change.kind == "relay-removed":
            entry = self._histories.pop(change.relay.key, None)
            if entry is not None:
                self.discard_epoch(entry[1].epoch)
                if (log := entry[1].log) is not None:
                    self.appender.log.drop(log, entry[1].head)
            self._duplicates.pop(change.relay.key, None)
            self.delayed.drop(self.namespace.name, change.relay.key)
            self._used_at.pop(change.relay, None)
        elif change.kind == "relay-changed" and change.relay.key in self._histories:
            self._limit(change.relay, self.history(change.relay))
            self._keep_last(change.relay, self.history(change.relay))
        elif change.kind in ("relay-added", "relay-changed"):
            self._begin_durable(change.relay)

    def _keep_last(self, relay: Relay, history: History) -> None:
        """Whether the last event of each address is kept beside the history, as the relay has it now."""
        log = history.log
        if history.retained is None:
            events = self.appender.log.take_retained(log) if log is not None else ()
            history.retained = Retained(*self._retained_limits, events) if events or relay.retain == "last" else None
        if history.retained is not None and relay.retain == "none":
            history.retained = None
            if log is not None:
                self.appender.log.drop_retained(log)

    def forget_retained(self, relay: Relay, addresses: Sequence[str]) -> None:
        """Keep no last event of these."""
        history = self.history(relay)
        if history.retained is not None:
            for address in addresses:
                history.retained.forget(address)
        if history.log is not None:
            self.appender.log.forget(history.log, addresses)

    def _limit(self, relay: Relay, history: History) -> None:
        """Its limits, or where it is kept, may be others now; the epoch and the offsets go on."""
        limits, log = relay.history, history.log
        if limits.keep == "durable":
            if log is None:
                self.appender.log.take(self.namespace.name, relay, history)
            else:
                self.appender.log.settle(relay, log)
        elif log is not None:
            history.move_to(None)
            self.appender.log.drop(log, history.head)
        history.limit(_events_kept(limits), limits.seconds, limits.bytes, self._clock())

    def _begin_durable(self, relay: Relay) -> None:
        """So that its epoch is on disk before anybody hears of it, if the disk can be written."""
        if relay.history.keep == "durable":
            self.history(relay)


def _events_kept(limits: HistoryLimits) -> int:
    return 0 if limits.keep == "none" else limits.events
