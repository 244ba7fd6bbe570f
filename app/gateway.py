"""The composition root: builds the parts, starts them in order, stops them in the reverse order.

Start: data folder and certificate → registry (migrated, loaded, provisioned) → journal → realms → management API →
sockets bound → serving → `connection.json` → ready. Stop: drain (new work refused, work under way finished,
clients told) → sockets closed → journal and registry closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import uvicorn
import uvloop

from app.access.authorize import Authorizer
from app.access.client_certificate import Certificates
from app.access.operator import Operators, StaticToken, WebTokenOperators
from app.config import Arm, ConfigurationError, Settings
from app.edge import nettcp
from app.edge.context import Context
from app.edge.feeds.appender import Appender
from app.edge.feeds.delayed import Delayed
from app.edge.feeds.duplicates import load_ids
from app.edge.feeds.durable_control import DurableControl
from app.edge.listening import bound, raise_file_limit, reachable, url_of
from app.edge.peers import review_peers
from app.edge.realm import LINGER_SECONDS, Realm, RetainedLimits
from app.edge.seam import bind
from app.edge.server import EdgeServer, Listen
from app.edge.wheel import Wheel
from app.emulator import Emulator, MovableClock
from app.hosts import Hosts, host_name, parse_bind
from app.manage.api import create_api
from app.manage.arm.application import ArmDoor
from app.manage.arm.endpoint import Endpoint, Ports, find_endpoint
from app.namespace import Change, Namespace, Relay
from app.push.connect import Resolve, Resolver
from app.pushing import Pushing
from app.started import Started
from app.startup import open_registry, open_vouchers
from app.store.delayed import DelayedEvents
from app.tls import open_certificates
from app.wire.azure.choices import Choices
from fanout.tick import Tick

SWEEP_SECONDS = 30.0
RESERVED_FILES = 200  # descriptors kept free for the registry, logs and listening sockets
SWITCH_SECONDS = 0.0005  # for which the journal's threads wait for a busy loop; 5 ms would be a sync's time
YOUNG_OBJECTS = 20_000  # before the youngest are collected: a rush of connections is no garbage


class Gateway:
    """One node. `clock` is unix seconds; a program that embeds it keeps its own signals. `resolve` looks the hosts of
    sinks up; left out: as the system does."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        handles_signals: bool = False,
        resolve: Resolve | None = None,
    ) -> None:
        self.settings = settings
        self._resolver = Resolver() if resolve is None else resolve
        self._clock = MovableClock(clock) if settings.emulator else clock
        self._handles_signals = handles_signals
        self.emulator: Emulator | None = None

    async def start(self) -> Started:
        """Start everything; when this returns, the gateway serves.

        Raises ConfigurationError, StoreError, or OSError where a port cannot be bound.
        """
        async with contextlib.AsyncExitStack() as undo:
            self.opened = await open_registry(self.settings, self._clock)
            self.registry = self.opened.registry
            self.revocations = self.opened.revocations
            undo.push_async_callback(self.opened.close)
            self.vouchers = open_vouchers(self.settings)
            self.context = self._build_context()
            await self.context.durables.load()
            await load_ids(self.context.realms.values(), self.opened.log, self._clock())
            await self.context.delayed.load()
            self.durables = DurableControl(self.context)
            self.pushing = Pushing(self.context, self.opened.pushes, self._resolver)
            undo.push_async_callback(self.pushing.stop, 0.0)
            await self.pushing.start()
            self.tls = open_certificates(self.settings, self.opened.folder, self.hosts, self.registry.namespaces)
            if isinstance(self._clock, MovableClock):
                self.emulator = Emulator(self.opened, self.context, self._clock)
            self.operators = Operators(
                [StaticToken(self.opened.operator_token), WebTokenOperators(self.vouchers, self._clock)]
            )
            listens = self._bind()
            self.ports = _ports(listens)
            self.server = self._build_server(listens)
            self._serving = asyncio.create_task(self.server.serve())
            await self.server.ready.wait()
            undo.pop_all()
        self._sweep()
        self.context.wheel.after(LINGER_SECONDS, self.opened.log.drop_unclaimed)
        if self.tls is not None:
            self.tls.watch()
            self.hosts.on_change.append(self.tls.names_changed)
        if self._handles_signals:
            self.context.loop.add_signal_handler(signal.SIGHUP, self.reload)
        return self._describe(listens)

    async def stop(self) -> None:
        """Drain and stop; returns when all is closed."""
        self.server.exit()
        await self.wait()

    async def wait(self) -> None:
        """Until the gateway has stopped, by `stop` or by a signal."""
        await self._serving
        await self.pushing.stop(self.settings.deadlines.close_seconds)
        if isinstance(self._resolver, Resolver):
            self._resolver.close()
        await self.context.durables.close()
        self.context.wheel.stop()
        await self.vouchers.close()
        if self.tls is not None:
            self.tls.stop()
        await self.opened.close()

    def reload(self) -> None:
        """Read certificates anew whose files have changed, as SIGHUP does."""
        if self.tls is not None:
            self.tls.reload()

    @property
    def namespace(self) -> Namespace:
        """The namespace of the settings."""
        return self.opened.namespace

    # --- what the management API asks ---

    @property
    def authorizer(self) -> Authorizer:
        return self.context.authorizer

    @property
    def hosts(self) -> Hosts:
        return self.context.hosts

    @property
    def delayed(self) -> Delayed:
        return self.context.delayed

    @property
    def choices(self) -> Choices:
        return self.settings.azure

    def now(self) -> float:
        return self._clock()

    def is_ready(self) -> bool:
        return self.server.started and not self.context.is_draining

    def counts(self, namespace: Namespace, relay: Relay) -> tuple[int, int]:
        """How many listeners and subscriptions a relay has."""
        realm = self.context.realms[namespace]
        return realm.roster.count(relay.key), realm.router.subscriptions(relay.key)

    def keeper(self, namespace: Namespace) -> Realm:
        return self.context.realms[namespace]

    def presence(
        self, namespace: Namespace, relay: Relay | None, kind: str | None, after: int, limit: int
    ) -> dict[str, Any]:
        """Who is there, on one relay or in the whole namespace: a page, and how many there are."""
        return self.context.realms[namespace].presence.page(relay, kind, after, limit)

    def status(self, namespace: Namespace) -> dict[str, Any]:
        """The namespace at a glance; of the primary one also the node, whose figures tell of all namespaces."""
        realm = self.context.realms[namespace]
        snapshot = realm.router.snapshot()
        status = {
            "namespace": namespace.name,
            "version": version("fanway-gateway"),
            "relays": len(namespace.relays),
            "listeners": sum(map(realm.roster.count, namespace.relays)),
            "subscriptions": snapshot.subscriptions,
            "patterns": snapshot.patterns,
            "draining": self.context.is_draining,
        }
        if self.hosts.is_primary(namespace):
            status["connections"] = self.context.connections
            status["counters"] = dict(sorted(self.context.counters.items()))
        return status

    # --- what Azure's management asks besides ---

    @property
    def arm(self) -> Arm:
        return self.settings.arm

    @property
    def tls_minimum(self) -> str:
        return self.settings.tls_minimum

    def endpoint(self, namespace: Namespace, reached: str) -> Endpoint:
        """Where clients reach a namespace; `reached` is the URL by which one has come."""
        return find_endpoint(namespace, self.hosts, self.ports, self.settings.advertise, reached)

    # --- inside ---

    def _build_context(self) -> Context:
        settings, registry = self.settings, self.registry
        loop = asyncio.get_running_loop()
        advertised = settings.advertise.partition("//")[2].rstrip("/") if settings.advertise else None
        hosts = Hosts(
            registry.namespaces,
            is_loopback=settings.is_for_development,
            advertised=host_name(advertised) if advertised else reachable(settings.plain_bind.host),
            primary=self.namespace.name,
        )

        def soon(callback: Callable[[], None]) -> None:
            loop.call_soon(callback)

        limits, wheel = settings.limits, Wheel(loop)
        context = Context(
            settings=settings,
            hosts=hosts,
            authorizer=Authorizer(
                self._clock,
                hosts.mount,
                settings.deadlines.token_grace_seconds,
                self.vouchers,
                Certificates(settings.identity.certificates, settings.namespace),
            ),
            loop=loop,
            wheel=wheel,
            clock=self._clock,
            realms={},
            journal=self.opened.journal,
            appender=Appender(self.opened.journal, self.opened.log, settings.budgets.unsaved_bytes),
            delayed=Delayed(self.opened.journal, DelayedEvents(self.opened.journal), wheel, self._clock, limits),
            max_connections=raise_file_limit() - RESERVED_FILES,
        )

        hosts.on_change.append(context.authorizer.forget)

        def review_all() -> None:
            for live in list(context.lives):
                live.review()
            context.durables.review()

        self.vouchers.on_withdrawn(review_all)

        def look_for_wcf() -> None:
            context.has_wcf_relays = any(realm.wcf_relays for realm in context.realms.values())

        def look_for_network_rules() -> None:
            context.has_network_rules = any(not realm.network.is_open for realm in context.realms.values())

        def review(change: Change) -> None:
            if change.kind == "namespace-changed":
                hosts.changed()
                look_for_network_rules()
                for realm in context.realms.values():
                    review_peers(context, realm)
            look_for_wcf()
            review_all()

        def serve(namespace: Namespace) -> None:
            limits, is_open = settings.limits, settings.allows_dynamic_relays
            context.realms[namespace] = Realm(
                namespace,
                Tick(soon),
                self._clock,
                registry,
                context.appender,
                context.delayed,
                is_open=is_open,
                retained_limits=RetainedLimits(limits.retained_addresses, limits.retained_bytes),
                counters=context.counters,
            )
            context.delayed.serve(context.realms[namespace])
            namespace.on_change.append(review)
            look_for_wcf()
            look_for_network_rules()
            hosts.changed()

        def leave(namespace: Namespace) -> None:
            hosts.changed()
            context.authorizer.tickets.forget(namespace)
            context.delayed.leave(context.realms.pop(namespace))
            context.durables.review()

        for namespace in registry.namespaces:
            serve(namespace)
        registry.follow(serve, leave)
        return context

    def _build_server(self, listens: list[Listen]) -> EdgeServer:
        config = uvicorn.Config(
            ArmDoor(self, create_api(self)),
            http=bind(self.context),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",  # the banner and the gateway's own log say the rest
            access_log=False,
            server_header=False,
        )
        return EdgeServer(config, self.context, listens, handles_signals=self._handles_signals)

    def _bind(self) -> list[Listen]:
        settings, door = self.settings, nettcp.serve(self.context)
        if settings.nettcp_tls_listen is not None and self.tls is None:
            raise ConfigurationError("nettcp_tls_listen: there is no certificate to listen with")
        listens = [Listen(bound(settings.plain_bind), None)]
        if self.tls is not None and settings.tls_bind is not None:
            tls = self.tls.context
            listens.append(Listen(bound(settings.tls_bind), tls))
            if settings.nettcp_tls_listen is not None:
                listens.append(Listen(bound(parse_bind(settings.nettcp_tls_listen)), tls, door))
        if settings.nettcp_listen is not None:
            listens.append(Listen(bound(parse_bind(settings.nettcp_listen)), None, door))
        return listens

    def _describe(self, listens: list[Listen]) -> Started:
        opened, namespace = self.opened, self.namespace
        urls = [url_of(listen) for listen in listens if listen.protocol is None]
        doors = [listen for listen in listens if listen.protocol is not None]
        tls_url = urls[1] if len(urls) > 1 else None
        authority = self.tls.authority if self.tls is not None else None
        tell = partial(opened.write_connection, urls[0], tls_url, authority)
        tell()

        def tell_keys(change: Change) -> None:
            if change.relay is None and change.rule is not None:
                tell()

        def tell_namespace(added: Namespace) -> None:
            added.on_change.append(tell_keys)
            tell()

        for each in self.registry.namespaces:
            each.on_change.append(tell_keys)
        self.registry.follow(tell_namespace, lambda removed: tell())
        return Started(
            url=urls[0],
            tls_url=tls_url,
            namespace=namespace.name,
            data=opened.folder.path,
            is_first_start=opened.is_first_start,
            key_name=opened.root.name if opened.root else None,
            key=opened.root.primary_key if opened.root else None,
            ca=authority,
            allows_dynamic_relays=self.settings.allows_dynamic_relays,
            is_emulator=opened.is_emulated,
            nettcp_url=next((url_of(each) for each in doors if each.tls is None), None),
            nettcp_tls_url=next((url_of(each) for each in doors if each.tls is not None), None),
        )

    def _sweep(self) -> None:
        for realm in self.context.realms.values():
            realm.sweep()
        self.opened.log.sweep()
        self.context.wheel.after(SWEEP_SECONDS, self._sweep)


def run(settings: Settings, announce: Callable[[Started], None]) -> int:
    """Serve until SIGTERM or SIGINT; `announce` is called once it serves. The exit code."""

    async def serve() -> None:
        gateway = Gateway(settings, handles_signals=True)
        announce(await gateway.start())
        gc.collect()
        gc.freeze()  # what was built so far stays; no collection need ever look at it again
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
        await gateway.wait()

    form = "%(asctime)s %(levelname)s %(name)s %(message)s"
    logging.basicConfig(level=settings.log_level.upper(), format=form, force=True)  # the command has set up its own
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
    return 0


def _ports(listens: list[Listen]) -> Ports:
    plain, *tls = (listen.socket.getsockname()[1] for listen in listens if listen.protocol is None)
    return Ports(plain, tls[0] if tls else None)
