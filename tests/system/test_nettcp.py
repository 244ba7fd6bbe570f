"""`net.tcp` clients and services, joined by the gateway and by `fanway listen … --to net.tcp://…`; end to end.

No implementation of the framing can be installed here, so both ends are written from its specification
(`nettcp_peers.py`); the TLS inside is real.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from nettcp_peers import END, TLS, Client, Peer, Service, preamble
from programs import FANWAY, running
from worlds import KEY, KEY_NAME, World, running_gateway

import fanway
from app.wire.nettcp.records import Kind, Mode, Record, encode_record
from fanway.relay import Relay
from fanway.targets import parse_target

RELAYS = [
    {"name": "calc", "profile": "netTcp", "requiresClientAuthorization": False},
    {"name": "guarded", "profile": "netTcp"},
    {"name": "secure", "profile": "netTcp", "requiresClientAuthorization": False, "requiresTransportSecurity": True},
    {"name": "plants", "requiresClientAuthorization": False},
    {"name": "hyco", "profile": "hybridConnection", "requiresClientAuthorization": False},
]
MESSAGE = Kind.SIZED_ENVELOPE
MIB = 1 << 20


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS, nettcp_listen="127.0.0.1:0") as running:
        yield running


@pytest.fixture
async def tls_world(tmp_path: Path) -> AsyncIterator[World]:
    doors = {"nettcp_listen": "127.0.0.1:0", "nettcp_tls_listen": "127.0.0.1:0"}
    async with running_gateway(tmp_path, relays=RELAYS, tls=True, **doors) as running:
        yield running


@contextlib.asynccontextmanager
async def offered(world: World, address: str, service: Service, path: str | None = None) -> AsyncIterator[Service]:
    """The service behind the address, joined by what `fanway listen ADDRESS --to net.tcp://…` runs."""
    async with service.running(), listening(world, address, service, path):
        yield service


@contextlib.asynccontextmanager
async def listening(world: World, address: str, service: Service, path: str | None = None) -> AsyncIterator[Relay]:
    async with fanway.connect(world.url, key_name=KEY_NAME, key=KEY) as relay:
        local = f"net.tcp://127.0.0.1:{service.port}" + (f"/{service.path}" if path is None else path)
        relay.listen_with(address, parse_target(local, address).handlers())
        await relay.listening()
        yield relay


def via(world: World, rest: str, scheme: str = "net.tcp") -> str:
    return f"{scheme}://127.0.0.1:{world.nettcp_port}/{rest}"


async def test_a_session_reaches_the_service_which_sees_its_own_address(world: World) -> None:
    async with offered(world, "calc", Service("Calc", "one:")) as service:
        client = await Client.session(world, via(world, "calc"))
        for number in range(3):
            assert await client.call(b"%d" % number) == Record(MESSAGE, b"one:%d" % number)
        await client.close()
        await service.ended.wait()
    assert service.vias == [service.url]
    assert service.ends == ["end"]


@pytest.mark.parametrize("address", ["calc", "plants/oslo", "hyco"])
async def test_every_relay_that_carries_sockets_carries_sessions(world: World, address: str) -> None:
    async with offered(world, address, Service("Calc")):
        client = await Client.session(world, via(world, address))
        assert await client.call(b"x") == Record(MESSAGE, b"x")


async def test_the_suffix_of_the_via_follows_the_services_own_address(world: World) -> None:
    async with offered(world, "plants/oslo", Service("Calc/line/3"), "/Calc") as service:
        client = await Client.session(world, via(world, "plants/oslo/line/3", "sb"))
        assert await client.call(b"x") == Record(MESSAGE, b"x")
    assert service.vias == [service.url]


async def test_without_a_path_the_service_sees_the_via_that_the_client_wrote(world: World) -> None:
    async with offered(world, "calc", Service("calc/line"), "") as service:
        await Client.session(world, via(world, "calc/line"))
    assert service.vias == [via(world, "calc/line")]


async def test_sessions_are_spread_over_the_services_behind_a_relay_and_stay_where_they_are(world: World) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for name in ("a", "b", "c"):
            await stack.enter_async_context(offered(world, "calc", Service("Calc", name)))
        heard: set[bytes] = set()
        for _ in range(60):  # all miss one of three with a chance of 3 * (2/3)^60
            client = await Client.session(world, via(world, "calc"))
            answers = {await named(client) for _ in range(3)}
            assert len(answers) == 1
            heard |= answers
            await client.close()
        assert heard == {b"a", b"b", b"c"}


async def named(client: Client) -> bytes:
    """Which service answers."""
    record = await client.call(b"?")
    assert record is not None
    assert isinstance(record.value, bytes)
    return record.value[:1]


async def test_large_messages_pass_both_ways_unchanged(world: World) -> None:
    async with offered(world, "calc", Service("Calc")):
        client = await Client.session(world, via(world, "calc"))
        for size in (MIB, 3 * MIB + 1, 1):
            message = os.urandom(size)
            sending = asyncio.create_task(client.send(Record(MESSAGE, message)))
            record = await client.receive()
            await sending
            assert record is not None
            assert isinstance(record.value, bytes)
            assert hashlib.sha256(record.value).digest() == hashlib.sha256(message).digest()
        await client.close()


async def test_a_streamed_call_passes_in_chunks(world: World) -> None:
    async with offered(world, "calc", Service("Calc")):
        client = await Client.session(world, via(world, "calc"), Mode.SINGLETON)
        chunks = Record(Kind.UNSIZED_ENVELOPE, tuple(os.urandom(size) for size in (1, 70_000, 127, 128)))
        await client.send(chunks)
        assert await client.receive() == chunks
        await client.close()


async def test_a_session_that_has_ended_leaves_no_connection_to_begin_another_on(world: World) -> None:
    """WCF's clients pool connections; a new session of theirs may lead elsewhere and must be admitted anew."""
    async with offered(world, "calc", Service("Calc")) as service:
        client = await Client.session(world, via(world, "calc"))
        await client.write(encode_record(END) + preamble(via(world, "guarded")))
        assert await client.receive() == END
        assert await client.receive() is None
        await service.ended.wait()
    assert [record.kind for record in service.received].count(Kind.VIA) == 1


async def test_a_client_that_half_closes_gets_all_that_follows(world: World) -> None:
    """R16."""
    message = os.urandom(MIB)

    async def answer_after_the_end(self: Service, peer: Peer) -> None:
        while await peer.receive():
            pass
        await peer.send(Record(MESSAGE, message))

    async with offered(world, "calc", Service("Calc", on=answer_after_the_end)):
        client = await Client.session(world, via(world, "calc"))
        await client.send(Record(MESSAGE, b"last"))
        client.end()
        assert await client.receive() == Record(MESSAGE, message)
        assert await client.receive() is None


async def test_a_service_that_half_closes_gets_all_that_follows(world: World) -> None:
    heard: list[Record] = []

    async def say_and_listen(self: Service, peer: Peer) -> None:
        await peer.send(Record(MESSAGE, b"first"))
        peer.end()
        while record := await peer.receive():
            heard.append(record)

    async with offered(world, "calc", Service("Calc", on=say_and_listen)) as service:
        client = await Client.session(world, via(world, "calc"))
        assert await client.receive() == Record(MESSAGE, b"first")
        assert await client.receive() is None
        message = Record(MESSAGE, os.urandom(MIB))
        await client.send(message)
        client.end()
        await service.ended.wait()
    assert heard == [message]


async def test_a_client_that_is_lost_resets_the_service(world: World) -> None:
    async with offered(world, "calc", Service("Calc")) as service:
        client = await Client.session(world, via(world, "calc"))
        client.abort()
        await service.ended.wait()
    assert service.ends == ["ConnectionResetError"]


async def test_a_service_that_is_lost_resets_the_client(world: World) -> None:
    async def leave(self: Service, peer: Peer) -> None:
        await peer.receive()
        peer.abort()

    async with offered(world, "calc", Service("Calc", on=leave)):
        client = await Client.session(world, via(world, "calc"))
        await client.send(Record(MESSAGE, b"x"))
        with pytest.raises(ConnectionResetError):
            await client.receive()


async def test_a_client_that_does_not_read_stops_the_service_and_nothing_piles_up(world: World) -> None:
    """R18 in small: what is under way is bounded by the buffers of the system and one read of each hop."""
    total, piece = 96, os.urandom(MIB)
    written = 0
    stalled = asyncio.Event()

    async def flood(self: Service, peer: Peer) -> None:
        nonlocal written
        for _ in range(total):
            try:
                async with asyncio.timeout(1):
                    await peer.send(Record(MESSAGE, piece))
            except TimeoutError:  # it is with the transport, and goes out when there is room
                stalled.set()
                await peer.writer.drain()
            written += 1

    async with offered(world, "calc", Service("Calc", on=flood)):
        client = await Client.session(world, via(world, "calc"))
        await stalled.wait()
        assert written < total // 2
        [sender] = [live for live in world.gateway.context.lives if type(live).__name__ == "StreamSender"]
        assert sender.outflow.backlog() < 2 * MIB  # type: ignore[attr-defined]
        digest = hashlib.sha256()
        for _ in range(total):
            record = await client.receive()
            assert record is not None
            assert isinstance(record.value, bytes)
            digest.update(record.value)
        assert digest.digest() == hashlib.sha256(piece * total).digest()


async def test_a_token_in_the_via_admits_and_goes_no_further(world: World) -> None:
    async with offered(world, "guarded", Service("guarded"), "") as service:
        for key in ("sb-hc-token", "RelayAccessToken"):
            token = quote(world.token("guarded"), safe="")
            await Client.session(world, via(world, f"guarded?{key}={token}"))
            await Client.session(world, via(world, f"guarded?a=1&{key}={token}&b=2"))
    assert service.vias == [via(world, "guarded"), via(world, "guarded?a=1&b=2")] * 2


async def test_a_fault_of_the_service_reaches_the_client(world: World) -> None:
    async with offered(world, "calc", Service("Calc"), "/Other"):
        client = await Client.connect(world)
        await client.write(preamble(via(world, "calc")))
        assert await client.fault() == "EndpointNotFound"


async def test_a_service_that_does_not_run_is_a_fault(world: World) -> None:
    """R17."""
    service = Service("Calc")
    async with service.running():
        pass
    async with listening(world, "calc", service):
        client = await Client.connect(world)
        await client.write(preamble(via(world, "calc")))
        assert await client.fault() == "ConnectionDispatchFailed"


def certificates(world: World) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context and that of a client which trusts it."""
    folder = world.gateway.opened.folder.tls
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem", folder / "server.key")
    return server, world.tls()


async def test_tls_is_upgraded_to_between_client_and_service_and_the_relay_sees_none_of_it(tls_world: World) -> None:
    server, trusting = certificates(tls_world)
    async with offered(tls_world, "calc", Service("Calc", "s:", tls=server)) as service:
        client = await Client.connect(tls_world)
        await client.write(preamble(via(tls_world, "calc"), end=False))
        await client.send(Record(Kind.UPGRADE_REQUEST, TLS))
        assert await client.receive() == Record(Kind.UPGRADE_RESPONSE)
        await client.secure(trusting, "localhost")
        await client.send(Record(Kind.PREAMBLE_END))
        assert await client.receive() == Record(Kind.PREAMBLE_ACK)
        message = os.urandom(MIB // 4)
        assert await client.call(message) == Record(MESSAGE, b"s:" + message)
        await client.send(END)
        assert await client.receive() == END
        client.writer.write(preamble(via(tls_world, "guarded")))  # in the clear, as .NET's pool does it
        assert await client.reader.read() == b""
        await service.ended.wait()
    assert service.vias == [service.url]


async def test_an_upgrade_that_the_service_does_not_know_is_its_fault(world: World) -> None:
    async with offered(world, "calc", Service("Calc")):
        client = await Client.connect(world)
        await client.write(preamble(via(world, "calc"), end=False))
        await client.send(Record(Kind.UPGRADE_REQUEST, "application/negotiate"))
        assert await client.fault() == "UpgradeInvalid"


async def test_a_relay_that_requires_transport_security_takes_sessions_inside_tls_only(tls_world: World) -> None:
    async with offered(tls_world, "secure", Service("Calc", "s:")) as service:
        plain = await Client.connect(tls_world)
        await plain.write(preamble(via(tls_world, "secure")))
        assert await plain.fault() == "EndpointAccessDenied"
        client = await Client.connect(tls_world, tls_world.nettcp_tls_port, tls_world.tls())
        await client.write(preamble("net.tcp://localhost/secure"))
        assert await client.receive() == Record(Kind.PREAMBLE_ACK)
        message = os.urandom(MIB)
        sending = asyncio.create_task(client.send(Record(MESSAGE, message)))
        assert await client.receive() == Record(MESSAGE, b"s:" + message)
        await sending
        await client.close()
        await service.ended.wait()
    assert service.ends == ["end"]


async def test_the_command_makes_a_relay_and_puts_a_service_behind_it(world: World) -> None:
    service = Service("Calc", "c:")
    env = {"FANWAY_URL": world.url, "FANWAY_KEY_NAME": KEY_NAME, "FANWAY_KEY": KEY}
    command = (FANWAY, "listen", "made/here", "--profile", "netTcp", "--client-authorization", "none")
    async with service.running(), running(*command, "--to", service.url, env=env):
        while True:  # until it listens
            client = await Client.connect(world)
            await client.write(preamble(via(world, "made/here")))
            record = await client.receive()
            if record == Record(Kind.PREAMBLE_ACK):
                break
            client.drop()
        assert await client.call(b"x") == Record(MESSAGE, b"c:x")
        assert world.namespace.relays["made/here"].profile == "netTcp"
        await client.close()
