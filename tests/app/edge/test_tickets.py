"""Tickets: had by a token in a header, used in a URL, never more than what is behind them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from subscribers import publish, receive, session, socket, sse
from tokens import SECRET, signed
from websockets.exceptions import ConnectionClosed, InvalidStatus
from worlds import World, running_gateway

from app.access.tickets import Tickets
from app.errors import QuotaExceeded
from app.namespace import Change, Right

SETTINGS: dict[str, Any] = {"identity": {"signers": [{"name": "app", "algorithm": "HS256", "key": SECRET}]}}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, **SETTINGS) as running:
        yield running


async def ask(world: World, token: str | None = None, **body: Any) -> httpx.Response:
    headers = {"Authorization": token or world.token()}
    return await world.client.post("/-/tickets", headers=headers, **({"json": body} if body else {}))


async def test_a_ticket_makes_nothing_that_outlives_it_and_takes_its_part_in_what_is_there(world: World) -> None:
    text = await ticket(world)
    async with session(world, additional_headers={"Authorization": text}) as peer:
        answer = await peer.subscribe(1, "shop/**", durable="workers")
        assert (answer["t"], answer["status"]) == ("err", 403)
        async with session(world) as owner:
            await owner.subscribe(1, "shop/**", durable="workers")
        assert (await peer.subscribe(1, "shop/**", durable="workers"))["t"] == "ok"
    wish = {"sink": "http://127.0.0.1:9/", "protocol": "HTTP", "config": {"pattern": "shop/**"}}
    answer = await world.client.post("/-/api/subscriptions", json=wish, headers={"Authorization": text})
    assert answer.status_code == 403
    assert (await world.client.get("/-/api/subscriptions", headers=world.auth())).json() == {"subscriptions": []}


async def ticket(world: World, token: str | None = None, **body: Any) -> str:
    answer = await ask(world, token, **body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.json()["ticket"])


async def publishing(world: World, text: str, address: str = "orders/a") -> int:
    return (await world.client.post(f"/-/events/{address}?sb-hc-token={text}", content=b"x")).status_code


async def test_a_ticket_opens_every_door_from_a_url(world: World) -> None:
    text = await ticket(world)
    nobody: dict[str, Any] = {"additional_headers": {}}
    assert await publishing(world, text) == 202
    assert (await world.client.get(f"/-/events/orders/a?wait=0&sb-hc-token={text}")).status_code == 200
    async with world.client.stream(
        "GET", f"/-/events/orders?sb-hc-token={text}", headers={"Accept": "text/event-stream"}
    ) as stream:
        assert stream.status_code == 200
    listener = await world.listen("hyco", headers={}, query=f"&sb-hc-token={text}")
    assert (await world.client.get(f"/hyco?x=1&sb-hc-token={text}")).status_code == 200
    assert "ticket" not in str(listener.requests), "it never reaches a listener"
    async with world.connect(f"hyco?sb-hc-action=connect&sb-hc-token={text}", **nobody) as peer:
        await peer.send("hello")
        assert await peer.recv() == "hello"
    assert "ticket" not in str(listener.accepts)
    async with socket(world, f"orders/a?mode=both&sb-hc-token={text}", **nobody) as peer:
        await peer.send("hello")
        assert await receive(peer) == "hello"
    async with session(world, additional_headers={"Authorization": text}) as own:
        await own.subscribe(1, "orders/**")


async def test_a_ticket_can_be_used_for_its_time_only(world: World) -> None:
    answer = (await ask(world, seconds=30)).json()
    assert answer["usable_until"] == pytest.approx(world.clock() + 30, abs=5)
    world.clock.offset += 29
    assert await publishing(world, answer["ticket"]) == 202
    world.clock.offset += 5
    answer = await world.client.post(f"/-/events/orders/a?sb-hc-token={answer['ticket']}", content=b"x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "TokenExpired")
    assert "ticket is expired" in answer.json()["error"]["message"]


async def test_a_ticket_for_one_use_is_used_once(world: World) -> None:
    """S14."""
    text = await ticket(world, once=True)
    assert await publishing(world, text) == 202
    assert await publishing(world, text) == 401
    text = await ticket(world, once=True)
    await world.listen("hyco")
    assert (await world.client.post(f"/hyco?sb-hc-token={text}", content=b"body")).content == b"body"
    assert (await world.client.get(f"/hyco?sb-hc-token={text}")).status_code == 401
    text = await ticket(world, once=True)
    async with socket(world, f"orders/**?sb-hc-token={text}", additional_headers={}) as peer:
        await publish(world, "orders/a", "x")
        assert await receive(peer) == "x"
        with pytest.raises(InvalidStatus):
            await socket(world, f"orders/**?sb-hc-token={text}", additional_headers={})


async def test_a_ticket_does_what_it_is_narrowed_to(world: World) -> None:
    text = await ticket(world, allow={"subscribe": ["orders/eu/*"], "publish": ["orders/a"]})
    assert await publishing(world, text) == 202
    assert await publishing(world, text, "orders/b") == 403
    assert (await world.client.get(f"/-/events/orders/eu/7?wait=0&sb-hc-token={text}")).status_code == 200
    assert (await world.client.get(f"/-/events/orders/eu/*?wait=0&sb-hc-token={text}")).status_code == 200
    assert (await world.client.get(f"/-/events/orders/eu/**?wait=0&sb-hc-token={text}")).status_code == 403
    assert (await world.client.get(f"/hyco?sb-hc-token={text}")).status_code == 403
    assert (await world.client.get(f"/-/api/relays?sb-hc-token={text}")).status_code == 403


@pytest.mark.parametrize(
    ("allow", "status"),
    [
        ({"publish": ["orders/a/b"]}, 201),
        ({"publish": ["orders/a/**"]}, 201),
        ({"publish": ["orders/**"]}, 403),
        ({"publish": ["orders/a/b", "orders/b"]}, 403),
        ({"subscribe": ["orders/a"]}, 403),
        ({"send": ["orders/a"]}, 403),
        ({"manage": ["orders/a"]}, 403),
        ({}, 201),
    ],
)
async def test_a_ticket_never_does_more_than_its_token(world: World, allow: dict[str, Any], status: int) -> None:
    token = signed({"publish": ["orders/a/**"]})
    answer = await ask(world, token, allow=allow)
    assert answer.status_code == status
    if status == 201:
        assert await publishing(world, answer.json()["ticket"], "orders/b") == 403


async def test_what_a_ticket_opened_ends_with_the_token_or_at_the_stated_time(world: World) -> None:
    token = signed({"subscribe": ["orders/**"], "exp": int(world.clock()) + 100})
    plain = (await ask(world, token)).json()
    assert plain["ends_at"] == pytest.approx(world.clock() + 400, abs=5), "with the grace of the token"
    bounded = (await ask(world, token, until=world.clock() + 90)).json()
    assert bounded["ends_at"] == pytest.approx(world.clock() + 90, abs=5)
    texts = [answer["ticket"] for answer in (plain, bounded)]
    one, two = [await socket(world, f"orders/**?sb-hc-token={text}", additional_headers={}) for text in texts]
    world.clock.offset += 95
    for live in list(world.gateway.context.lives):
        live.review()
    async with asyncio.timeout(10):
        await two.wait_closed()
    assert (two.close_code, one.close_code) == (1008, None)
    world.clock.offset += 310
    for live in list(world.gateway.context.lives):
        live.review()
    async with asyncio.timeout(10):
        await one.wait_closed()
    assert one.close_code == 1008


async def test_a_joined_socket_ends_at_the_time_stated_for_its_ticket(world: World) -> None:
    await world.listen("hyco")
    text = await ticket(world, until=world.clock() + 1)
    async with world.connect(f"hyco?sb-hc-token={text}", additional_headers={}) as peer:
        await peer.send("hello")
        assert await peer.recv() == "hello"
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(10):
                await peer.recv()
        assert peer.close_code == 1008


async def test_a_ticket_ends_with_the_rule_or_the_revocation_of_its_token(world: World) -> None:
    ruled = await ticket(world, world.token("ruled", rule="sender", key="sender-key"))
    assert await publishing(world, ruled, "ruled/a") == 202
    relay = world.namespace.relays["ruled"]
    del relay.rules["sender"]
    world.namespace.announce(Change("rule-removed", relay, "sender"))
    assert await publishing(world, ruled, "ruled/a") == 401
    text = await ticket(world, signed({"sub": "eve", "subscribe": ["orders/**"], "publish": ["orders/**"]}))
    async with socket(world, f"orders/**?sb-hc-token={text}", additional_headers={}) as peer:
        answer = await world.client.post("/-/api/revocations", headers=world.auth(), json={"sub": "eve"})
        assert answer.status_code == 201
        await peer.wait_closed()
        assert peer.close_code == 1008
    assert await publishing(world, text) == 401


async def test_a_ticket_is_good_in_its_namespace_only(world: World) -> None:
    """S08."""
    assert (await world.client.put("/-/api/namespaces/other", headers=world.auth(), json={})).status_code == 201
    text = await ticket(world)
    answer = await world.client.post(
        f"/-/events/orders/a?sb-hc-token={text}", content=b"x", headers={"Host": "other.localhost"}
    )
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        b"x",
        b"[]",
        b"null",
        b"[" * 5000,
        b'{"seconds":0}',
        b'{"seconds":-1}',
        b'{"seconds":3601}',
        b'{"seconds":"60"}',
        b'{"seconds":true}',
        b'{"seconds":1e400}',
        b'{"until":1}',
        b'{"until":"soon"}',
        b'{"once":1}',
        b'{"allow":[]}',
        b'{"allow":{"publish":"a"}}',
        b'{"allow":{"publish":[1]}}',
        b'{"allow":{"publish":["**"]}}',
        b'{"allow":{"fly":["a"]}}',
        b'{"more":1}',
    ],
)
async def test_a_bad_wish_is_refused_and_gives_no_ticket(world: World, body: bytes) -> None:
    answer = await world.client.post("/-/tickets", headers=world.auth(), content=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["tracking_id"]
    assert not any(world.gateway.context.authorizer.tickets._held.values())


async def test_tickets_are_not_had_with_a_token_in_the_url_nor_with_a_ticket(world: World) -> None:
    assert (await world.client.post(f"/-/tickets?sb-hc-token={world.token()}")).status_code == 400
    assert (await world.client.post("/-/tickets")).status_code == 401
    assert (await ask(world, "fanway-ticket-nonsense")).status_code == 401
    assert (await ask(world, await ticket(world))).status_code == 403
    assert (await world.client.get("/-/tickets", headers=world.auth())).status_code == 405
    large = await world.client.post("/-/tickets", headers=world.auth(), content=b" " * 70_000)
    assert large.status_code == 413


async def test_pages_of_other_origins_may_ask(world: World) -> None:
    origin = {"Origin": "https://app.example"}
    preflight = await world.client.options(
        "/-/tickets", headers={**origin, "Access-Control-Request-Headers": "authorization"}
    )
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, "*")
    assert preflight.headers["access-control-allow-headers"] == "authorization"
    for headers, status in ((world.auth(), 201), ({}, 401)):
        answer = await world.client.post("/-/tickets", headers={**origin, **headers})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, "*")


async def test_a_stream_that_resumes_with_an_old_ticket_learns_it_as_an_event(world: World) -> None:
    """EventSource gives up on 401; so it gets 200 and `bye`, and its page asks for another ticket."""
    text = await ticket(world, seconds=1)
    cursor = (await publish(world, "orders/a"))["cursor"]
    world.clock.offset += 10
    async with sse(
        world, f"orders/a?sb-hc-token={text}", ServiceBusAuthorization="", **{"Last-Event-ID": cursor}
    ) as old:
        block = await old.block()
        assert block.event == "bye"
        assert "ExpiredToken" in block.data


def test_tickets_are_bounded(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    monkeypatch.setattr("app.access.tickets.MAX_TICKETS", 3)
    now = [1000.0]
    tickets = Tickets(lambda: now[0])
    grant = world.gateway.context.authorizer.authorize(world.token(), world.namespace, None)
    assert grant.rights is Right.MANAGE
    for seconds in (10, 10, 100):
        tickets.issue(grant, 5000, seconds)
    with pytest.raises(QuotaExceeded):
        tickets.issue(grant, 5000, 10)
    now[0] += 11
    tickets.issue(grant, 5000, 10)
    tickets.issue(grant, 5000, 10)
    with pytest.raises(QuotaExceeded):
        tickets.issue(grant, 5000, 10)
