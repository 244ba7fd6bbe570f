"""`fanway namespace` and `alias`, and commands in a further namespace, against a whole gateway."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from programs import FANWAY, running
from wires import answering, until
from worlds import World, running_gateway

import fanway
from fanway.cli_namespaces import unresolved


class Shell:
    """The commands, run beside the data folder of a gateway."""

    def __init__(self, data: Path) -> None:
        self.data = data

    async def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = [str(FANWAY), *arguments, "--data", str(self.data)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == status, done.stderr
        return done


@pytest.fixture
async def secured(tmp_path: Path) -> Any:
    async with running_gateway(tmp_path, tls=True) as world:
        yield world


@pytest.fixture
def shell(secured: World) -> Shell:
    return Shell(secured.gateway.opened.folder.path)


async def test_a_namespace_is_added_used_and_removed(secured: World, shell: Shell) -> None:
    added = await shell.run("namespace", "add", "Tenant")
    text = added.stdout.strip()
    assert text.startswith(f"Endpoint=sb://tenant.localhost:{secured.tls_port}/;SharedAccessKeyName=Root")
    assert bool(added.stderr) == bool(unresolved("tenant.localhost", secured.tls_port))
    listed = (await shell.run("namespace", "ls")).stdout.splitlines()
    assert [line.split("\t")[:2] for line in listed] == [["default", "primary"], ["Tenant", "further"]]

    made = await shell.run("relay", "add", "shop", "--namespace", "tenant")
    assert made.stdout == "shop added\n"
    assert "shop" in secured.gateway.registry.find_namespace("tenant").relays  # type: ignore[union-attr]
    await shell.run("status", "--namespace", "nobody", status=1)

    assert (await shell.run("namespace", "rm", "tenant")).stdout == "tenant removed\n"
    assert "Tenant" not in json.loads((shell.data / "connection.json").read_text())["namespaces"]
    assert "cannot be removed" in (await shell.run("namespace", "rm", "default", status=1)).stderr


async def test_our_own_client_meets_itself_by_the_string_that_was_printed(secured: World, shell: Shell) -> None:
    """`tenant.localhost` is found whatever this machine's resolver knows, and its certificate is good."""
    text = (await shell.run("namespace", "add", "tenant")).stdout.strip()
    async with fanway.connect(connection_string=text, ca=secured.ca) as relay:
        relay.listen("shop/price")(answer_with_price)
        relay.listen("shop/echo", sockets=True)(echo)
        await relay.listening()
        assert (await relay.ask("shop/price", timeout=10)).json() == {"eur": 3}
        async with relay.open("shop/echo") as socket:
            await socket.send("ping")
            assert await socket.recv() == "ping"
        async with relay.subscribe("orders/**") as events:
            await events.ready()
            assert (await relay.publish("orders/1", "x")).matched == 1
    assert not secured.namespace.relays.keys() & {"orders/1", "shop/price"}


async def answer_with_price(request: fanway.Request) -> dict[str, int]:
    return {"eur": 3}


async def echo(socket: fanway.Socket) -> None:
    async for message in socket:
        await socket.send(message)


async def test_a_listener_in_a_further_namespace_is_not_in_the_first(secured: World, shell: Shell) -> None:
    await shell.run("namespace", "add", "tenant")
    tenant = secured.gateway.registry.find_namespace("tenant")
    assert tenant is not None
    async with running(FANWAY, "listen", "shop", "--to", "-", "--data", shell.data, "--namespace", "tenant"):
        await until(lambda: secured.gateway.context.realms[tenant].roster.count("shop") == 1)
        await shell.run("ask", "shop", "hello", "--namespace", "tenant")
        assert "no listeners" in (await shell.run("ask", "shop", "hello", status=1)).stderr
        url = f"http://tenant.localhost:{secured.port}"
        await shell.run("ask", "shop", "hello", "--url", url)  # whose key the folder knows as well


async def test_aliases_are_added_listed_and_removed(secured: World, shell: Shell) -> None:
    assert (await shell.run("alias", "add", "demo.localhost", "open")).stdout == "demo.localhost leads to /open\n"
    await shell.run("alias", "add", "relay.example")
    assert (await shell.run("alias", "ls")).stdout == "demo.localhost\t/open\nrelay.example\t/\n"
    listener = await secured.listen("open", on_request=answering(b"hello"))
    assert (await secured.client.get("/x", headers={"Host": "demo.localhost"})).text == "hello"
    assert listener.requests[0]["requestTarget"] == "/open/x"
    await shell.run("alias", "rm", "demo.localhost")
    assert json.loads((await shell.run("alias", "ls", "--json")).stdout) == {"host": "relay.example", "address": ""}
    refused = await shell.run("alias", "add", "no host", status=1)
    assert "host name" in refused.stderr


async def test_a_namespace_with_an_alias_is_told_by_it(secured: World, shell: Shell) -> None:
    added = await shell.run("namespace", "add", "tenant", "--alias", "localhost")
    assert added.stdout.startswith(f"Endpoint=sb://localhost:{secured.tls_port}/;")
    assert added.stderr == ""
    assert (await shell.run("namespace", "ls")).stdout.count("\n") == 2, "the folder's URL holds the address"


def test_a_namespace_is_chosen_at_the_folders_gateway_only(tmp_path: Path) -> None:
    done = subprocess.run(
        [FANWAY, "status", "--url", "http://h", "--key", "k", "--namespace", "n"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--namespace" in done.stderr
