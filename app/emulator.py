"""What `--emulator` adds to a gateway: a clock that can be moved, faults on demand, a fresh start without a restart.

All that it does goes through the same parts as on any gateway; nothing is imitated.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from app.access.keyring import EMULATOR_KEY, EMULATOR_SECOND_KEY, ROOT_RULE
from app.closes import ENTITY_GONE, Close
from app.edge.context import Context
from app.edge.control import ControlChannel
from app.errors import EndpointNotFound
from app.faults import Fault, Faults
from app.namespace import Namespace, Right, fold
from app.provision import apply_provision, read_provision
from app.startup import Opened
from app.store.settings import NamespaceSettings


class MovableClock:
    """Unix seconds, `offset` away from those of `clock`."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.offset = 0.0

    def __call__(self) -> float:
        return self._clock() + self.offset


class Emulator:
    """The emulator's own doors, as `app.manage.emulator` offers them."""

    def __init__(self, opened: Opened, context: Context, clock: MovableClock) -> None:
        self._opened = opened
        self._context = context
        self._clock = clock
        self._faults = context.faults = Faults()

    def now(self) -> float:
        """What the gateway takes the time to be, in unix seconds."""
        return self._clock()

    def advance(self, seconds: float) -> None:
        """Move the clock. Deadlines follow it forward; backward it is only the time of day that changes."""
        self._clock.offset += seconds
        if seconds > 0:
            self._context.wheel.advance(seconds)

    def inject(self, namespace: Namespace, fault: Fault) -> None:
        """Make a fault that waits for its calls."""
        self._faults.add(namespace, fault)

    def faults(self, namespace: Namespace) -> list[Fault]:
        """Those that still wait."""
        return self._faults.pending(namespace)

    def clear_faults(self) -> None:
        """Let everything go as it should again."""
        self._faults.clear()

    def drop(self, namespace: Namespace, relay: str, listener: str | None, close: Close | None) -> int:
        """Cut the control channels of a relay, or that of one listener's id, with a Close or without; how many.

        Raises EndpointNotFound.
        """
        found = namespace.relays.get(fold(relay))
        if found is None:
            raise EndpointNotFound("Endpoint does not exist.")
        channels = [
            channel
            for channel in self._context.realms[namespace].roster.listeners(found.key)
            if listener is None or (channel.id or "").partition("_")[0].lower() == listener.lower()
        ]
        for channel in channels:
            _cut(channel, close)
        return len(channels)

    def expire(self, token: str) -> int:
        """Let a token be expired from now; how many connections ended by it. Established sockets live on."""
        self._context.authorizer.expire(token)
        before = len(self._context.lives)
        for live in list(self._context.lives):
            live.review()
        return before - len(self._context.lives)

    async def reset(self) -> None:
        """As after a start: no faults, the real time, nobody connected, nothing but what the settings provision."""
        registry, primary = self._opened.registry, self._opened.namespace
        self._faults.clear()
        self._clock.offset = 0.0
        for namespace in list(registry.namespaces):
            if namespace is not primary:
                await registry.delete_namespace(namespace)
        for relay in list(primary.relays.values()):
            if relay.is_dynamic:
                registry.drop_dynamic(primary, relay)
            else:
                await registry.delete_relay(primary, relay)
        for host in list(primary.aliases):
            await registry.delete_alias(primary, host)
        for rule in list(primary.rules.values()):
            await registry.delete_rule(primary, None, rule.name)
        await registry.put_rule(primary, None, ROOT_RULE, Right.MANAGE, EMULATOR_KEY, EMULATOR_SECOND_KEY)
        for mark in list(primary.revocations):
            await self._opened.revocations.delete(primary, mark)
        await registry.put_namespace(primary, NamespaceSettings())
        self._context.authorizer.begin_anew()
        for live in list(self._context.lives):
            live.end(ENTITY_GONE)
        self._context.counters.clear()
        if self._context.settings.relays is not None:
            await apply_provision(read_provision(self._context.settings.relays), registry, primary)


def _cut(channel: ControlChannel, close: Close | None) -> None:
    if close is None:
        channel.abort()
    else:
        channel.end(close)
