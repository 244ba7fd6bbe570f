"""The management API, called in this process: statuses, permissions, the shape of refusals."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.access.authorize import Authorizer
from app.access.keyring import new_rule
from app.access.sas import make_token
from app.hosts import Hosts
from app.manage.api import create_api
from app.manage.body_limit import MAX_BODY_BYTES
from app.namespace import Namespace, Relay, Right
from app.store.database import open_database
from app.store.migrator import find_migrations, migrate
from app.store.registry import Registry

NOW = 1700000000.0


class World:
    """A gateway's registry without its edge."""

    emulator = None

    def __init__(self, registry: Registry, namespace: Namespace) -> None:
        self.registry, self.namespace = registry, namespace
        self.hosts = Hosts(registry.namespaces, is_loopback=False, primary=namespace.name)
        namespace.on_change.append(lambda change: self.hosts.changed())
        registry.follow(lambda added: self.hosts.changed(), lambda removed: self.hosts.changed())
        self.authorizer = Authorizer(lambda: NOW, self.hosts.mount)
        self.is_up = True

    def counts(self, namespace: Namespace, relay: Relay) -> tuple[int, int]:
        return 2, 3

    def status(self, namespace: Namespace) -> dict[str, Any]:
        return {"namespace": namespace.name}

    def is_ready(self) -> bool:
        return self.is_up

    def token(self, rule: str = "root", path: str = "", relay: str | None = None) -> dict[str, str]:
        rules = self.namespace.relays[relay].rules if relay else self.namespace.rules
        key = rules[rule].primary_key
        return {"Authorization": make_token(f"http://default/{path}", rule, key, NOW + 60)}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = await open_database(tmp_path / "fanway.db")
    await migrate(database, find_migrations())
    registry = Registry(database, lambda: NOW)
    namespace = await registry.ensure_namespace("default", new_rule("root", Right.MANAGE))
    await registry.put_rule(namespace, None, "sender", Right.SEND)
    yield World(registry, namespace)
    await registry.close()


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_api(world), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://default:8480") as client:
        yield client


def refusal(response: httpx.Response) -> tuple[int, str]:
    """Status and message of a refusal, its shape checked."""
    error = response.json()["error"]
    assert error.keys() == {"status", "code", "message", "tracking_id"}
    assert error["status"] == response.status_code
    assert re.fullmatch(r"[0-9a-f-]{36}_G0", error["tracking_id"])
    assert response.headers["TrackingId"] == error["tracking_id"]
    return response.status_code, error["message"]


async def test_relay_is_created_read_changed_and_removed(client: httpx.AsyncClient, world: World) -> None:
    auth = world.token()
    created = await client.put("/-/api/relays/shop/eu", json={"slow": "drop"}, headers=auth)
    assert created.status_code == 201
    assert created.json() == {
        "name": "shop/eu",
        "profile": "native",
        "requiresClientAuthorization": True,
        "history": {"keep": "memory", "events": 1000, "seconds": 300.0, "bytes": 1048576},
        "retain": "none",
        "slow": "drop",
        "budget": 1048576,
        "maxEventBytes": None,
        "dedupSeconds": 120.0,
        "eventSchema": None,
        "requiresTransportSecurity": False,
        "deadlines": {"acceptSeconds": None, "responseSeconds": None, "idleSeconds": None},
        "maxListeners": None,
        "keepsPath": False,
        "isPublic": False,
        "displayName": "",
        "userMetadata": "",
        "isDynamic": False,
        "createdAt": "2023-11-14T22:13:20Z",
        "updatedAt": "2023-11-14T22:13:20Z",
        "listenerCount": 2,
        "subscriptionCount": 3,
    }
    patch = {"history": {"keep": "none"}, "requiresClientAuthorization": False}
    changed = (await client.patch("/-/api/relays/SHOP/eu", json=patch, headers=auth)).json()
    assert changed["history"] == {"keep": "none", "events": 1000, "seconds": 300.0, "bytes": 1048576}
    assert (changed["slow"], changed["requiresClientAuthorization"]) == ("drop", False)
    replaced = await client.put("/-/api/relays/shop/eu", json={}, headers=auth)
    assert (replaced.status_code, replaced.json()["slow"]) == (200, "close")
    listed = await client.get("/-/api/relays", headers=auth)
    assert listed.json() == {"relays": [(await client.get("/-/api/relays/shop/eu", headers=auth)).json()]}
    assert (await client.delete("/-/api/relays/shop/eu", headers=auth)).status_code == 204
    assert refusal(await client.get("/-/api/relays/shop/eu", headers=auth)) == (404, "Endpoint does not exist.")


async def test_a_relay_that_is_deleted_while_it_is_changed_does_not_come_back(
    client: httpx.AsyncClient, world: World
) -> None:
    auth = world.token()
    await client.put("/-/api/relays/shop", json={}, headers=auth)
    deleted, changed = await asyncio.gather(
        client.delete("/-/api/relays/shop", headers=auth),
        client.patch("/-/api/relays/shop", json={"slow": "drop"}, headers=auth),
    )
    assert (deleted.status_code, changed.status_code) == (204, 404)
    assert (await client.get("/-/api/relays/shop", headers=auth)).status_code == 404


async def test_rules_of_namespace_and_relay_are_kept_apart(client: httpx.AsyncClient, world: World) -> None:
    auth = world.token()
    await client.put("/-/api/relays/shop", json={}, headers=auth)
    body = {"rights": ["Listen", "Send"], "primaryKey": "given"}
    made = await client.put("/-/api/rules/App?relay=shop", json=body, headers=auth)
    assert (made.status_code, made.json()) == (
        201,
        {"name": "App", "rights": ["Listen", "Send"], "createsRelays": False},
    )
    rules = (await client.get("/-/api/rules", headers=auth)).json()["rules"]
    assert rules[0] == {"name": "root", "rights": ["Listen", "Send", "Manage"], "createsRelays": False}
    assert [rule["name"] for rule in rules] == ["root", "sender"]
    keys = (await client.get("/-/api/rules/app/keys?relay=SHOP", headers=auth)).json()
    assert keys["primaryKey"] == "given"
    rotated = await client.post("/-/api/rules/app/rotate?relay=shop", json={"key": "primary"}, headers=auth)
    assert rotated.headers["cache-control"] == "no-store"
    assert rotated.json()["primaryKey"] != "given"
    assert rotated.json()["secondaryKey"] == keys["secondaryKey"]
    assert (await client.delete("/-/api/rules/app?relay=shop", headers=auth)).status_code == 204
    assert refusal(await client.get("/-/api/rules/app/keys?relay=shop", headers=auth))[0] == 404
    assert refusal(await client.get("/-/api/rules?relay=none", headers=auth))[0] == 404


async def test_alias_opens_the_namespace_under_another_host(client: httpx.AsyncClient, world: World) -> None:
    auth = world.token()
    url = "/-/api/aliases/relay.example"
    assert refusal(await client.get("/-/api/aliases", headers=auth | {"Host": "relay.example"}))[0] == 404
    made = await client.put(url, headers=auth)
    assert (made.status_code, made.json()) == (201, {"host": "relay.example", "address": ""})
    assert (await client.get("/-/api/aliases", headers=auth | {"Host": "relay.example:1"})).status_code == 200
    assert (await client.get("/-/api/aliases", headers=auth)).json() == {"aliases": [made.json()]}
    mapped = await client.put(url, json={"address": "shop/eu"}, headers=auth)
    assert (mapped.status_code, mapped.json()) == (200, {"host": "relay.example", "address": "shop/eu"})
    assert (await client.get(url, headers=auth)).json() == mapped.json()
    assert refusal(await client.put(url, json={"address": "shop//eu"}, headers=auth))[0] == 400
    assert (await client.delete(url, headers=auth)).status_code == 204
    assert refusal(await client.get(url, headers=auth))[0] == 404


async def test_relay_scope_suffices_for_that_relay_only(client: httpx.AsyncClient, world: World) -> None:
    """W04, S11: by an entity rule, and by a narrow `sr` of a namespace rule."""
    auth = world.token()
    for name in ("shop", "shop-admin"):
        await client.put(f"/-/api/relays/{name}", json={}, headers=auth)
    await client.put("/-/api/rules/owner?relay=shop", json={"rights": ["Manage"]}, headers=auth)
    owner, narrow = world.token("owner", relay="shop"), world.token(path="shop")
    for auth in (owner, narrow):
        assert (await client.get("/-/api/relays/shop", headers=auth)).status_code == 200
        assert (await client.put("/-/api/rules/x?relay=shop", json={"rights": ["Send"]}, headers=auth)).is_success
        assert refusal(await client.get("/-/api/relays/shop-admin", headers=auth))[0] == 401
        assert refusal(await client.put("/-/api/relays/other", json={}, headers=auth))[0] == 401
    assert refusal(await client.get("/-/api/relays", headers=owner))[0] == 401, "no relay is named"
    assert (await client.put("/-/api/relays/shop/eu", json={}, headers=narrow)).status_code == 201
    names = [relay["name"] for relay in (await client.get("/-/api/relays", headers=narrow)).json()["relays"]]
    assert names == ["shop", "shop/eu"]
    for path in ("/-/api/rules", "/-/api/status", "/-/api/aliases"):
        assert refusal(await client.get(path, headers=narrow))[0] == 403


async def test_without_manage_it_is_403_and_without_token_401(client: httpx.AsyncClient, world: World) -> None:
    """P02 on the management door; an unknown relay shows as 404 to good tokens only."""
    sender = world.token("sender")
    for path in ("status", "relays", "rules", "aliases"):
        status, message = refusal(await client.get(f"/-/api/{path}", headers=sender))
        assert (status, message) == (
            403,
            "Unauthorized access. 'Manage' claim(s) are required to perform this operation.",
        )
        anonymous = await client.get(f"/-/api/{path}")
        assert refusal(anonymous)[0] == 401
        assert anonymous.headers["www-authenticate"] == "SharedAccessSignature"
    assert refusal(await client.get("/-/api/relays/none"))[0] == 401
    assert refusal(await client.delete("/-/api/relays/none", headers=sender))[0] == 404
    assert refusal(await client.put("/-/api/relays/new", json={}, headers=sender))[0] == 403
    assert not world.namespace.relays


async def test_two_tokens_that_disagree_are_refused(client: httpx.AsyncClient, world: World) -> None:
    """S17: on our door two different credentials are 400, wherever they stand."""
    root, sender = world.token()["Authorization"], world.token("sender")["Authorization"]
    for headers, query in (
        ({"Authorization": root, "ServiceBusAuthorization": sender}, {}),
        ({"Authorization": root}, {"sb-hc-token": sender}),
        ({"ServiceBusAuthorization": sender}, {"sb-hc-token": root}),
    ):
        assert refusal(await client.get("/-/api/status", headers=headers, params=query))[0] == 400
    for headers, query in (({"ServiceBusAuthorization": root}, {}), ({"Authorization": root}, {"sb-hc-token": root})):
        assert (await client.get("/-/api/status", headers=headers, params=query)).status_code == 200
    assert (await client.get("/-/api/status", params={"sb-hc-token": root})).json() == {"namespace": "default"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"hystory": {}}, "hystory: is not known here"),
        ({"history": {"keep": "ever"}}, "history.keep: Input should be"),
        ({"budget": "much"}, "budget: Input should be"),
        ([], "the body should be a JSON object, and the header 'Content-Type: application/json' should say so"),
    ],
)
async def test_wrong_body_is_400_naming_the_place(
    body: Any, message: str, client: httpx.AsyncClient, world: World
) -> None:
    status, text = refusal(await client.put("/-/api/relays/a", json=body, headers=world.token()))
    assert status == 400
    assert text.startswith(message)


async def test_refusal_of_a_wrong_rule_repeats_no_key(client: httpx.AsyncClient, world: World) -> None:
    """S70: what was sent as a key never comes back."""
    body = {"rights": ["Everything"], "primaryKey": "hush" * 100}
    response = await client.put("/-/api/rules/a", json=body, headers=world.token())
    assert refusal(response)[0] == 400
    assert "hush" not in response.text


async def test_odd_names_paths_and_methods_are_refused_in_the_same_shape(
    client: httpx.AsyncClient, world: World
) -> None:
    auth = world.token()
    assert refusal(await client.put("/-/api/relays/a%20b", json={}, headers=auth))[0] == 400
    assert refusal(await client.put("/-/api/relays/-", json={}, headers=auth))[0] == 400
    assert refusal(await client.put("/-/api/rules/a%20b", json={"rights": ["Send"]}, headers=auth))[0] == 400
    assert refusal(await client.get("/-/nothing", headers=auth)) == (404, "There is nothing here.")
    wrong = await client.post("/-/api/relays", headers=auth)
    assert refusal(wrong) == (405, "Not with this method; here it is GET.")
    assert wrong.headers["allow"] == "GET"
    assert (await client.post("/-/api/relays/a", headers=auth)).headers["allow"] == "DELETE, GET, PATCH, PUT"
    assert refusal(await client.get("/-/api/status", headers=auth | {"Host": "evil.example"}))[0] == 404


@pytest.mark.parametrize("body", [b"\xff", b"[" * 100_000])
async def test_a_body_that_cannot_be_parsed_is_a_bad_request(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.put("/-/api/relays/x", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "BadRequest")


async def test_oversized_body_is_413_before_anyone_is_asked_for_a_token(client: httpx.AsyncClient) -> None:
    response = await client.put("/-/api/relays/a", content=b"x" * (MAX_BODY_BYTES + 1))
    assert refusal(response)[0] == 413


async def test_fault_of_ours_is_a_bare_500(
    client: httpx.AsyncClient, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(namespace: Namespace) -> dict[str, Any]:
        raise ZeroDivisionError("secret detail")

    world.status = fail  # type: ignore[method-assign]
    response = await client.get("/-/api/status", headers=world.token())
    assert refusal(response)[0] == 500
    assert "secret detail" not in response.text
    assert response.json()["error"]["tracking_id"] in caplog.text


async def test_health_needs_no_token_and_no_host(client: httpx.AsyncClient, world: World) -> None:
    anywhere = {"Host": "10.1.2.3:8480"}
    assert (await client.get("/-/health/live", headers=anywhere)).status_code == 200
    assert (await client.get("/-/health/ready", headers=anywhere)).status_code == 200
    assert (await client.head("/-/health/live", headers=anywhere)).status_code == 200
    world.is_up = False
    assert (await client.get("/-/health/ready", headers=anywhere)).status_code == 503
    assert (await client.head("/-/health/ready", headers=anywhere)).status_code == 503


async def test_every_operation_is_described(client: httpx.AsyncClient) -> None:
    document = (await client.get("/-/api/openapi.json")).json()
    assert document["info"]["title"] == "Fanway management"
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            if path.startswith("/-/api"):
                assert operation["responses"].keys() >= {"400", "401", "403", "404"}
    assert (await client.get("/-/api/docs")).status_code == 200


async def test_a_refusal_is_found_in_the_log_under_its_tracking_id(
    world: World, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    answer = await client.get("/-/api/relays/nowhere%0A", headers=world.token())
    assert answer.status_code == 404
    [record] = [record for record in caplog.records if answer.headers["TrackingId"] in record.getMessage()]
    assert "\n" not in record.getMessage()
    assert "404" in record.getMessage()
