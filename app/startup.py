"""What stands before the gateway can serve: data folder, registry and journal with their schemas, root rule,
provisioned relays."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from app.access.discovery import fetch
from app.access.keyring import EMULATOR_KEY, EMULATOR_SECOND_KEY, ROOT_RULE, new_rule, root_of
from app.access.voucher import Vouchers
from app.config import ConfigurationError, Settings
from app.namespace import DURABLE, HistoryLimits, Namespace, Right, Rule
from app.provision import apply_provision, read_provision
from app.store.database import Database, open_database, open_memory
from app.store.folder import DataFolder
from app.store.journal import Journal, open_journal
from app.store.log import EventLog
from app.store.migrator import JOURNAL, Migration, find_migrations, migrate, pending
from app.store.pushes import Pushes
from app.store.registry import Registry
from app.store.revocations import Revocations
from app.store.settings import RelaySettings


@dataclass(frozen=True, slots=True)
class Opened:
    """An open registry and journal; close them at the end. `is_first_start`: the root key has just been made.

    `operator_token` opens what is no namespace's own. `is_emulated`: nothing of it is on disk, and nothing shall be.
    """

    registry: Registry
    revocations: Revocations
    pushes: Pushes
    journal: Journal
    log: EventLog
    folder: DataFolder
    namespace: Namespace
    is_first_start: bool
    operator_token: str
    is_emulated: bool = False

    @property
    def root(self) -> Rule | None:
        """The rule that opens everything: the one made at the first start, else any with Manage."""
        return root_of(self.namespace)

    async def close(self) -> None:
        """Write what waits, and close both."""
        await self.journal.close()
        await self.registry.close()

    def write_connection(self, url: str, tls_url: str | None, authority: Path | None) -> None:
        """Tell clients in this folder how to reach and open the gateway; again whenever a namespace or a rule of one
        changes."""
        if self.is_emulated:
            return
        root = self.root
        if root is not None and root.name == ROOT_RULE and root.primary_key != self.folder.root_key():
            self.folder.replace_root_key(root.primary_key)  # it was renewed: the registry is right
        self.folder.write_connection(
            {
                "url": url,
                "tls_url": tls_url,
                "ca": str(authority.resolve()) if authority else None,
                "namespace": self.namespace.name,
                "key_name": root.name if root else None,
                "key": root.primary_key if root else None,
                "namespaces": {
                    other.name: {"key_name": rule.name, "key": rule.primary_key}
                    for other in self.registry.namespaces
                    if other is not self.namespace and (rule := root_of(other)) is not None
                },
            }
        )


async def open_registry(settings: Settings, clock: Callable[[], float] = time.time) -> Opened:
    """Folder and database made where missing, schema brought up to date, provisioning file applied.

    On the first start the root rule is made with a fresh key. Every namespace in the file is served; that of the
    settings is made when it is missing. Raises `ConfigurationError` before anything is changed,
    `StoreError` or OSError when the folder is unusable.
    """
    provision = read_provision(settings.relays) if settings.relays else None
    folder = DataFolder(settings.data)
    database = await _open(settings, folder)
    try:
        await migrate(database, find_migrations())
        registry = Registry(database, clock, _relay_defaults(settings))
        await registry.load()
        revocations = Revocations(database, clock)
        await revocations.load(registry.namespaces)
        is_first_start = not registry.namespaces
        namespace = await registry.ensure_namespace(settings.namespace, _first_root(settings, folder))
        token = _operator_token(settings, folder)
        if provision is not None:
            await apply_provision(provision, registry, namespace)
        journal, log = await _open_journal(settings, folder)
    except BaseException:
        await database.close()
        raise
    is_first_start = is_first_start and not settings.emulator
    pushes, emulated = Pushes(database), settings.emulator
    return Opened(registry, revocations, pushes, journal, log, folder, namespace, is_first_start, token, emulated)


async def _open(settings: Settings, folder: DataFolder) -> Database:
    if settings.emulator:
        return await open_memory()
    folder.create()
    return await open_database(folder.database, alone=True)


async def _open_journal(settings: Settings, folder: DataFolder) -> tuple[Journal, EventLog]:
    journal = await open_journal(None if settings.emulator else folder.journal, settings.limits.journal_bytes)
    try:
        await migrate(journal, find_migrations(JOURNAL))
        log = EventLog(journal)
        await log.load()
    except BaseException:
        await journal.close()
        raise
    return journal, log


def _first_root(settings: Settings, folder: DataFolder) -> Rule:
    if settings.emulator:
        return Rule(ROOT_RULE, Right.MANAGE, EMULATOR_KEY, EMULATOR_SECOND_KEY)
    return new_rule(ROOT_RULE, Right.MANAGE, folder.root_key())


def _operator_token(settings: Settings, folder: DataFolder) -> str:
    chosen = settings.arm.operator_token
    if settings.emulator:
        return chosen.get_secret_value() if chosen else EMULATOR_KEY
    return folder.operator_token(chosen.get_secret_value() if chosen else None)


def open_vouchers(settings: Settings) -> Vouchers:
    """Who vouches for callers beside the rules. Raises `ConfigurationError` where a key cannot be used."""
    seconds = settings.identity.fetch_seconds
    try:
        return Vouchers(settings.identity, settings.namespace, lambda url: fetch(url, seconds), time.monotonic)
    except ValueError as error:
        raise ConfigurationError(f"identity: {error}") from None


async def migrate_data(settings: Settings) -> list[Migration]:
    """Bring the schemas up to date and return what was applied. Raises `StoreError`, OSError."""
    folder = DataFolder(settings.data)
    folder.create()
    applied = []
    for path, known in _schemas(folder):
        database = await open_database(path)
        try:
            applied += await migrate(database, known)
        finally:
            await database.close()
    return applied


async def check_data(settings: Settings) -> list[Migration]:
    """The migrations that a start would apply; nothing is changed. Raises `ConfigurationError`, `StoreError`."""
    if settings.relays is not None:
        read_provision(settings.relays)
    open_vouchers(settings)
    waiting = []
    for path, known in _schemas(DataFolder(settings.data)):
        if not path.exists():
            waiting += known
            continue
        database = await open_database(path)
        try:
            waiting += await pending(database, known)
        finally:
            await database.close()
    return waiting


def _schemas(folder: DataFolder) -> list[tuple[Path, list[Migration]]]:
    return [(folder.database, find_migrations()), (folder.journal, find_migrations(JOURNAL))]


def _relay_defaults(settings: Settings) -> RelaySettings:
    kept = settings.history
    history = HistoryLimits(kept.keep, kept.events, kept.seconds, kept.bytes)
    if kept.keep == "durable":
        history = replace(DURABLE, **kept.model_dump(exclude_unset=True))
    return RelaySettings(history=history, budget=settings.budgets.connection_bytes)
