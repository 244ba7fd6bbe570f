"""The first start, the second, and what clients beside the gateway find."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from app.config import ConfigurationError, Settings, load_settings
from app.errors import StoreUnavailable
from app.startup import check_data, migrate_data, open_registry


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def settings_in(folder: Path, **flags: object) -> Settings:
    return load_settings({"data": folder, **flags})


async def test_first_start_makes_one_key_and_the_second_keeps_it(tmp_path: Path) -> None:
    """S69: a random root key, generated once."""
    first = await open_registry(settings_in(tmp_path / "data"))
    await first.close()
    second = await open_registry(settings_in(tmp_path / "data"))
    await second.close()
    assert (first.is_first_start, second.is_first_start) == (True, False)
    assert first.root == second.root
    assert first.root is not None
    assert first.root.primary_key == first.folder.root_key()


async def test_all_that_a_start_writes_is_the_owners_only(tmp_path: Path) -> None:
    """S70: state files have mode 0600 in a folder of mode 0700."""
    opened = await open_registry(settings_in(tmp_path / "data"))
    opened.write_connection("http://127.0.0.1:1", None, None)
    modes = modes_in(tmp_path / "data")
    await opened.close()
    assert modes.keys() >= {"fanway.db", "root.key", "connection.json"}
    assert set(modes.values()) == {0o600}
    assert mode(opened.folder.path) == 0o700


def modes_in(folder: Path) -> dict[str, int]:
    return {file.name: mode(file) for file in folder.iterdir()}


async def test_renewed_root_key_reaches_the_files_of_the_folder(tmp_path: Path) -> None:
    opened = await open_registry(settings_in(tmp_path))
    try:
        rule = await opened.registry.rotate_key(opened.namespace, None, "RootManageSharedAccessKey", "primary")
        opened.write_connection("http://127.0.0.1:1", "https://localhost:2", tmp_path / "ca.pem")
        connection = json.loads(opened.folder.connection_file.read_text())
        assert connection == {
            "url": "http://127.0.0.1:1",
            "tls_url": "https://localhost:2",
            "ca": f"{tmp_path}/ca.pem",
            "namespace": "default",
            "key_name": "RootManageSharedAccessKey",
            "key": rule.primary_key,
            "namespaces": {},
        }
        assert opened.folder.root_key() == rule.primary_key
        await opened.registry.delete_rule(opened.namespace, None, rule.name)
        opened.write_connection("http://127.0.0.1:1", None, None)
        assert json.loads(opened.folder.connection_file.read_text())["key"] is None
    finally:
        await opened.close()


async def test_deleted_root_rule_does_not_come_back(tmp_path: Path) -> None:
    opened = await open_registry(settings_in(tmp_path))
    await opened.registry.delete_rule(opened.namespace, None, "RootManageSharedAccessKey")
    await opened.close()
    opened = await open_registry(settings_in(tmp_path))
    await opened.close()
    assert opened.root is None


async def test_defaults_of_relays_come_from_the_settings(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, history={"events": 7}, budgets={"connection_bytes": 2048})
    opened = await open_registry(settings)
    relay = opened.registry.ensure_dynamic(opened.namespace, "orders")
    await opened.close()
    assert (relay.history.events, relay.history.keep, relay.budget) == (7, "memory", 2048)


async def test_check_changes_nothing_and_migrate_applies(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "data")
    waiting = await check_data(settings)
    assert waiting
    assert not settings.data.exists()
    assert await migrate_data(settings) == waiting
    assert await check_data(settings) == []


async def test_wrong_provisioning_file_stops_before_anything_is_made(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "data", relays=tmp_path / "none.json")
    for action in (open_registry, check_data):
        with pytest.raises(ConfigurationError):
            await action(settings)
    assert not settings.data.exists()


async def test_a_folder_serves_one_gateway_at_a_time(tmp_path: Path) -> None:
    """A second one would not hear of keys that the first renews, and would turn its clients away from it."""
    first = await open_registry(settings_in(tmp_path))
    try:
        with pytest.raises(StoreUnavailable, match="in use by another gateway"):
            await open_registry(settings_in(tmp_path))
        assert await check_data(settings_in(tmp_path)) == []
    finally:
        await first.close()
    again = await open_registry(settings_in(tmp_path))
    await again.close()
