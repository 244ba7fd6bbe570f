"""Azure's management library for Node, unmodified, makes, lists, changes and deletes everything it knows of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from programs import NODE_SCRIPTS, Line, StartNode, require_node_modules
from worlds import World, running_gateway

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
TOKEN = "operator-token-of-the-test-world"
HERE = ["default", "default"]  # resource group and namespace that the gateway was started with
ITS_OWN = ""  # the version that the library sends by itself, 2017-04-01

Tell = Callable[..., Awaitable[Line]]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    require_node_modules()
    if not (NODE_SCRIPTS / "node_modules" / "@azure" / "arm-relay").is_dir():
        pytest.skip("@azure/arm-relay is not installed")
    arm = {"operator_token": TOKEN, "page_items": 2}
    async with running_gateway(tmp_path, tls=True, relays=[], arm=arm) as world:
        yield world


@pytest.fixture(params=[ITS_OWN, "2021-11-01", "2026-01-01"])
async def tell(request: pytest.FixtureRequest, world: World, node: StartNode) -> Tell:
    """Makes the library do something, and returns what became of it."""
    endpoint = f"https://localhost:{world.tls_port}"
    options = {"endpoint": endpoint, "subscription": SUBSCRIPTION, "token": TOKEN, "version": request.param}
    program = await node("arm", ca=world.ca, **options)
    await program.expect("started")

    async def call(group: str, method: str, *args: Any, pages: bool = False) -> Line:
        await program.tell(group=group, method=method, args=args, list=pages)
        return await program.line()

    return call


async def done(answer: Awaitable[Line]) -> Any:
    line = await answer
    assert line["event"] == "done", line
    return line["value"]


async def refused(answer: Awaitable[Line]) -> tuple[int, str]:
    line = await answer
    assert line["event"] == "refused", line
    assert "TrackingId:" in line["message"]
    return line["status"], line["code"]


async def test_namespaces_are_made_listed_changed_and_deleted(tell: Tell, world: World) -> None:
    names = ["orders-eu", "orders-us", "orders-za"]
    for name in names:
        made = await done(tell("namespaces", "beginCreateOrUpdateAndWait", "shop", name, {"location": "West Europe"}))
        assert (made["name"], made["provisioningState"]) == (name, "Succeeded")
    changed = await done(tell("namespaces", "update", "shop", "orders-eu", {"tags": {"team": "a"}}))
    assert (await done(tell("namespaces", "get", "SHOP", "Orders-EU")))["tags"] == changed["tags"] == {"team": "a"}
    in_group = await done(tell("namespaces", "listByResourceGroup", "shop", pages=True))
    assert [each["name"] for each in in_group] == names
    in_all = await done(tell("namespaces", "list", pages=True))
    assert [each["name"] for each in in_all] == ["default", *names]
    free = await done(tell("namespaces", "checkNameAvailability", {"name": "orders-eu"}))
    assert (free["nameAvailable"], free["reason"]) == (False, "NameInUse")
    for name in names:
        await done(tell("namespaces", "beginDeleteAndWait", "shop", name))
    await done(tell("namespaces", "beginDeleteAndWait", "shop", "orders-eu"))
    assert await refused(tell("namespaces", "get", "shop", "orders-eu")) == (404, "ResourceNotFound")
    assert await refused(tell("namespaces", "beginDeleteAndWait", *HERE)) == (409, "Conflict")
    assert world.gateway.registry.namespaces == [world.namespace]


async def test_relays_of_both_kinds_are_made_listed_changed_and_deleted(tell: Tell, world: World) -> None:
    for name in ("c", "b/1", "a"):
        made = await done(tell("hybridConnections", "createOrUpdate", *HERE, name, {"userMetadata": name}))
        assert (made["name"], made["userMetadata"], made["requiresClientAuthorization"]) == (name, name, True)
        soap = {"relayType": "Http", "requiresTransportSecurity": False}
        assert (await done(tell("wCFRelays", "createOrUpdate", *HERE, f"wcf-{name}", soap)))["relayType"] == "Http"
    changed = await done(
        tell("hybridConnections", "createOrUpdate", *HERE, "b/1", {"requiresClientAuthorization": False})
    )
    found = await done(tell("hybridConnections", "get", *HERE, "B~1"))
    assert (found["requiresClientAuthorization"], found["createdAt"]) == (False, changed["createdAt"])
    listed = await done(tell("hybridConnections", "listByNamespace", *HERE, pages=True))
    assert [each["name"] for each in listed] == ["a", "b/1", "c"]
    listed = await done(tell("wCFRelays", "listByNamespace", *HERE, pages=True))
    assert [(each["name"], each["isDynamic"]) for each in listed] == [
        ("wcf-a", False),
        ("wcf-b/1", False),
        ("wcf-c", False),
    ]
    assert await refused(tell("hybridConnections", "get", *HERE, "none")) == (404, "ResourceNotFound")
    assert await refused(tell("wCFRelays", "createOrUpdate", *HERE, "a", {})) == (409, "Conflict")
    for name in ("a", "b/1", "c", "c"):
        await done(tell("hybridConnections", "delete", *HERE, name))
        await done(tell("wCFRelays", "delete", *HERE, f"wcf-{name}"))
    assert not world.namespace.relays


async def test_rules_and_keys_of_every_scope_are_managed(tell: Tell) -> None:
    await done(tell("hybridConnections", "createOrUpdate", *HERE, "hyco", {}))
    await done(tell("wCFRelays", "createOrUpdate", *HERE, "tcp", {"relayType": "NetTcp"}))
    for group, scope in (
        ("namespaces", HERE),
        ("hybridConnections", [*HERE, "hyco"]),
        ("wCFRelays", [*HERE, "tcp"]),
    ):
        for name in ("app", "bee", "cee"):
            made = await done(tell(group, "createOrUpdateAuthorizationRule", *scope, name, {"rights": ["Listen"]}))
            assert (made["name"], made["rights"]) == (name, ["Listen"])
        await done(tell(group, "createOrUpdateAuthorizationRule", *scope, "app", {"rights": ["Listen", "Send"]}))
        assert (await done(tell(group, "getAuthorizationRule", *scope, "app")))["rights"] == ["Listen", "Send"]
        listed = await done(tell(group, "listAuthorizationRules", *scope, pages=True))
        assert {"app", "bee", "cee"} <= {each["name"] for each in listed}
        old = await done(tell(group, "listKeys", *scope, "app"))
        new = await done(tell(group, "regenerateKeys", *scope, "app", {"keyType": "PrimaryKey"}))
        assert new["primaryKey"] != old["primaryKey"]
        assert new["secondaryKey"] == old["secondaryKey"]
        assert new["primaryConnectionString"].startswith("Endpoint=sb://localhost:")
        chosen = await done(tell(group, "regenerateKeys", *scope, "app", {"keyType": "SecondaryKey", "key": "chosen"}))
        assert chosen["secondaryKey"] == "chosen"
        await done(tell(group, "deleteAuthorizationRule", *scope, "app"))
        assert await refused(tell(group, "listKeys", *scope, "app")) == (404, "ResourceNotFound")
        wrong = await refused(tell(group, "createOrUpdateAuthorizationRule", *scope, "bad", {"rights": ["Manage"]}))
        assert wrong == (400, "InvalidRequestContent")


async def test_operations_are_listed(tell: Tell) -> None:
    operations = await done(tell("operations", "list", pages=True))
    assert "Microsoft.Relay/namespaces/wcfRelays/write" in {each["name"] for each in operations}


async def test_another_token_is_told_from_an_operators(world: World, node: StartNode) -> None:
    endpoint = f"https://localhost:{world.tls_port}"
    program = await node("arm", ca=world.ca, endpoint=endpoint, subscription=SUBSCRIPTION, token="another-altogether")
    await program.expect("started")
    await program.tell(group="namespaces", method="get", args=HERE, list=False)
    answer = await program.line()
    assert (answer["event"], answer["status"], answer["code"]) == ("refused", 401, "InvalidAuthenticationToken")
