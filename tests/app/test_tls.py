"""A gateway's certificates while it runs: a namespace's own, replaced files, names that come."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
from pathlib import Path
from typing import Any

import pytest
from certificates import make_pair, names_of, trusting_client
from programs import FANWAY, running
from websockets.asyncio.client import connect
from worlds import World, running_gateway

from app.config import ConfigurationError, load_settings
from app.tls import check_certificates


async def shown(port: int | None, host: str | None) -> bytes:
    """The certificate (DER) that a gateway shows to who asks for this host."""
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=trusting_client(), server_hostname=host if host else ""
    )
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return certificate


async def until_shown(port: int | None, *names: str) -> None:
    """Wait until the certificate names these hosts."""
    async with asyncio.timeout(10):
        while not set(names) <= set(names_of(await shown(port, None))):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def ask(world: World, server_name: str, host: str, path: str = "/-/health/live") -> str:
    """The status line that a request gets whose connection was made to another host, maybe."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", world.tls_port, ssl=trusting_client(), server_hostname=server_name
    )
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    line = await reader.readline()
    writer.transport.abort()
    return line.decode()


async def test_each_host_and_namespace_has_its_own_certificate(tmp_path: Path) -> None:
    one, two = make_pair(tmp_path / "one", "one.example"), make_pair(tmp_path / "two", "two.example")
    settings: dict[str, Any] = {
        "tls_cert": one.certificate,
        "tls_key": one.key,
        "certificates": {"Tenant": {"cert": two.certificate, "key": two.key}},
    }
    async with running_gateway(tmp_path, tls=True, **settings) as world:
        await world.client.put("/-/api/namespaces/tenant", headers=world.auth())
        assert names_of(await shown(world.tls_port, "default.localhost")) == ["one.example"]
        assert names_of(await shown(world.tls_port, "tenant.localhost")) == ["two.example"]
        assert names_of(await shown(world.tls_port, None)) == ["one.example"]
        assert "ALPN" not in (await ask(world, "tenant.localhost", "tenant.localhost"))


async def test_a_table_alone_suffices(tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "one", "one.example")
    table = {"one.example": {"cert": pair.certificate, "key": pair.key}}
    async with running_gateway(tmp_path, tls=True, dev_tls=False, certificates=table) as world:
        assert names_of(await shown(world.tls_port, "anything.example")) == ["one.example"]


async def test_a_connection_made_to_one_namespace_asks_nothing_of_another(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, tls=True) as world:
        await world.client.put("/-/api/namespaces/tenant", headers=world.auth())
        for host in ("tenant.localhost", "tenant"):
            assert " 421 " in await ask(world, "default.localhost", host)
            assert " 421 " in await ask(world, "default.localhost", host, "/relay")
            assert " 200 " in await ask(world, "tenant.localhost", host)
            assert " 200 " in await ask(world, "nobody.example", host)
        with pytest.raises(Exception, match="421"):
            await connect(
                f"wss://tenant:{world.tls_port}/$hc/hyco",
                host="127.0.0.1",
                ssl=trusting_client(),
                server_hostname="default.localhost",
            )


async def test_connections_outlive_the_certificate_that_they_began_with(tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "one", "old.example")
    async with running_gateway(tmp_path, tls=True, tls_cert=pair.certificate, tls_key=pair.key) as world:
        url = f"wss://localhost:{world.tls_port}/$hc/hyco?sb-hc-action=listen"
        async with connect(url, ssl=trusting_client(), additional_headers=world.auth()) as control:
            fresh = make_pair(tmp_path / "fresh", "renewed.example")
            for old, new in zip(pair, fresh, strict=True):
                new.replace(old)
            world.gateway.reload()
            assert names_of(await shown(world.tls_port, "localhost")) == ["renewed.example"]
            asked = asyncio.create_task(world.client.get("/hyco/x", headers=world.auth()))
            request = json.loads(await control.recv())["request"]
            answer = {"requestId": request["id"], "statusCode": 204, "body": False}
            await control.send(json.dumps({"response": answer}))
            assert (await asked).status_code == 204


async def test_the_development_certificate_names_whatever_its_authority_may(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, tls=True) as world:
        auth = world.auth()
        await world.client.put("/-/api/aliases/demo.localhost", json={"address": "open"}, headers=auth)
        await world.client.put("/-/api/aliases/relay.example", headers=auth)  # beyond the authority's constraints
        await world.client.put("/-/api/aliases/127.0.0.7", headers=auth)
        await world.client.put("/-/api/namespaces/tenant", headers=auth)

        async def names() -> list[str]:
            return names_of(await shown(world.tls_port, "localhost"))

        await until_shown(world.tls_port, "demo.localhost", "tenant.localhost")
        assert "relay.example" not in await names()
        trusting = ssl.create_default_context(cafile=str(world.ca))
        for host in ("tenant.localhost", "demo.localhost", "default.localhost", "localhost", "127.0.0.7"):
            _, writer = await asyncio.open_connection("127.0.0.1", world.tls_port, ssl=trusting, server_hostname=host)
            writer.transport.abort()
    async with running_gateway(tmp_path, tls=True) as world:
        assert {"demo.localhost", "tenant.localhost"} <= set(names_of(await shown(world.tls_port, "localhost")))


async def test_files_are_looked_at_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.tls.LOOK_SECONDS", 0.02)
    pair = make_pair(tmp_path / "one", "old.example")
    async with running_gateway(tmp_path, tls=True, tls_cert=pair.certificate, tls_key=pair.key) as world:
        fresh = make_pair(tmp_path / "fresh", "renewed.example")
        for old, new in zip(pair, fresh, strict=True):
            new.replace(old)
        await until_shown(world.tls_port, "renewed.example")


async def test_sighup_reads_certificates_and_ends_nothing(tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "one", "old.example")
    command = [FANWAY, "serve", "--json", "--listen", "127.0.0.1:0", "--data", tmp_path / "data"]
    async with running(*command, "--tls-cert", pair.certificate, "--tls-key", pair.key) as program:
        port = int((await program.expect("ready"))["tls_url"].rpartition(":")[2])
        fresh = make_pair(tmp_path / "fresh", "renewed.example")
        for old, new in zip(pair, fresh, strict=True):
            new.replace(old)
        os.kill(program.process.pid, signal.SIGHUP)
        await until_shown(port, "renewed.example")
        assert await program.stop() == 0


def test_certificates_that_cannot_be_used_are_found_before_a_start(tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "one", "one.example")
    table = {"one.example": {"cert": pair.certificate, "key": pair.key}}
    check_certificates(load_settings({"certificates": table}))
    broken = {"one.example": {"cert": pair.certificate, "key": tmp_path / "none.pem"}}
    with pytest.raises(ConfigurationError, match=r"none\.pem"):
        check_certificates(load_settings({"certificates": broken}))
    check_certificates(load_settings({"certificates": broken, "tls": False}))
    with pytest.raises(ConfigurationError, match="tls_minimum"):
        load_settings({"tls_minimum": "1.1"})
