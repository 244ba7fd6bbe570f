"""Push subscriptions joined to the rest: each is a durable subscription, whose deliveries a pusher takes to its sink.

The registry keeps what was asked for and what the sink has agreed to. The durable subscription, whose name is the id,
has the owner, the place in the stream and what is owed. A record is made before its durable subscription and goes
after it, so that a crash between the two leaves nothing that holds events back and that nobody knows of: a record
without one is removed at the next start. If a durable subscription ends, for its relay went or because somebody
deleted it, its record goes too.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from typing import Any

import httpx

from app.access.grant import Grant
from app.edge.context import Context
from app.edge.feeds.beginning import find_beginning
from app.edge.feeds.callers import may_subscribe
from app.edge.feeds.durable import Durable
from app.edge.feeds.owed import SinkConsumer
from app.edge.realm import Realm
from app.errors import BadRequest, EndpointNotFound, QuotaExceeded, RelayError
from app.namespace import Namespace
from app.push.client import SinkClient
from app.push.connect import Resolve, find_addresses
from app.push.consent import Surroundings, ask_consent
from app.push.log import Attempt, DeliveryLog
from app.push.pusher import Pusher
from app.push.retry import Backoff
from app.push.settings import PushSettings, Validation
from app.push.target import SinkRefused, Target, parse_target
from app.store.pushes import Pushes
from app.telemetry import new_secret, new_tracking_id
from app.wire.native.query import Start, parse_start
from app.wire.native.sharing import MOST_ACK_WAIT_SECONDS, Sharing
from fanout.address import check_pattern
from fanout.filters import Filter, parse_filter
from fanout.history import Gap

ID_CHARACTERS = 16
CONSENT_SECONDS = 5.0  # that whoever makes a subscription waits for the sink's answer; then it is asked without him
HANDOVER_SECONDS = 2.0  # for requests under way to end when a subscription changes
SETTLE_SECONDS = 10.0  # that a delivery has beyond the time of its request

_log = logging.getLogger("fanway.push")


@dataclass(eq=False, slots=True)
class _Push:
    """A subscription here and now; it has no pusher while it is disabled."""

    namespace: Namespace
    settings: PushSettings
    durable: Durable
    log: DeliveryLog = field(default_factory=DeliveryLog)
    counts: Counter[str] = field(default_factory=Counter)
    pusher: Pusher | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # one change after the other


class Pushing:
    """All push subscriptions of a gateway. `start` it before it serves, `stop` it at the end."""

    def __init__(self, context: Context, kept: Pushes, resolve: Resolve) -> None:
        settings = context.settings
        self._context = context
        self._kept = kept
        self._resolve = resolve
        self._options = settings.push
        self._reach = settings.push.reach(is_for_development=settings.is_for_development)
        self._tls = httpx.create_ssl_context()
        self._held: dict[Namespace, dict[str, _Push]] = {}
        self._making: Counter[Namespace] = Counter()  # how many are being made
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Take up all that are kept. Raises `StoreUnavailable`."""
        for name, settings in await self._kept.load():
            realm = next(each for each in self._context.realms.values() if each.namespace.name == name)
            durable = self._durable(realm, settings)
            if durable is None:
                await self._kept.delete(realm.namespace, settings.id)
            else:
                self._begin(self._hold(_Push(realm.namespace, settings, durable)))

    async def stop(self, grace_seconds: float) -> None:
        """Send nothing more; what is under way may end within so many seconds, then it is owed again."""
        pushers = [push.pusher for held in self._held.values() for push in held.values() if push.pusher is not None]
        await asyncio.gather(*(pusher.stop(grace_seconds) for pusher in pushers))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- what the management API asks (app/manage/pushing.py) ---

    def visible(self, namespace: Namespace, grant: Grant) -> list[PushSettings]:
        return [push.settings for push in self._all(namespace) if push.durable.may_be_used_by(grant)]

    def find(self, namespace: Namespace, grant: Grant, id: str) -> PushSettings:
        push = self._push(namespace, id)
        if not push.durable.may_be_used_by(grant):
            raise EndpointNotFound("There is no such subscription.")
        return push.settings

    def owner(self, namespace: Namespace, id: str) -> str:
        return self._push(namespace, id).durable.settings.owner.name

    def counts(self, namespace: Namespace, id: str) -> dict[str, int]:
        return self._push(namespace, id).counts

    def attempts(self, namespace: Namespace, id: str) -> Iterable[Attempt]:
        return self._push(namespace, id).log

    async def create(self, namespace: Namespace, grant: Grant, wanted: PushSettings, start: str) -> PushSettings:
        realm, beginning = self._context.realms[namespace], _beginning(start)
        most = self._options.subscriptions
        if len(self._all(namespace)) + self._making[namespace] >= most:
            raise QuotaExceeded(f"A namespace has at most {most} push subscriptions (push.subscriptions).", status=403)
        self._making[namespace] += 1
        try:
            push = await self._make(realm, grant, wanted, beginning)
        finally:
            self._making[namespace] -= 1
        async with self._paused(push):
            await self._validate(push, CONSENT_SECONDS)
        return push.settings

    async def update(self, namespace: Namespace, grant: Grant, id: str, wanted: PushSettings) -> PushSettings:
        push = self._push(namespace, id)
        realm, durables = self._context.realms[namespace], self._context.durables
        if realm.namespace.canonical(push.durable.relay, wanted.pattern) != push.settings.pattern:
            raise BadRequest("The pattern of a subscription cannot be changed; make another one.")
        filter = _filter_of(wanted)
        await self._check_sink(wanted.sink)
        async with self._paused(push):
            old = push.settings
            is_same_sink = (wanted.sink, wanted.rate) == (old.sink, old.rate)
            settings = replace(
                wanted,
                id=id,
                relay=old.relay,
                pattern=old.pattern,
                secrets=old.secrets,
                is_enabled=old.is_enabled,
                stopped_because=old.stopped_because,
                validation=old.validation if is_same_sink else Validation(),
                created_at=old.created_at,
            )
            if self._sharing(settings) != self._sharing(old) or filter != push.durable.settings.filter:
                push.durable = durables.change(push.durable, filter, self._sharing(settings), grant)
            await self._keep(push, settings)
            if not is_same_sink:
                await self._validate(push, CONSENT_SECONDS)
        return push.settings

    async def replay(self, namespace: Namespace, id: str, start: str) -> None:
        push, beginning = self._push(namespace, id), _beginning(start)
        async with self._paused(push):
            push.durable.seek(find_beginning(push.durable.history, beginning))

    async def delete(self, namespace: Namespace, id: str) -> None:
        push = self._push(namespace, id)
        async with self._paused(push):
            self._held[namespace].pop(id, None)
            self._context.durables.remove(push.durable)
            await self._kept.delete(namespace, id)

    async def validate(self, namespace: Namespace, id: str) -> Validation:
        push = self._push(namespace, id)
        async with self._paused(push):
            await self._validate(push, self._options.total_seconds)
        return push.settings.validation

    async def enable(self, namespace: Namespace, id: str, is_enabled: bool) -> PushSettings:
        return await self._change(self._push(namespace, id), is_enabled=is_enabled, stopped_because="")

    async def change_secrets(self, namespace: Namespace, id: str, secrets: tuple[str, ...]) -> None:
        await self._change(self._push(namespace, id), secrets=secrets)

    # --- inside ---

    def _all(self, namespace: Namespace) -> list[_Push]:
        """Those that stand; what has ended while nobody took anything of it is noticed here."""
        held = list(self._held.get(namespace, {}).values())
        for push in held:
            if push.durable.is_closed:
                self._spawn(self._forget(push))
        return [push for push in held if not push.durable.is_closed]

    def _push(self, namespace: Namespace, id: str) -> _Push:
        push = next((push for push in self._all(namespace) if push.settings.id == id), None)
        if push is None:
            raise EndpointNotFound("There is no such subscription.")
        return push

    def _hold(self, push: _Push) -> _Push:
        push.durable.is_pushed = True
        self._held.setdefault(push.namespace, {})[push.settings.id] = push
        return push

    def _durable(self, realm: Realm, settings: PushSettings) -> Durable | None:
        relay = realm.system if settings.relay == realm.system.key else realm.namespace.relays.get(settings.relay)
        durables = self._context.durables.of(relay) if relay is not None else ()
        return next((durable for durable in durables if durable.name == settings.id), None)

    def _sharing(self, settings: PushSettings) -> Sharing:
        """What the durable subscription is to be. It waits longer for a settlement than a request can take."""
        seconds = self._options.total_seconds + SETTLE_SECONDS + (60.0 / settings.rate if settings.rate else 0.0)
        return Sharing(
            durable=settings.id,
            ack_wait=min(seconds, MOST_ACK_WAIT_SECONDS),
            max_deliveries=settings.max_deliveries,
            dead_letter=settings.dead_letter or "",
        )

    async def _make(self, realm: Realm, grant: Grant, wanted: PushSettings, start: Start) -> _Push:
        relay, pattern = may_subscribe(realm, grant, check_pattern(wanted.pattern, allow_system=True))
        filter = _filter_of(wanted)
        await self._check_sink(wanted.sink)
        id, now = new_secret()[:ID_CHARACTERS], self._context.clock()
        settings = replace(wanted, id=id, relay=relay.key, pattern=pattern.text, created_at=now)
        await self._kept.put(realm.namespace, settings)
        try:
            relay, pattern = may_subscribe(realm, grant, pattern)  # it may have gone meanwhile, or the right
            opened: asyncio.Future[Durable | RelayError] = self._context.loop.create_future()
            sharing = self._sharing(settings)
            self._context.durables.open(realm, relay, pattern, filter, sharing, grant, start, opened.set_result)
            found = await opened
            if isinstance(found, RelayError):
                raise found
        except RelayError:
            await self._kept.delete(realm.namespace, id)
            raise
        return self._hold(_Push(realm.namespace, settings, found))

    async def _check_sink(self, url: str) -> Target:
        """Raises `BadRequest` with a sentence that says what is wrong with it."""
        target = parse_target(url, self._reach)
        try:
            async with asyncio.timeout(self._options.connect_seconds):
                await find_addresses(target.host, target.port, self._reach, self._resolve)
        except SinkRefused as error:
            raise BadRequest(str(error)) from None
        except (OSError, TimeoutError):
            raise BadRequest(f"The sink's host {target.host} cannot be found.") from None
        return target

    async def _change(self, push: _Push, **settings: Any) -> PushSettings:
        """Keep it with other settings and go on with these."""
        async with self._paused(push):
            await self._keep(push, replace(push.settings, **settings))
        return push.settings

    async def _keep(self, push: _Push, settings: PushSettings) -> None:
        await self._kept.put(push.namespace, settings)
        push.settings = settings

    async def _validate(self, push: _Push, seconds: float) -> None:
        client = self._client(push.settings, seconds)
        try:
            validation = await ask_consent(client, push.settings, self._around(push))
        finally:
            await client.close()
        await self._keep(push, replace(push.settings, validation=validation))

    @asynccontextmanager
    async def _paused(self, push: _Push) -> AsyncIterator[None]:
        """Nothing is sent meanwhile; one change after the other."""
        async with push.turn:
            pusher, push.pusher = push.pusher, None
            if pusher is not None:
                await pusher.stop(HANDOVER_SECONDS)
            try:
                yield
            finally:
                self._begin(push)

    def _begin(self, push: _Push) -> None:
        if not push.settings.is_enabled or push.durable.is_closed:
            return

        async def keep(validation: Validation) -> None:
            try:
                await self._keep(push, replace(push.settings, validation=validation))
            except RelayError as error:  # it is asked again at the next start
                _log.warning("what the sink of %s said could not be kept: %s", push.settings.id, error.message)

        push.pusher = Pusher(
            push.settings,
            partial(self._open_source, push),
            self._client(push.settings, self._options.total_seconds),
            self._around(push),
            push.log,
            on_validation=keep,
            on_gone=lambda: self._spawn(self._disable(push, "The sink answered 410: it is gone.")),
        )
        push.pusher.start()

    def _open_source(self, push: _Push, most: int) -> SinkConsumer:
        return SinkConsumer(push.durable, most, partial(self._note_gap, push), lambda: self._spawn(self._forget(push)))

    def _note_gap(self, push: _Push, gap: Gap) -> None:
        """Each of the sink's workers is told; once is enough."""
        newest = next(iter(push.log), None)
        if newest is not None and (newest.result, newest.cursor) == ("lost", str(gap.to)):
            return
        error = f"The events after {gap.from_} up to {gap.to} are gone from the relay's history."
        at = self._context.clock()
        push.log.add(Attempt(str(gap.to), "", 0, at, 0.0, None, error, "lost", None, new_tracking_id()))

    async def _disable(self, push: _Push, why: str) -> None:
        if push.settings.is_enabled:
            await self._change(push, is_enabled=False, stopped_because=why)

    async def _forget(self, push: _Push) -> None:
        """Its durable subscription has ended."""
        if self._held.get(push.namespace, {}).pop(push.settings.id, None) is not None:
            async with self._paused(push):
                await self._kept.delete(push.namespace, push.settings.id)

    def _client(self, settings: PushSettings, total_seconds: float) -> SinkClient:
        options = self._options
        return SinkClient(
            parse_target(settings.sink, self._reach),
            self._reach,
            self._resolve,
            self._tls,
            connect_seconds=options.connect_seconds,
            total_seconds=total_seconds,
        )

    def _around(self, push: _Push) -> Surroundings:
        context, options = self._context, self._options
        advertised = context.settings.advertise

        def count(result: str) -> None:
            push.counts[result] += 1
            context.counters[f"push_{result}"] += 1

        return Surroundings(
            origin=httpx.URL(advertised).host if advertised else push.namespace.name,
            agent=f"Fanway/{version('fanway-gateway')}",
            clock=context.clock,
            monotonic=context.wheel.now,
            chance=random.random,
            new_tracking_id=new_tracking_id,
            count=count,
            backoff=Backoff(options.first_retry_seconds, options.most_retry_seconds),
            concurrency=options.concurrency,
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._context.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _beginning(text: str) -> Start:
    """Where in a stream to begin. Raises `BadRequest`."""
    start = parse_start(text)
    if start == "retained":
        raise BadRequest("'from' of a push subscription is now, start, a cursor or a time.")
    return start


def _filter_of(settings: PushSettings) -> Filter | None:
    """What `filters`, `source` and `types` ask together. Raises `InvalidFilter`."""
    parts: list[dict[str, Any]] = list(settings.filters)
    if settings.source is not None:
        parts.append({"exact": {"source": settings.source}})
    if settings.types:
        parts.append({"any": [{"exact": {"type": type}} for type in settings.types]})
    return parse_filter(parts)
