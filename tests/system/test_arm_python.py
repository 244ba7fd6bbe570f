"""Azure's management library for Python, unmodified, makes, lists, changes and deletes everything it knows of."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.mgmt.relay import RelayAPIMgmtClient
from programs import StartNode
from worlds import World, running_gateway

import fanway

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
TOKEN = "operator-token-of-the-test-world"
VERSIONS = ["2016-07-01", "2017-04-01", "2021-11-01", "2024-01-01", "2026-01-01"]
HERE = ("default", "default")  # resource group and namespace that the gateway was started with


class Credential:
    """A token that never ends."""

    def __init__(self, token: str = TOKEN) -> None:
        self.token = token

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken(self.token, int(time.time()) + 3600)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    arm = {"operator_token": TOKEN, "page_items": 2}
    deadlines = {"close_seconds": 0.2}  # the library leaves connections open behind it
    async with running_gateway(tmp_path, tls=True, relays=[], arm=arm, deadlines=deadlines) as world:
        yield world


async def using(
    world: World, work: Callable[[RelayAPIMgmtClient], Any], version: str = VERSIONS[-1], token: str = TOKEN
) -> Any:
    """What `work` returns, which waits on the network beside the gateway."""

    def run() -> Any:
        with RelayAPIMgmtClient(
            Credential(token),
            SUBSCRIPTION,
            base_url=f"https://localhost:{world.tls_port}",
            connection_verify=str(world.ca),
            api_version=version,
            retry_total=0,
        ) as client:
            return work(client)

    return await asyncio.to_thread(run)


@pytest.mark.parametrize("version", VERSIONS)
async def test_namespaces_are_made_listed_changed_and_deleted(version: str, world: World) -> None:
    def work(client: RelayAPIMgmtClient) -> None:
        names = ["orders-eu", "orders-us", "orders-za"]
        for name in names:
            made = client.namespaces.begin_create_or_update("shop", name, {"location": "West Europe"}).result()
            assert (made.name, made.location, made.type) == (name, "West Europe", "Microsoft.Relay/Namespaces")
            assert made.properties.provisioning_state == "Succeeded"
            assert made.properties.created_at.tzinfo is not None
        changed = client.namespaces.update("shop", "orders-eu", {"tags": {"team": "a"}})
        assert client.namespaces.get("SHOP", "Orders-EU").tags == changed.tags == {"team": "a"}
        assert [each.name for each in client.namespaces.list_by_resource_group("shop")] == names
        assert [each.name for each in client.namespaces.list()] == ["default", *names]
        assert client.namespaces.check_name_availability({"name": "orders-eu"}).reason == "NameInUse"
        assert client.namespaces.check_name_availability({"name": "x"}).reason == "InvalidName"
        assert client.namespaces.check_name_availability({"name": "orders-asia"}).name_available
        client.namespaces.begin_delete("shop", "orders-eu").result()
        client.namespaces.begin_delete("shop", "orders-eu").result()
        with pytest.raises(ResourceNotFoundError):
            client.namespaces.get("shop", "orders-eu")
        with pytest.raises(ResourceExistsError):
            client.namespaces.begin_create_or_update("other", "orders-us", {"location": "local"}).result()
        with pytest.raises(ResourceExistsError, match="lives as long as"):
            client.namespaces.begin_delete(*HERE).result()

    await using(world, work, version)
    assert [namespace.name for namespace in world.gateway.registry.namespaces] == ["default", "orders-us", "orders-za"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_relays_of_both_kinds_are_made_listed_changed_and_deleted(version: str, world: World) -> None:
    def work(client: RelayAPIMgmtClient) -> None:
        hybrid, wcf = client.hybrid_connections, client.wcf_relays
        for name in ("c", "b/1", "a"):
            made = hybrid.create_or_update(*HERE, name, {"properties": {"userMetadata": name}})
            assert (made.name, made.properties.user_metadata) == (name, name)
            assert made.properties.requires_client_authorization is True
            soap = {"properties": {"relayType": "Http", "requiresTransportSecurity": False}}
            assert wcf.create_or_update(*HERE, f"wcf-{name}", soap).properties.relay_type == "Http"
        changed = hybrid.create_or_update(*HERE, "b~1", {"properties": {"requiresClientAuthorization": False}})
        assert hybrid.get(*HERE, "B/1").properties == changed.properties
        assert changed.properties.requires_client_authorization is False
        assert [each.name for each in hybrid.list_by_namespace(*HERE)] == ["a", "b/1", "c"]
        relays = list(wcf.list_by_namespace(*HERE))
        assert [each.name for each in relays] == ["wcf-a", "wcf-b/1", "wcf-c"]
        assert not any(each.properties.is_dynamic for each in relays)
        assert wcf.get(*HERE, "none") is None
        with pytest.raises(ResourceNotFoundError):
            hybrid.get(*HERE, "none")
        with pytest.raises(ResourceExistsError):
            wcf.create_or_update(*HERE, "a", {})
        for name in ("a", "b/1", "c", "c"):
            hybrid.delete(*HERE, name)
            wcf.delete(*HERE, f"wcf-{name}")
        assert list(hybrid.list_by_namespace(*HERE)) == list(wcf.list_by_namespace(*HERE)) == []

    await using(world, work, version)
    assert not world.namespace.relays


@pytest.mark.parametrize("version", VERSIONS)
async def test_rules_and_keys_of_every_scope_are_managed(version: str, world: World) -> None:
    def work(client: RelayAPIMgmtClient) -> None:
        client.hybrid_connections.create_or_update(*HERE, "hyco", {})
        client.wcf_relays.create_or_update(*HERE, "tcp", {"properties": {"relayType": "NetTcp"}})
        for of, scope in (
            (client.namespaces, HERE),
            (client.hybrid_connections, (*HERE, "hyco")),
            (client.wcf_relays, (*HERE, "tcp")),
        ):
            for name in ("app", "bee", "cee"):
                made = of.create_or_update_authorization_rule(*scope, name, {"properties": {"rights": ["Listen"]}})
                assert (made.name, made.properties.rights) == (name, ["Listen"])
            wider = {"properties": {"rights": ["Listen", "Send"]}}
            of.create_or_update_authorization_rule(*scope, "app", wider)
            assert of.get_authorization_rule(*scope, "app").properties.rights == ["Listen", "Send"]
            names = [each.name for each in of.list_authorization_rules(*scope)]
            assert [name for name in names if name != "RootManageSharedAccessKey"] == ["app", "bee", "cee"]
            old = of.list_keys(*scope, "app")
            new = of.regenerate_keys(*scope, "app", {"keyType": "PrimaryKey"})
            assert new.primary_key != old.primary_key
            assert new.secondary_key == old.secondary_key
            chosen = of.regenerate_keys(*scope, "app", {"keyType": "SecondaryKey", "key": "chosen"})
            assert (chosen.primary_key, chosen.secondary_key) == (new.primary_key, "chosen")
            of.delete_authorization_rule(*scope, "app")
            of.delete_authorization_rule(*scope, "app")
            with pytest.raises(ResourceNotFoundError):
                of.list_keys(*scope, "app")
            with pytest.raises(HttpResponseError, match="'Manage' needs"):
                of.create_or_update_authorization_rule(*scope, "bad", {"properties": {"rights": ["Manage"]}})

    await using(world, work, version)


@pytest.mark.parametrize("version", VERSIONS[2:])
async def test_network_rules_are_managed_and_private_endpoints_are_none(version: str, world: World) -> None:
    def work(client: RelayAPIMgmtClient) -> None:
        rules = {"properties": {"defaultAction": "Deny", "ipRules": [{"ipMask": "127.0.0.0/8", "action": "Allow"}]}}
        client.namespaces.create_or_update_network_rule_set(*HERE, rules)
        found = client.namespaces.get_network_rule_set(*HERE).properties
        assert (found.default_action, found.public_network_access) == ("Deny", "Enabled")
        assert [(rule.ip_mask, rule.action) for rule in found.ip_rules] == [("127.0.0.0/8", "Allow")]
        assert list(client.private_endpoint_connections.list(*HERE)) == []
        with pytest.raises(ResourceNotFoundError):
            client.private_endpoint_connections.get(*HERE, "mine")
        client.private_endpoint_connections.begin_delete(*HERE, "mine").result()
        [link] = client.private_link_resources.list(*HERE).value
        assert client.private_link_resources.get(*HERE, "namespace") == link
        assert link.properties.group_id == "namespace"

    await using(world, work, version)
    assert world.namespace.network.default_action == "Deny"


async def test_operations_are_listed_and_errors_are_told_as_the_library_tells_them(world: World) -> None:
    operations = await using(world, lambda client: list(client.operations.list()))
    assert "Microsoft.Relay/namespaces/hybridConnections/write" in {each.name for each in operations}
    with pytest.raises(ClientAuthenticationError, match="InvalidAuthenticationToken"):
        await using(world, lambda client: client.namespaces.get(*HERE), token="another-token-altogether")
    with pytest.raises(HttpResponseError, match="2021-11-01") as refused:
        await using(world, lambda client: client.namespaces.get(*HERE), version="2020-01-01")
    assert refused.value.error is not None
    assert refused.value.error.code == "NoRegisteredProviderFound"
    assert "TrackingId:" in (refused.value.error.message or "")


async def test_connection_strings_open_the_data_plane_as_they_are(
    world: World, node: StartNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the namespace and of one hybrid connection, with the Python SDK and with the two modules for Node."""
    monkeypatch.setenv("FANWAY_CA", str(world.ca))

    def provision(client: RelayAPIMgmtClient) -> tuple[str, str, str]:
        client.hybrid_connections.create_or_update(*HERE, "hyco", {})
        rights = {"properties": {"rights": ["Listen", "Send"]}}
        client.hybrid_connections.create_or_update_authorization_rule(*HERE, "hyco", "app", rights)
        keys = client.hybrid_connections.list_keys(*HERE, "hyco", "app")
        of_namespace = client.namespaces.list_keys(*HERE, "RootManageSharedAccessKey")
        return of_namespace.primary_connection_string, keys.primary_connection_string, keys.secondary_connection_string

    for text in await using(world, provision):
        async with fanway.connect(connection_string=text) as relay:

            @relay.listen("hyco")
            async def hyco(request: fanway.Request) -> str:
                return f"heard {(await request.read()).decode()}"

            await relay.listening()
            assert (await relay.ask("hyco", "it")).text == "heard it"
        for module in ("https", "ws"):
            program = await node("connection_string", ca=world.ca, text=text, entity="hyco", module=module)
            assert (await program.expect("heard"))["text"] == "through the relay"
            await program.kill()


async def test_the_string_of_a_namespace_that_was_just_made_opens_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its host is `NAME.localhost`, which not every resolver takes for this machine yet (RFC 6761, 6.3)."""
    monkeypatch.setenv("FANWAY_CA", str(world.ca))
    resolve = socket.getaddrinfo

    def on_this_machine(host: str | bytes, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return resolve("127.0.0.1" if name.endswith(".localhost") else name, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", on_this_machine)

    def provision(client: RelayAPIMgmtClient) -> str:
        client.namespaces.begin_create_or_update("shop", "orders-eu", {"location": "local"}).result()
        client.hybrid_connections.create_or_update("shop", "orders-eu", "hyco", {})
        text = client.namespaces.list_keys("shop", "orders-eu", "RootManageSharedAccessKey").primary_connection_string
        assert text.startswith(f"Endpoint=sb://orders-eu.localhost:{world.tls_port}/;")
        return str(text)

    async def ask(text: str) -> str:
        async with fanway.connect(connection_string=text) as relay:
            relay.listen("hyco")(lambda request: "of orders-eu")
            await relay.listening()
            return (await relay.ask("hyco")).text

    text = await using(world, provision)
    answer = await asyncio.to_thread(lambda: asyncio.run(ask(text)))  # uvloop has a resolver of its own
    assert answer == "of orders-eu"
