"""Push subscriptions are kept whole."""

from __future__ import annotations

from pathlib import Path

from app.namespace import Namespace
from app.push.settings import Credential, PushSettings, Validation
from app.store.database import open_database
from app.store.migrator import find_migrations, migrate
from app.store.pushes import Pushes
from app.wire.native.webhook import Mode

WHOLE = PushSettings(
    id="abc",
    relay="orders",
    pattern="orders/**",
    sink="https://sink.example/",
    secrets=("whsec_new", "whsec_old"),
    source="/orders",
    types=("made",),
    filters=({"any": [{"exact": {"subject": "ü"}}]},),
    mode=Mode.BATCH,
    headers=(("X-Key", "k"),),
    credential=Credential("PLAIN", "me", "pass"),
    order="strict",
    rate=60,
    max_deliveries=3,
    dead_letter="failed/orders",
    is_enabled=False,
    stopped_because="gone",
    validation=Validation("granted", 30, "", 5.0),
    created_at=7.0,
)


async def test_a_subscription_comes_back_as_it_was_and_goes_with_its_namespace(tmp_path: Path) -> None:
    database = await open_database(tmp_path / "registry.db")
    try:
        await migrate(database, find_migrations())
        async with database.transaction():
            await database.execute("INSERT INTO namespaces (name, created_at) VALUES ('one', 0), ('two', 0)")
        pushes = Pushes(database)
        one, two = Namespace("one"), Namespace("two")
        least = PushSettings("least", "shop", "shop", "https://sink.example/", ("whsec_x",))
        await pushes.put(one, WHOLE)
        await pushes.put(two, least)
        assert await pushes.load() == [("one", WHOLE), ("two", least)]
        await pushes.delete(two, "least")
        assert await pushes.load() == [("one", WHOLE)]
        async with database.transaction():
            await database.execute("DELETE FROM namespaces WHERE name = 'one'")
        assert await pushes.load() == []
    finally:
        await database.close()
