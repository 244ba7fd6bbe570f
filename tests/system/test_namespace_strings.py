"""The connection string that `fanway namespace add` prints, given to each kind of client."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from dotnet import ConnectionString
from dotnet_world import check_meeting
from programs import FANWAY, StartNode, require
from worlds import World, running_gateway

import fanway
from app.namespace import Namespace, Profile
from app.store.settings import RelaySettings
from fanway.cli_namespaces import unresolved
from fanway.connect import parse_connection_string


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, tls=True) as world:
        yield world


async def add_tenant(world: World, *options: str) -> tuple[str, Namespace]:
    """A namespace with the relay `hyco`, and what the command printed for it."""
    command = [FANWAY, "namespace", "add", "tenant", "--data", world.gateway.opened.folder.path, *options]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30, check=True)
    tenant = world.gateway.registry.find_namespace("tenant")
    assert tenant is not None
    await world.gateway.registry.put_relay(tenant, "hyco", RelaySettings(profile=Profile.HYBRID_CONNECTION))
    return done.stdout.strip(), tenant


async def test_a_name_that_the_machine_knows_serves_the_node_modules(secured: World, node: StartNode) -> None:
    """With `--alias localhost`: the string is taken as it is, host and port written into the URI."""
    printed, tenant = await add_tenant(secured, "--alias", "localhost")
    parts = parse_connection_string(printed)
    place = urlsplit(parts["endpoint"]).netloc
    key = {"rule": parts["sharedaccesskeyname"], "key": parts["sharedaccesskey"], "keys": [parts["sharedaccesskey"]]}
    listen, connect = (f"wss://{place}/$hc/hyco?sb-hc-action={action}" for action in ("listen", "connect"))
    listener = await node("ws_listener", ca=secured.ca, uri=listen, **key)
    await listener.expect("listening")
    assert secured.gateway.context.realms[tenant].roster.count("hyco") == 1
    sender = await node(
        "ws_sender",
        ca=secured.ca,
        uri=connect,
        senders=1,
        messages=[{"type": "text", "bytes": 5}],
        close=[1000, "done"],
        **key,
    )
    assert (await sender.expect("echoed"))["same"]
    await listener.stop()

    requests = await node("https_listener", ca=secured.ca, uri=listen, **key)
    await requests.expect("listening")
    asking = await node(
        "https_sender", ca=secured.ca, uri=f"https://{place}/hyco", requests=[{"method": "GET", "path": "/x"}], **key
    )
    assert (await requests.expect("request"))["url"] == "/hyco/x"
    assert (await asking.expect("answered"))["status"] == 200


async def test_a_name_that_the_machine_knows_serves_the_dotnet_sdk(secured: World) -> None:
    printed, _ = await add_tenant(secured, "--alias", "localhost")
    string = ConnectionString.parse(printed).at("hyco")
    await check_meeting(string, string, secured.tls())


async def test_a_name_below_localhost_serves_our_own_clients_and_curl(secured: World) -> None:
    printed, _ = await add_tenant(secured)
    place = urlsplit(parse_connection_string(printed)["endpoint"]).netloc
    assert place == f"tenant.localhost:{secured.tls_port}"
    async with fanway.connect(connection_string=printed, ca=secured.ca) as relay:

        @relay.listen("hyco")
        async def answer(request: fanway.Request) -> str:
            return f"hello {request.headers['host']}"

        await relay.listening()
        assert (await relay.ask("hyco", timeout=10)).text == f"hello {place}"
        token = f"ServiceBusAuthorization: {relay.gateway.token('hyco')}"
        command = [require("curl"), "-s", "--cacert", str(secured.ca), "-H", token, f"https://{place}/hyco"]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30, check=True)
        assert done.stdout == f"hello {place}"


def test_whoever_asks_the_resolver_needs_it_to_know_names_below_localhost() -> None:
    """What `fanway namespace add` says on standard error holds for this machine, whichever way it is."""
    try:
        socket.getaddrinfo("tenant.localhost", 443)
    except OSError:
        assert "/etc/hosts" in unresolved("tenant.localhost", 443)
    else:
        assert unresolved("tenant.localhost", 443) == ""
    assert unresolved("localhost", 443) == ""
