"""`fanway import` and `fanway export` against running gateways."""

from __future__ import annotations

import json
import os
import sys
from asyncio import create_subprocess_exec, timeout
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click import UsageError
from worlds import KEY, KEY_NAME, World, running_gateway

from app.namespace import Right
from fanway.cli_moving import given_parameters, read_files
from fanway.errors import ConfigurationError

VECTORS = Path(__file__).parents[1] / "vectors"
TEMPLATE = str(VECTORS / "azuredeploy.json")
SAVED = str(VECTORS / "az-relay.json")
SAVED_TEXT = (VECTORS / "az-relay.json").read_text()
NAMED = ("--parameter", "namespaceName=contoso")
RELAYS: list[dict[str, Any]] = [
    {"name": "orders", "history": {"events": 7}, "slow": "drop", "isPublic": True, "displayName": "Größe [1]"},
    {"name": "Plants/Oslo", "profile": "hybridConnection", "userMetadata": "[concat('a')]", "maxListeners": 3},
    {
        "name": "meter~1",
        "profile": "netTcp",
        "rules": [{"name": "own.rule", "rights": ["Listen"], "primaryKey": "first+/=", "secondaryKey": "second"}],
    },
    {"name": "hello", "profile": "http", "deadlines": {"acceptSeconds": 2.5}, "requiresTransportSecurity": True},
]


class Done(NamedTuple):
    code: int | None
    out: str
    err: str


async def fanway(world: World, *arguments: str, key: str = KEY, stdin: str = "") -> Done:
    """The command, as a process of its own, with the gateway known from the environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FANWAY_")}
    process = await create_subprocess_exec(
        sys.executable,
        "-c",
        "from fanway.cli import main; main()",
        *arguments,
        env={**kept, "FANWAY_URL": world.url, "FANWAY_KEY_NAME": KEY_NAME, "FANWAY_KEY": key},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    async with timeout(30):
        out, err = await process.communicate(stdin.encode())
    return Done(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def fresh(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path / "fresh", relays=[]) as world:
        yield world


async def test_an_exported_namespace_is_the_same_after_its_import_elsewhere(tmp_path: Path) -> None:
    async with AsyncExitStack() as both:
        old = await both.enter_async_context(running_gateway(tmp_path / "old", relays=RELAYS))
        new = await both.enter_async_context(running_gateway(tmp_path / "new", relays=[]))
        await old.gateway.registry.put_alias(old.namespace, "old.example")
        await old.gateway.registry.put_alias(old.namespace, "demo.example", "Plants/Oslo")
        await old.gateway.registry.put_rule(old.namespace, None, "maker", Right.LISTEN, creates_relays=True)
        network = {"defaultAction": "Deny", "ipRules": [{"mask": "127.0.0.0/8"}, {"mask": "::1"}]}
        answer = await old.client.put("/-/api/namespaces/default", headers=old.auth(), json={"network": network})
        assert answer.status_code == 200
        await old.listen("fleeting")
        first = await fanway(old, "export")
        file = tmp_path / "relays.json"
        file.write_text(first.out, "utf-8")
        done = await fanway(new, "import", str(file))
        assert (done.code, "the rule that signed these calls has changed" in done.err) == (0, True)
        second = await fanway(new, "export")
        assert first.code == second.code == 0
        assert json.loads(second.out) == json.loads(first.out)
        assert second.out == first.out
        assert "fleeting" not in first.out
        again = await fanway(new, "import", str(file))
        assert again.out == "nothing changed: 10 as they should be\n"
        assert {key: relay.rules for key, relay in new.namespace.relays.items()} == {
            key: relay.rules for key, relay in old.namespace.relays.items() if not relay.is_dynamic
        }
        assert new.namespace.rules == old.namespace.rules
        assert new.namespace.aliases == old.namespace.aliases
        assert new.namespace.network == old.namespace.network
        meter = new.namespace.relays["meter~1"]
        assert (meter.profile, new.namespace.relays["orders"].history.events) == ("netTcp", 7)


async def test_without_keys_nothing_secret_is_exported(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        done = await fanway(world, "export", "--without-keys")
        assert (done.code, "own.rule" in done.out) == (0, True)
        for secret in ('Key"', KEY, "first+/=", 'second"'):
            assert secret not in done.out.replace("ManageSharedAccessKey", "")


async def test_a_template_is_provisioned_and_a_second_run_changes_nothing(fresh: World) -> None:
    done = await fanway(fresh, "import", TEMPLATE, *NAMED)
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "relay authenticated: created",
        "relay plant-meters: created",
        "relay unauthenticated: created",
        "rule plant-sender of unauthenticated: created",
        "rule listeners: created",
        "5 changed, 0 as they should be",
    ]
    assert "storageaccounts" in done.err
    assert "rule listeners: the files hold no keys of it; a new one is made" in done.err
    relays = fresh.namespace.relays
    assert relays["authenticated"].requires_client_authorization
    assert not relays["unauthenticated"].requires_client_authorization
    assert relays["unauthenticated"].rules["plant-sender"].primary_key == "c2VuZGVyIGtleSBvZiB0aGUgdGVtcGxhdGU="
    assert relays["plant-meters"].user_metadata == "[counts]"
    again = await fanway(fresh, "import", TEMPLATE, *NAMED)
    assert again.out == "nothing changed: 5 as they should be\n"
    assert "rule listeners: the files hold no keys of it; what it has stays" in again.err


async def test_imported_keys_are_good_for_listeners_and_senders(fresh: World) -> None:
    done = await fanway(fresh, "import", "-", stdin=SAVED_TEXT)
    assert done.code == 0, done.err
    assert "rule RootManageSharedAccessKey: changed (primaryKey, secondaryKey)" in done.out
    assert "the rule that signed these calls has changed" in done.err
    root = "cm9vdCBwcmltYXJ5IGtleSBvZiBjb250b3NvIDAxMjM="
    listener = await fresh.listen("authenticated", headers=fresh.auth("authenticated", key=root))
    sender = fresh.auth("authenticated", rule="sender", key="c2VuZGVyJ3Mgc2Vjb25kYXJ5IGtleSAwMTIzNDU2Nzg=")
    assert (await fresh.client.get("/authenticated", headers=sender)).status_code == 200
    assert (await fresh.client.get("/authenticated", headers=fresh.auth())).status_code == 401
    assert len(listener.requests) == 1
    again = await fanway(fresh, "import", SAVED, key=root)
    assert again.out == "nothing changed: 5 as they should be\n"


async def test_a_dry_run_tells_and_changes_nothing(fresh: World) -> None:
    done = await fanway(fresh, "import", TEMPLATE, *NAMED, "--dry-run")
    assert done.out.splitlines()[0] == "relay authenticated: would be created"
    assert done.out.splitlines()[-1] == "5 would change, 0 as they should be"
    assert fresh.namespace.relays == {}


async def test_what_differs_is_changed_and_the_rest_stays(fresh: World, tmp_path: Path) -> None:
    await fresh.client.put("/-/api/relays/authenticated", headers=fresh.auth(), json={"history": {"events": 3}})
    await fresh.client.put("/-/api/relays/other", headers=fresh.auth(), json={})
    done = await fanway(fresh, "import", TEMPLATE, *NAMED)
    assert "relay authenticated: changed (profile)" in done.out
    relay = fresh.namespace.relays["authenticated"]
    assert (relay.profile, relay.history.events) == ("hybridConnection", 3)
    assert "other" in fresh.namespace.relays


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("{", "should be JSON"),
        ('{"a": 1, "a": 2}', "holds 'a' twice"),
        ("[" * 100_000, "JSON"),
        ("[5]", "should be an object"),
        ('{"resources": [{"type": "Microsoft.Relay/namespaces/hybridConnections", "name": "ns/a b"}]}', "relay's name"),
        ('{"keyName": "lost", "primaryKey": "k"}', "whose rights are in none of the files"),
        (
            '{"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Relay/namespaces/n/hybridConnections/gone/'
            'authorizationRules/r", "rights": ["Send"]}',
            "needs a relay that is neither",
        ),
    ],
)
async def test_a_file_that_cannot_be_used_changes_nothing(fresh: World, text: str, words: str) -> None:
    done = await fanway(fresh, "import", "-", stdin=text)
    assert (done.code, words in done.err, "Traceback" in done.err) == (1, True, False)
    assert fresh.namespace.relays == {}


async def test_what_the_gateway_refuses_is_told_and_a_later_run_goes_on(fresh: World, tmp_path: Path) -> None:
    aliases = {"metadata": {"fanway": {"aliases": {"not a host": ""}}}}
    relay = {"type": "Microsoft.Relay/namespaces/hybridConnections", "name": "ns/a"}
    namespace = {"type": "Microsoft.Relay/namespaces", "name": "ns", **aliases}
    done = await fanway(fresh, "import", "-", stdin=json.dumps({"resources": [namespace, relay]}))
    assert (done.code, done.out) == (1, "relay a: created\n")
    assert "host name not a host could not be created; what is above has been done" in done.err
    again = await fanway(fresh, "import", "-", stdin=json.dumps({"resources": [relay]}))
    assert again.out == "nothing changed: 1 as they should be\n"


def test_several_values_may_stand_in_one_file_and_parameters_in_another(tmp_path: Path) -> None:
    several, parameters = tmp_path / "several.json", tmp_path / "parameters.json"
    one = {"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Relay/namespaces/contoso/hybridConnections/x"}
    several.write_text("\ufeff" + json.dumps(one) + "\n" + json.dumps([one]), "utf-8")
    parameters.write_text(json.dumps({"parameters": {"namespaceName": {"value": "contoso"}}}))
    inventory = read_files((str(several), TEMPLATE, str(parameters)), {}, None)
    assert sorted(inventory.relays) == ["authenticated", "plant-meters", "unauthenticated", "x"]


def test_a_missing_file_and_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_files((str(tmp_path / "none"),), {}, None)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ConfigurationError, match="should be UTF-8"):
        read_files((str(tmp_path / "bytes"),), {}, None)


def test_parameters_of_the_command_line_must_be_some_templates() -> None:
    assert given_parameters(("a=true", "c=x=y", "d=")) == {"a": "true", "c": "x=y", "d": ""}
    with pytest.raises(UsageError):
        given_parameters(("a",))
    with pytest.raises(ConfigurationError, match="has a parameter 'unknown'"):
        read_files((TEMPLATE,), {"namespaceName": "x", "unknown": "y"}, None)
