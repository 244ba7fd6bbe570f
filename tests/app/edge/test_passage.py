"""What profiles carry, senders by TLS only, and listeners whose terms clash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from wires import until
from worlds import World, running_gateway

RELAYS = [
    {"name": "web", "profile": "http"},
    {"name": "tcp", "profile": "netTcp"},
    {"name": "safe", "requiresTransportSecurity": True},
    {"name": "safeopen", "requiresTransportSecurity": True, "requiresClientAuthorization": False},
]


@pytest.fixture
async def wcf(tmp_path: Path) -> Any:
    async with running_gateway(tmp_path, relays=RELAYS, tls=True, dev_tls=True) as running:
        yield running


async def refused(world: World, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and reason of an upgrade that is not to be."""
    with pytest.raises(InvalidStatus) as refusal:
        await connect(f"{world.ws}/$hc/{path}", additional_headers={**world.auth(), **(headers or {})})
    answer = refusal.value.response
    return answer.status_code, answer.reason_phrase


async def test_http_carries_requests_and_net_tcp_sockets(wcf: World) -> None:
    web, tcp = await wcf.listen("web"), await wcf.listen("tcp")
    assert (await wcf.client.post("/web/x", content=b"hi", headers=wcf.auth())).content == b"hi"
    async with wcf.connect("tcp") as socket:
        await socket.send(b"hi")
        assert await socket.recv() == b"hi"
    status, reason = await refused(wcf, "web")
    assert (status, "'http' carries requests only" in reason) == (400, True)
    answer = await wcf.client.get("/tcp", headers=wcf.auth())
    assert (answer.status_code, "'netTcp' carries sockets only" in answer.text) == (400, True)
    assert (len(web.requests), len(tcp.accepts), len(web.accepts), len(tcp.requests)) == (1, 1, 0, 0)
    for path in ("web", "tcp"):
        assert (await wcf.client.post(f"/-/events/{path}", content=b"x", headers=wcf.auth())).status_code == 400


async def test_who_may_not_send_learns_nothing_of_profiles(wcf: World) -> None:
    assert (await wcf.client.get("/tcp")).status_code == 401
    assert (await refused(wcf, "web", {"ServiceBusAuthorization": "x"}))[0] == 401


async def test_senders_come_by_tls_where_the_relay_asks_for_it(wcf: World) -> None:
    """Listeners may come without: theirs is another connection."""
    listener = await wcf.listen("safe")
    await wcf.listen("safeopen")
    answer = await wcf.client.get("/safe", headers=wcf.auth())
    assert (answer.status_code, "SslRequired" in answer.text) == (403, True)
    assert (await wcf.client.get("/safeopen")).status_code == 403
    assert (await wcf.client.post("/-/events/safe", content=b"x", headers=wcf.auth())).status_code == 403
    assert (await refused(wcf, "safe"))[0] == 403
    spoofed = {**wcf.auth(), "X-Forwarded-Proto": "https"}
    assert (await wcf.client.get("/safe", headers=spoofed)).status_code == 403
    async with httpx.AsyncClient(base_url=f"https://localhost:{wcf.tls_port}", verify=wcf.tls()) as client:
        assert (await client.get("/safe", headers=wcf.auth())).status_code == 200
        assert (await client.get("/safeopen")).status_code == 200
        assert (await client.post("/-/events/safe", content=b"x", headers=wcf.auth())).status_code == 202
    assert len(listener.requests) == 1


async def test_a_session_publishes_by_tls_too(wcf: World) -> None:
    """What a session by TLS has said before opens nothing to one without."""
    publish = '{"t":"pub","r":1,"address":"safe/x"}\n"hi"'
    bare = '{"t":"pub","address":"safe/x"}\n"hi"'
    for url, context in ((f"wss://localhost:{wcf.tls_port}", wcf.tls()), (wcf.ws, None)):
        async with connect(
            f"{url}/-/events",
            additional_headers=wcf.auth(),
            subprotocols=["fanway.v1"],
            ssl=context,  # type: ignore[list-item]
        ) as session:
            await session.recv()
            await session.send(bare)
            await session.send(bare)
            await session.send(publish)
            answers = [await session.recv() for _ in range(1 if context else 3)]
            expected = '"t":"ok"' if context else '"status":403'
            assert all(expected in str(answer) for answer in answers), answers


async def test_a_trusted_proxy_says_how_the_sender_came(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, relays=RELAYS, trusted_proxies=("127.0.0.1",)) as world:
        await world.listen("safe")
        for proto, status in (("https", 200), ("http", 403), ("https, http", 403)):
            answer = await world.client.get("/safe", headers={**world.auth(), "X-Forwarded-Proto": proto})
            assert answer.status_code == status, proto
        assert (await world.client.get("/safe", headers=world.auth())).status_code == 403


async def test_a_listener_states_what_the_relay_shall_be(world: World) -> None:
    headers = {
        **world.auth(),
        "Fanway-Relay-Profile": "http",
        "Fanway-Client-Authorization": "none",
        "Fanway-Transport-Security": "required",
        "Fanway-Discovery": "public",
        "Fanway-Display-Name": "Prices",
    }
    listener = await world.listen("shop2/price", headers=headers)
    relay = world.namespace.relays["shop2/price"]
    assert (relay.profile, relay.is_dynamic, relay.display_name, relay.is_public) == ("http", True, "Prices", True)
    assert (relay.requires_client_authorization, relay.requires_transport_security) == (False, True)
    assert (await world.client.get("/shop2/price")).status_code == 403
    await listener.socket.close()
    await until(lambda: "shop2/price" not in world.namespace.relays)


async def test_terms_that_clash_are_refused(world: World) -> None:
    """As WCF Relay has it: AddressAlreadyInUse. Whoever says nothing takes the relay as it is."""
    await world.listen("alarms", query="&sb-hc-profile=netEvent")
    await world.listen("alarms")
    clashes = {
        "alarms": {"Fanway-Relay-Profile": "netOneway"},
        "alarms/eu": {"Fanway-Relay-Profile": "netEvent"},
        "ALARMS": {"Fanway-Client-Authorization": "none"},
        "alarms/x": {"Fanway-Transport-Security": "required"},
        "hyco": {"Fanway-Relay-Profile": "http"},
    }
    for path, headers in clashes.items():
        status, reason = await refused(world, f"{path}?sb-hc-action=listen", headers)
        assert (status, reason.startswith("AddressAlreadyInUse: ")) == (409, True), path
    assert "alarms/eu" not in world.namespace.relays
    await world.listen("ALARMS", query="&sb-hc-profile=NETEVENT&sb-hc-client-authorization=required")
    for bad in ({"Fanway-Relay-Profile": "udp"}, {"Fanway-Client-Authorization": "maybe"}):
        assert (await refused(world, "alarms?sb-hc-action=listen", bad))[0] == 400


async def test_where_relays_are_provisioned_only_a_rule_may_let_listeners_create_them(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, dynamic_relays=False) as world:
        rule = {"rights": ["Listen", "Send"], "primaryKey": "maker", "createsRelays": True}
        made = await world.client.put("/-/api/rules/maker", json=rule, headers=world.auth())
        assert made.json() == {"name": "maker", "rights": ["Listen", "Send"], "createsRelays": True}
        assert (await refused(world, "alarms?sb-hc-action=listen&sb-hc-profile=netEvent"))[0] == 404
        maker = world.auth(rule="maker", key="maker")
        listener = await world.listen("alarms", headers=maker, query="&sb-hc-profile=netEvent")
        assert (await world.client.post("/alarms", content=b"x", headers=world.auth())).status_code == 202
        await until(lambda: bool(listener.bodies))
        answer = await world.client.post("/-/events/fresh", content=b"x", headers=maker)
        assert answer.status_code == 404  # not by sending
        elsewhere = world.auth("other", rule="maker", key="maker")
        assert (await refused(world, "news?sb-hc-action=listen", elsewhere))[0] == 401
        assert "news" not in world.namespace.relays


async def test_a_relay_whose_first_listener_failed_goes_at_the_next_sweep(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as world:
        realm = world.gateway.context.realms[world.namespace]
        (root,) = [world.gateway.authorizer.authorize(world.token(), world.namespace, None)]
        from app.namespace import Profile, RelayTerms, Right

        realm.find_or_open("alarms", root, Right.LISTEN, RelayTerms(Profile.NET_EVENT))
        realm.sweep()
        assert "alarms" not in world.namespace.relays


async def test_sockets_under_way_keep_a_relay_whose_listener_left(world: World) -> None:
    listener = await world.listen("db", query="&sb-hc-profile=netTcp")
    async with world.connect("db") as socket:
        await socket.send(b"1")
        assert await socket.recv() == b"1"
        await listener.socket.close()
        await until(lambda: not world.gateway.context.realms[world.namespace].roster.count("db"))
        await socket.send(b"2")
        assert await socket.recv() == b"2"
    await until(lambda: "db" not in world.namespace.relays)
