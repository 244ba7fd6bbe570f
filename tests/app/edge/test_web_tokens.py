"""JSON Web Tokens at every door: of a backend that signs them itself, and of a provider whose keys are fetched."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from subscribers import publish, receive, session, socket, sse
from tokens import AUDIENCE, SECRET, Provider, running_provider, signed
from websockets.exceptions import InvalidStatus
from worlds import World, running_gateway

BACKEND = {"signers": [{"name": "backend", "algorithm": "HS256", "key": SECRET}]}


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with running_provider() as running:
        yield running


@pytest.fixture
async def world(tmp_path: Path, provider: Provider) -> AsyncIterator[World]:
    identity = {**BACKEND, "issuers": [{"issuer": provider.url}]}
    async with running_gateway(tmp_path, identity=identity) as running:
        yield running


def auth(token: str) -> dict[str, str]:
    return {"ServiceBusAuthorization": token}


async def statuses(world: World, token: str, path: str = "orders/a") -> list[int]:
    """What the token gets at the doors: publish, subscribe, ask, open, listen."""
    headers = auth(token)
    found = [
        (await world.client.post(f"/-/events/{path}", headers=headers, content=b"x")).status_code,
        (await world.client.get(f"/-/events/{path}?wait=0", headers=headers)).status_code,
        (await world.client.get(f"/{path}", headers=headers)).status_code,
    ]
    for query in ("", "?sb-hc-action=listen"):
        try:
            async with world.connect(f"{path}{query}", additional_headers=headers):
                found.append(101)
        except InvalidStatus as refused:
            found.append(refused.response.status_code)
    return found


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, [403, 403, 403, 403, 403]),  # S07
        ({"publish": ["orders/a"]}, [202, 403, 403, 403, 403]),
        ({"subscribe": ["orders/a"]}, [403, 200, 403, 403, 403]),
        ({"ask": ["orders/*"]}, [403, 403, 404, 403, 403]),
        ({"open": ["orders/**"]}, [403, 403, 403, 404, 403]),
        ({"listen": ["orders/**"]}, [403, 403, 403, 403, 101]),
        ({"send": ["orders/**"]}, [202, 403, 404, 404, 403]),
        ({"manage": ["orders/a/**"]}, [202, 200, 404, 404, 101]),
        ({"publish": ["orders/b"], "subscribe": ["shop/**"], "ask": ["order/**"]}, [403, 403, 403, 403, 403]),
    ],
)
async def test_a_backends_token_does_what_it_lists_and_nothing_else(
    world: World, claims: dict[str, Any], expected: list[int]
) -> None:
    """404 stands for: permitted, but nobody listens."""
    assert await statuses(world, signed({"sub": "42", **claims})) == expected


async def test_a_provider_is_asked_once_and_the_first_call_waits_for_its_keys(world: World, provider: Provider) -> None:
    token = provider.token(roles=["Azure Relay Owner"])
    assert (await world.client.post("/-/events/orders/a", headers=auth(token), content=b"x")).status_code == 202
    other = provider.token(roles=["Azure Relay Sender"], jti="another")
    assert await statuses(world, other) == [202, 403, 404, 404, 403]
    assert provider.asked == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize("door", ["publish", "subscribe", "ask", "open", "listen", "socket", "session", "manage"])
async def test_every_door_holds_the_first_call_until_the_keys_are_there(
    world: World, provider: Provider, door: str
) -> None:
    headers = auth(provider.token(scp="Manage"))
    if door == "publish":
        assert (await world.client.post("/-/events/orders/a", headers=headers, content=b"x")).status_code == 202
    elif door == "subscribe":
        async with sse(world, "orders/**", **headers) as stream:
            assert (await stream.block()).event == "ready"
    elif door == "ask":
        await world.listen("hyco")
        answer = await world.client.post("/hyco", headers=headers, content=b"body")
        assert (answer.status_code, answer.content) == (200, b"body")
    elif door == "open":
        await world.listen("hyco")
        async with world.connect("hyco", additional_headers=headers) as peer:
            await peer.send("hello")
            assert await peer.recv() == "hello"
    elif door == "listen":
        listener = await world.listen("hyco", headers=headers)
        assert (await world.client.get("/hyco", headers=world.auth())).status_code == 200
        assert listener.requests
    elif door == "socket":
        async with socket(world, "orders/**", additional_headers=headers) as peer:
            await publish(world, "orders/a", "x")
            assert await receive(peer) == "x"
    elif door == "session":
        async with session(world, additional_headers=headers) as peer:
            await peer.subscribe(1, "orders/**")
    else:
        assert (await world.client.get("/-/api/relays", headers=headers)).status_code == 200
    assert provider.asked


async def test_a_raw_token_is_taken_wherever_a_token_may_stand(world: World, provider: Provider) -> None:
    token = provider.token(roles=["Azure Relay Sender"])
    for headers in (
        {"ServiceBusAuthorization": token},
        {"ServiceBusAuthorization": f"Bearer {token}"},
        {"Authorization": f"Bearer {token}"},
        {"Authorization": f"bearer  {token}"},
    ):
        for door in ("/-/events/orders/a", "/orders/a"):
            answer = await world.client.post(door, headers=headers, content=b"x")
            assert answer.status_code in (202, 404), answer.text
    answer = await world.client.post(f"/-/events/orders/a?sb-hc-token={token}", content=b"x")
    assert answer.status_code == 202
    assert (await world.client.post(f"/orders/a?sb-hc-token={token}")).status_code == 404


async def test_an_issuer_that_is_not_listed_is_never_asked(world: World, provider: Provider) -> None:
    """S09."""
    async with running_provider() as stranger:
        forged = stranger.token(roles=["Azure Relay Owner"])
        refused = await world.client.post("/-/events/orders/a", headers=auth(forged), content=b"x")
        assert (refused.status_code, stranger.asked, provider.asked) == (401, [], [])
        assert "signature" in refused.json()["error"]["message"]


async def test_the_audience_must_be_the_relays(world: World, provider: Provider) -> None:
    good, bad = (AUDIENCE, AUDIENCE.rstrip("/"), ["x", AUDIENCE]), ("x", [], 7, ["x", 7], {"x": AUDIENCE})
    for audience, status in [(each, 202) for each in good] + [(each, 401) for each in bad]:
        token = provider.token(roles=["Azure Relay Owner"], aud=audience)
        answer = await world.client.post("/-/events/orders/a", headers=auth(token), content=b"x")
        assert answer.status_code == status
        if status == 401:
            assert answer.json()["error"]["message"].startswith("InvalidAudience:")


async def test_errors_have_their_sentences_and_tracking_ids_at_azures_doors(world: World) -> None:
    now = int(world.clock())
    for claims, sentence in (
        ({"exp": now - 301}, "ExpiredToken: The token is expired. Expiration time: '"),
        ({"exp": now + 60, "nbf": now + 600}, "The token is not good yet."),
        ({"exp": ...}, "MalformedToken:"),
        ({"publish": "orders/a"}, "MalformedToken:"),
        ({"publish": ["*"]}, "MalformedToken: 'publish': Not a pattern"),
    ):
        answer = await world.client.get("/hyco", headers=auth(signed(claims)))
        assert answer.status_code == 401
        assert sentence in answer.text
        assert "TrackingId:" in answer.text


async def test_a_listener_renews_with_another_token(world: World) -> None:
    """P13, for JSON Web Tokens."""
    token = signed({"sub": "a", "listen": ["hyco/**"], "exp": int(world.clock()) + 100})
    listener = await world.listen("hyco", headers=auth(token))
    fresh = signed({"sub": "a", "listen": ["hyco/**"], "exp": int(world.clock()) + 10_000})
    await listener.socket.send(json.dumps({"renewToken": {"token": fresh}}))
    await world.client.get("/hyco", headers=world.auth())
    world.clock.offset += 1000
    for live in list(world.gateway.context.lives):
        live.review()
    assert (await world.client.get("/hyco", headers=world.auth())).status_code == 200
    await listener.socket.send(json.dumps({"renewToken": {"token": signed({"listen": ["shop/**"]})}}))
    code, reason = await listener.closed()
    assert code == 1008
    assert "Listen" in str(reason)


async def test_renewing_holds_until_the_keys_of_the_new_token_are_there(world: World, provider: Provider) -> None:
    listener = await world.listen("hyco")
    await listener.socket.send(json.dumps({"renewToken": {"token": provider.token(roles=["Azure Relay Listener"])}}))
    async with session(world) as peer:
        await peer.send("renew", token=provider.token(roles=["Azure Relay Owner"]))
        answer = await peer.header()
        assert answer["t"] == "ok", answer["message"]
    assert (await world.client.get("/hyco", headers=world.auth())).status_code == 200
    [channel] = [live for live in world.gateway.context.lives if hasattr(live, "address")]
    assert channel.grant.bearer is not None
