"""The door for `net.tcp`: what is read, who is admitted, and by which fault others are refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from nettcp_peers import Client, preamble
from tokens import SECRET, running_provider, signed
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from wires import until
from worlds import Request, World, rejection, running_gateway

from app.config import ConfigurationError, Deadlines, Limits
from app.namespace import IpRule, NetworkRules
from app.store.settings import NamespaceSettings
from app.wire.azure.headers import NET_TCP_HEADER
from app.wire.nettcp.records import Kind, Record, encode_record

RELAYS = [
    {"name": "calc", "profile": "netTcp", "requiresClientAuthorization": False},
    {"name": "guarded", "profile": "netTcp", "rules": [{"name": "ear", "rights": ["Listen"], "primaryKey": "ear-key"}]},
    {"name": "soap", "profile": "http", "requiresClientAuthorization": False},
]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    deadlines = Deadlines(drain_seconds=0.1, close_seconds=1)
    async with running_gateway(
        tmp_path, relays=RELAYS, nettcp_listen="127.0.0.1:0", deadlines=deadlines, dynamic_relays=False
    ) as running:
        yield running


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[World]:
    """One that waits for nobody long."""
    limits, deadlines = Limits(head_seconds=0.5), Deadlines(accept_seconds=0.5)
    async with running_gateway(
        tmp_path, relays=RELAYS, nettcp_listen="127.0.0.1:0", limits=limits, deadlines=deadlines
    ) as running:
        yield running


def via(world: World, rest: str) -> str:
    return f"net.tcp://127.0.0.1:{world.nettcp_port}/{rest}"


async def fault(world: World, *writes: bytes) -> str:
    """The fault that a client gets who writes this."""
    client = await Client.connect(world)
    for data in writes:
        await client.write(data)
    return await client.fault()


async def waiting(world: World, address: str = "calc") -> tuple[Client, Request]:
    """A client that is held, and what its listener was told of it."""
    told: asyncio.Future[Request] = asyncio.get_running_loop().create_future()

    async def on_accept(accept: Request) -> None:
        told.set_result(accept)

    await world.listen(address, on_accept=on_accept)
    client = await Client.connect(world)
    await client.write(preamble(via(world, address)))
    async with asyncio.timeout(10):
        return client, await told


async def test_a_listener_is_told_of_a_session_as_of_any_socket(world: World) -> None:
    """Listeners' SDKs fail without Host, Sec-WebSocket-Key and Sec-WebSocket-Version."""
    client, accept = await waiting(world)
    headers = accept["connectHeaders"]
    assert headers["Host"] == f"127.0.0.1:{world.nettcp_port}"
    assert headers["Sec-WebSocket-Version"] == "13"
    assert len(headers["Sec-WebSocket-Key"]) == 24
    assert headers[NET_TCP_HEADER] == "1.0"
    host, port = client.writer.get_extra_info("sockname")
    assert accept["remoteEndpoint"] == {"address": host, "port": port}
    assert accept["address"].startswith(f"{world.ws}/$hc/calc?sb-hc-action=accept")


async def test_a_listener_gets_the_preamble_again_and_is_answered_for_nobody(world: World) -> None:
    client, accept = await waiting(world)
    async with connect(accept["address"]) as socket:
        assert await socket.recv() == preamble(via(world, "calc"))
        await socket.send(encode_record(Record(Kind.PREAMBLE_ACK)))
        assert await client.receive() == Record(Kind.PREAMBLE_ACK)
        client.end()


async def test_neither_the_address_nor_the_headers_hold_the_token(world: World) -> None:
    accepts: list[Request] = []

    async def on_accept(accept: Request) -> None:
        accepts.append(accept)
        async with connect(accept["address"]) as socket:
            accepts.append({"preamble": await socket.recv()})

    listener = await world.listen("guarded", on_accept=on_accept)
    client = await Client.connect(world)
    await client.write(preamble(via(world, f"guarded/x?a=1&sb-hc-token={quote(world.token('guarded'), safe='')}")))
    await until(lambda: len(accepts) == 2)
    assert "/$hc/guarded/x?a=1&sb-hc-action=accept" in accepts[0]["address"]
    assert "SharedAccessSignature" not in str(accepts)
    assert accepts[1]["preamble"] == preamble(via(world, "guarded/x?a=1"))
    assert len(listener.accepts) == 1


async def test_an_address_where_nothing_is_provisioned_is_not_found_with_a_token_only(world: World) -> None:
    """Who has no good token learns nothing of what exists."""
    token = quote(world.token(), safe="")
    assert await fault(world, preamble(via(world, f"nowhere?sb-hc-token={token}"))) == "EndpointNotFound"
    assert await fault(world, preamble(via(world, "nowhere"))) == "EndpointAccessDenied"
    assert await fault(world, preamble(via(world, "guarded"))) == "EndpointAccessDenied"


@pytest.mark.parametrize(
    "case", ["no token", "another key", "expired", "another relay's", "without Send", "garbage", "another host's"]
)
async def test_a_session_without_the_right_token_is_denied(world: World, case: str) -> None:
    await world.listen("guarded")
    tokens = {
        "no token": "",
        "another key": world.token("guarded", key="wrong"),
        "expired": world.token("guarded", seconds=-1000),
        "another relay's": world.token("calc"),
        "without Send": world.token("guarded", rule="ear", key="ear-key"),
        "garbage": "SharedAccessSignature garbage",
        "another host's": world.token("guarded").replace("127.0.0.1", "other.example"),
    }
    text = via(world, f"guarded?sb-hc-token={quote(tokens[case], safe='')}")
    assert await fault(world, preamble(text)) == "EndpointAccessDenied"


async def test_without_a_listener_there_is_no_endpoint(world: World) -> None:
    assert await fault(world, preamble(via(world, "calc"))) == "EndpointNotFound"


async def test_the_log_says_where_a_refused_session_led_and_not_by_which_token(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "fanway.edge"):
        text = via(world, f"guarded?sb-hc-token={quote(world.token('guarded', key='wrong'), safe='')}")
        assert await fault(world, preamble(text)) == "EndpointAccessDenied"
    [line] = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert "/$hc/guarded: 401" in line
    assert "Signature" not in line
    assert "_G0" in line


async def test_a_relay_of_another_kind_is_no_endpoint(world: World) -> None:
    await world.listen("soap")
    assert await fault(world, preamble(via(world, "soap"))) == "EndpointNotFound"


@pytest.mark.parametrize("text", ["net.tcp://127.0.0.1", "net.tcp://127.0.0.1/", "http://127.0.0.1/calc", "calc", ""])
async def test_a_via_that_is_no_address_is_no_endpoint(world: World, text: str) -> None:
    assert await fault(world, preamble(text)) == "EndpointNotFound"


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "ConnectionDispatchFailed"),
        (403, "EndpointAccessDenied"),
        (404, "EndpointNotFound"),
        (503, "ServerTooBusy"),
    ],
)
async def test_a_listener_that_rejects_is_a_fault(world: World, status: int, name: str) -> None:
    client, accept = await waiting(world)
    with pytest.raises(InvalidStatus) as gone:
        await connect(rejection(accept["address"], status, "not now"))
    assert gone.value.response.status_code == 410
    assert await client.fault() == name


async def test_a_listener_that_does_not_come_is_a_fault(world: World) -> None:
    client, _ = await waiting(world)
    world.gateway.context.wheel.advance(60)
    assert await client.fault() == "ConnectionDispatchFailed"
    assert not world.gateway.context.rendezvous


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "InvalidRecordSequence"),
        (b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4", "InvalidRecordSequence"),
        (bytes(range(255, 0, -1)), "InvalidRecordSequence"),
        (b"\0\2\0", "UnsupportedVersion"),
        (b"\0\1\0\1\7", "UnsupportedMode"),
        (preamble("net.tcp://h/" + "a" * 10_000), "ViaTooLong"),
        (preamble("net.tcp://h/a", encoding=99), "ContentTypeInvalid"),
        (preamble("net.tcp://h/a", end=False) + preamble("net.tcp://h/b"), "InvalidRecordSequence"),
    ],
    ids=["HTTP", "TLS", "noise", "version", "mode", "via of 10000 bytes", "encoding", "two preambles"],
)
async def test_what_is_no_preamble_is_a_fault(world: World, data: bytes, name: str) -> None:
    assert await fault(world, data) == name
    await until(lambda: world.gateway.context.connections == 0)


async def test_a_preamble_that_drips_is_cut_at_the_deadline(hasty: World) -> None:
    """S39 for this door: one byte at a time does not move the deadline."""
    client = await Client.connect(hasty)

    async def drip() -> None:
        for byte in preamble(via(hasty, "calc")):
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0.2)

    dripping = asyncio.create_task(drip())
    assert await client.fault() == "ConnectionDispatchFailed"
    assert not dripping.done()  # the fault did not wait for the rest
    dripping.cancel()


async def test_a_connection_that_says_nothing_is_cut_too(hasty: World) -> None:
    assert await fault(hasty) == "ConnectionDispatchFailed"


async def test_many_that_say_nothing_hold_up_nobody(world: World) -> None:
    silent = [await Client.connect(world) for _ in range(200)]
    await world.listen("calc")
    client = await Client.connect(world)
    await client.write(preamble(via(world, "calc")))
    assert await client.reader.read(5) == preamble(via(world, "calc"))[:5]  # the listener echoes
    for each in silent:
        each.drop()
    await until(lambda: world.gateway.context.connections < 10)


async def test_a_client_that_leaves_while_it_waits_is_forgotten(world: World) -> None:
    client, accept = await waiting(world)
    client.drop()
    await until(lambda: not world.gateway.context.rendezvous)
    with pytest.raises(InvalidStatus) as refused:
        await connect(accept["address"])
    assert refused.value.response.status_code == 403


async def test_what_a_client_sends_while_it_waits_is_bounded_and_comes_in_order(world: World) -> None:
    client, accept = await waiting(world)
    flood = encode_record(Record(Kind.SIZED_ENVELOPE, bytes(range(256)) * 32768))  # 8 MiB
    client.writer.write(flood)
    [sender] = world.gateway.context.rendezvous.values()
    await until(lambda: len(sender._held) > 4096)  # type: ignore[attr-defined]
    assert len(sender._held) < 10_000  # type: ignore[attr-defined]
    async with connect(accept["address"], max_size=None) as socket:
        data = b""
        while len(data) < len(flood) + len(preamble(via(world, "calc"))):
            message = await socket.recv()
            assert isinstance(message, bytes)
            data += message
        client.end()
    assert data == preamble(via(world, "calc")) + flood


async def test_a_gateway_that_holds_all_it_can_is_too_busy(world: World) -> None:
    world.gateway.context.max_connections = 0
    assert await fault(world) == "ServerTooBusy"


async def test_a_draining_gateway_is_too_busy_for_those_who_wait_and_those_who_come(world: World) -> None:
    world.gateway.context.is_draining = True
    assert await fault(world) == "ServerTooBusy"
    world.gateway.context.is_draining = False
    client, _ = await waiting(world)
    silent = await Client.connect(world)
    stopping = asyncio.create_task(world.gateway.stop())
    assert await client.fault() == "ServerTooBusy"
    assert await silent.fault() == "ServerTooBusy"
    await stopping


async def test_a_session_whose_relay_goes_while_it_waits_is_not_found(world: World) -> None:
    client, _ = await waiting(world)
    await world.client.delete("/-/api/relays/calc", headers=world.auth())
    assert await client.fault() == "EndpointNotFound"


async def test_on_a_host_that_leads_to_an_address_the_via_lies_below_it(hasty: World) -> None:
    answer = await hasty.client.put("/-/api/aliases/calc.example.com", json={"address": "calc"}, headers=hasty.auth())
    assert answer.status_code < 300, answer.text
    listener = await hasty.listen("calc", on_accept=lambda accept: asyncio.sleep(0))
    for text, path in ("net.tcp://calc.example.com", "calc"), ("net.tcp://CALC.example.com:1/line/3", "calc/line/3"):
        client = await Client.connect(hasty)
        await client.write(preamble(text))
        assert await client.fault() == "ConnectionDispatchFailed"
        assert f"/$hc/{path}?" in listener.accepts[-1]["address"]


async def test_a_host_that_is_nobodys_is_not_found(world: World) -> None:
    await world.listen("calc")
    world.gateway.context.hosts._is_loopback = False  # on loopback every name is the one namespace's
    world.gateway.context.hosts.changed()
    assert await fault(world, preamble("net.tcp://elsewhere.example/calc")) == "EndpointNotFound"


async def test_a_door_inside_tls_needs_a_certificate(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nettcp_tls_listen"):
        async with running_gateway(tmp_path, nettcp_tls_listen="127.0.0.1:0"):
            pass


async def test_a_web_token_admits_as_a_signature_does_also_while_keys_are_fetched(tmp_path: Path) -> None:
    async with running_provider() as provider:
        identity = {
            "signers": [{"name": "backend", "algorithm": "HS256", "key": SECRET}],
            "issuers": [{"issuer": provider.url}],
        }
        async with running_gateway(tmp_path, relays=RELAYS, nettcp_listen="127.0.0.1:0", identity=identity) as world:
            await world.listen("guarded")
            for token in (
                provider.token(roles=["Azure Relay Sender"]),
                signed({"sub": "42", "open": ["guarded/**"]}),
            ):
                client = await Client.connect(world)
                data = preamble(via(world, f"guarded?sb-hc-token={token}"))
                await client.write(data[:-1])
                await client.write(data[-1:])
                assert await client.reader.readexactly(3) == data[:3]  # the listener echoes
            for token in (provider.token(roles=["Azure Relay Listener"]), signed({"publish": ["guarded"]})):
                assert (
                    await fault(world, preamble(via(world, f"guarded?sb-hc-token={token}"))) == "EndpointAccessDenied"
                )


async def test_network_rules_hold_for_sessions_that_come_wait_or_run(world: World) -> None:
    """S23 at this door: a stranger gets what a bad token gets, and who is here must leave when the rules change."""
    elsewhere = NetworkRules(default_action="Deny", ip_rules=(IpRule("10.9.0.0/16"),))
    client, accept = await waiting(world)
    async with connect(accept["address"]) as socket:
        assert await socket.recv() == preamble(via(world, "calc"))
        settings = replace(NamespaceSettings.of(world.namespace), network=elsewhere)
        await world.gateway.registry.put_namespace(world.namespace, settings)
        assert await client.rest() == b""
    assert await fault(world, preamble(via(world, "calc"))) == "EndpointAccessDenied"
