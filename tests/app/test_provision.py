"""The provisioning file: both forms, refusals that name the place, applied over what is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.config import ConfigurationError, load_settings
from app.errors import RelayError
from app.namespace import Profile, Right
from app.provision import read_provision
from app.startup import open_registry
from app.store.settings import RelaySettings

CONTENT: dict[str, Any] = {
    "relays": [
        {
            "name": "echo",
            "profile": "hybridConnection",
            "requiresClientAuthorization": False,
            "history": {"keep": "none"},
            "slow": "drop",
            "budget": 4096,
            "rules": [{"name": "listener", "rights": ["Listen"], "primaryKey": "given"}],
        },
        {"name": "orders/eu"},
    ],
    "rules": [{"name": "app", "rights": ["Listen", "Send"], "createsRelays": True}],
    "aliases": ["relay.example"],
}
TOML = """
aliases = ["relay.example"]
[[relays]]
name = "echo"
profile = "hybridConnection"
requiresClientAuthorization = false
history = { keep = "none" }
slow = "drop"
budget = 4096
[[relays.rules]]
name = "listener"
rights = ["Listen"]
primaryKey = "given"
[[relays]]
name = "orders/eu"
[[rules]]
name = "app"
rights = ["Listen", "Send"]
createsRelays = true
"""


def written(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    as_json = read_provision(written(tmp_path / "relays.json", CONTENT))
    assert as_json == read_provision(written(tmp_path / "relays.toml", TOML))
    assert as_json.relays[0].over(RelaySettings()).profile is Profile.HYBRID_CONNECTION


async def test_file_wins_for_what_it_names_and_deletes_nothing(tmp_path: Path) -> None:
    settings = load_settings({"data": tmp_path, "relays": written(tmp_path / "relays.json", CONTENT)})
    opened = await open_registry(settings)
    namespace, registry = opened.namespace, opened.registry
    listener, app = namespace.relays["echo"].rules["listener"], namespace.rules["app"]
    assert (listener.primary_key, listener.rights, app.rights) == ("given", Right.LISTEN, Right.LISTEN | Right.SEND)
    assert namespace.aliases == {"relay.example": ""}
    await registry.put_rule(namespace, namespace.relays["echo"], "listener", Right.MANAGE, "changed")
    await registry.put_rule(namespace, None, "extra", Right.SEND)
    await registry.close()
    opened = await open_registry(settings)
    await opened.close()
    assert opened.namespace.rules["app"].creates_relays
    assert opened.namespace.relays["echo"].rules["listener"] == listener
    assert opened.namespace.rules["app"] == app, "generated keys are kept"
    assert opened.namespace.rules.keys() == {"rootmanagesharedaccesskey", "app", "extra"}


async def test_what_is_so_already_is_not_written_again(tmp_path: Path) -> None:
    """A start with the same file changes no time of change; a start with another changes what differs."""
    file = written(tmp_path / "relays.json", CONTENT)
    settings, starts = load_settings({"data": tmp_path, "relays": file}), []
    for _ in range(3):
        starts.append(1000.0 + len(starts))
        opened = await open_registry(settings, lambda: starts[-1])
        await opened.close()
        assert opened.namespace.relays["echo"].updated_at == (1000.0 if len(starts) < 3 else 1002.0)
        if len(starts) == 2:
            entry = {**CONTENT["relays"][0], "userMetadata": "new"}
            written(file, {**CONTENT, "relays": [entry, *CONTENT["relays"][1:]]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"relay": []}, "relay: is not known here"),
        ({"relays": [{"name": "a", "histroy": {}}]}, "relays[0].histroy: is not known here"),
        ({"relays": [{"name": "a"}, {"name": "b", "rules": [{"name": "r"}]}]}, "relays[1].rules[0].rights: Field"),
        ({"relays": [{"name": "a b"}]}, "relays: 'a b': A relay's name"),
        ({"relays": [{"name": "-"}]}, "relays: '-': Not an address"),
        ({"rules": [{"name": "r", "rights": ["Everything"], "primaryKey": "hush"}]}, "rules[0].rights[0]: Input"),
        ({"aliases": ["relay example"]}, "aliases: 'relay example': An alias is a host name"),
        ({"aliases": [{"host": "demo.example", "address": "a//b"}]}, "aliases: 'demo.example': "),
        ({"namespaces": [{"name": "a b"}]}, "namespaces[0].name: String"),
        ({"namespaces": [{"name": "t", "aliases": ["x y"]}]}, "aliases: 'x y': "),
        ([], "should hold an object"),
        ("{", "not JSON"),
    ],
)
def test_wrong_file_is_refused_with_the_place(content: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_provision(written(tmp_path / "relays.json", content))
    assert message in str(refused.value)
    assert "hush" not in str(refused.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    for name in ("none.json", "none.toml"):
        with pytest.raises(ConfigurationError, match="No such file"):
            read_provision(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"relays": [{"name": "shop"}, {"name": "Shop"}]}, "relays: 'Shop'"),
        ({"rules": [{"name": "a", "rights": ["Send"]}, {"name": "A", "rights": ["Listen"]}]}, "rules: 'A'"),
        (
            {"relays": [{"name": "shop", "rules": [{"name": "a", "rights": ["Send"]}] * 2}]},
            "relays: 'shop': rules: 'a'",
        ),
    ],
)
def test_a_name_that_stands_twice_is_refused(tmp_path: Path, content: object, named: str) -> None:
    """Names compare ignoring case: the later entry would silently undo the earlier."""
    with pytest.raises(ConfigurationError, match=f"{named} is named twice"):
        read_provision(written(tmp_path / "relays.json", content))


async def test_namespaces_are_made_with_what_is_in_them(tmp_path: Path) -> None:
    tenant = {
        "name": "tenant",
        "tags": {"for": "tests"},
        "aliases": ["tenant.example", {"host": "demo.example", "address": "echo"}],
        "relays": [{"name": "echo"}],
        "rules": [{"name": "app", "rights": ["Send"], "primaryKey": "given"}],
    }
    content = {**CONTENT, "namespaces": [tenant]}
    settings = load_settings({"data": tmp_path, "relays": written(tmp_path / "relays.json", content)})
    keys = set()
    for _ in range(2):
        opened = await open_registry(settings)
        await opened.close()
        assert [namespace.name for namespace in opened.registry.namespaces] == ["default", "tenant"]
        made = opened.registry.namespaces[1]
        assert made.aliases == {"tenant.example": "", "demo.example": "echo"}
        assert made.tags == {"for": "tests"}
        assert made.relays.keys() == {"echo"}
        assert made.rules["app"].primary_key == "given"
        keys.add(made.rules["rootmanagesharedaccesskey"].primary_key)
    assert len(keys) == 1, "its root key is made once"
    assert opened.namespace.aliases == {"relay.example": ""}


@pytest.mark.parametrize("name", ["taken.example", "tenant.localhost"])
async def test_a_host_name_that_two_namespaces_want_stops_the_start(tmp_path: Path, name: str) -> None:
    content = {"aliases": ["taken.example"], "namespaces": [{"name": "tenant"}, {"name": "other", "aliases": [name]}]}
    settings = load_settings({"data": tmp_path, "relays": written(tmp_path / "relays.json", content)})
    with pytest.raises(RelayError, match="Another namespace"):
        await open_registry(settings)
