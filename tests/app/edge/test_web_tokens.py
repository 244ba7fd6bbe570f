"""JSON Web Tokens at every door: of a backend that signs them itself, and of a provider whose keys are fetched."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from subscribers import publish, receive, session, socket, sse
from tokens import AUDIENCE, OTHER_RSA_KEY, RSA_KEY, SECRET, Provider, jwk, part, running_provider, signed
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


async def test_bodies_and_pipelined_requests_wait_with_the_call_that_is_held(world: World, provider: Provider) -> None:
    await world.listen("hyco")
    provider.gate.clear()
    token = provider.token(roles=["Azure Relay Sender"])
    large = asyncio.ensure_future(world.client.post("/hyco", headers=auth(token), content=b"x" * 3_000_000))
    wire = await world.raw()
    head = f"Host: {world.host}\r\nServiceBusAuthorization: {token}\r\n"
    for number in range(3):
        body = f"body {number}"
        await wire.send(f"POST /hyco HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}")
    while not provider.asked:  # noqa: ASYNC110
        await asyncio.sleep(0)
    provider.gate.set()
    assert [(await wire.answer())[2] for _ in range(3)] == [b"body 0", b"body 1", b"body 2"]
    assert (await large).content == b"x" * 3_000_000


async def test_who_leaves_while_its_call_is_held_is_forgotten(world: World, provider: Provider) -> None:
    provider.gate.clear()
    token = provider.token(roles=["Azure Relay Owner"])
    head = f"Host: {world.host}\r\nServiceBusAuthorization: {token}\r\n"
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    upgrade += f"Sec-WebSocket-Key: {'A' * 22}==\r\n"
    for path, more in (("/-/events/orders?wait=0", ""), ("/$hc/shop?sb-hc-action=listen", upgrade)):
        wire = await world.raw()
        await wire.send(f"GET {path} HTTP/1.1\r\n{head}{more}\r\n")
        while not provider.asked:  # noqa: ASYNC110
            await asyncio.sleep(0)
        wire.abort()
    provider.gate.set()
    assert (await world.client.get("/-/events/orders?wait=0", headers=auth(token))).status_code == 200
    while world.gateway.context.connections > 1:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert not world.gateway.context.lives
    assert not world.gateway.context.counters["faults"]


async def test_an_issuer_that_cannot_be_reached_is_503_and_not_401(world: World, provider: Provider) -> None:
    """A good token must not look bad because somebody else is away."""

    async def leave(_: Provider, path: str, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    provider.answer = leave
    headers = auth(provider.token(roles=["Azure Relay Owner"]))
    answer = await world.client.post("/-/events/orders/a", headers=headers, content=b"x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "IssuerUnreachable")
    assert int(answer.headers["retry-after"]) > 0
    with pytest.raises(InvalidStatus) as refused:
        await world.connect("hyco", additional_headers=headers)
    assert refused.value.response.status_code == 503


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


BAD = [
    "a.b.c",
    f"{part({'alg': 'none'})}.{part({'exp': 9_999_999_999, 'publish': ['orders/**']})}.{part('x')}",
    signed({"publish": ["orders/**"]}, OTHER_RSA_KEY, "RS256"),
    signed({"publish": ["orders/**"]}, RSA_KEY, "RS256", kid="../../../etc/passwd"),
    signed({"publish": ["orders/**"]}, SECRET, crit=["x"], x=1),
    signed({"publish": ["orders/**"]}, SECRET + "!"),
    signed({"publish": ["orders/**"], "exp": "soon"}),
    signed({"publish": ["orders/**"], "iss": "http://169.254.169.254/"}, OTHER_RSA_KEY, "RS256"),
    signed({"publish": ["orders/**"], "x": "y" * 14_000}),
    "SharedAccessSignature sr=x&sig=y&se=1&skn=z",
    "nonsense",
]


async def test_bad_tokens_of_every_kind_get_answers_of_one_shape(world: World) -> None:
    """S10, S12: nothing tells more of one than of another, at our doors and at Azure's."""
    shapes, words = set(), set()
    for token in BAD:
        ours = await world.client.post("/-/events/orders/a", headers=auth(token), content=b"x")
        azures = await world.client.get("/hyco", headers=auth(token))
        if len(token) > 16_384:
            assert ours.status_code == azures.status_code == 401
        error = ours.json()["error"]
        shapes.add((ours.status_code, *sorted(ours.headers), *sorted(error), error["status"], error["code"]))
        shapes.add((azures.status_code, *sorted(azures.headers), re.sub(r"\n|>[^<]*<", ">...<", azures.text)))
        words.add(error["message"].partition(":")[0])
        assert token not in ours.text + azures.text
        assert "TrackingId:" in azures.text
    assert len(shapes) == 2
    assert words <= {"The token has an invalid signature.", "MalformedToken", "InvalidAudience"}


async def test_what_lives_on_a_key_that_its_issuer_takes_back_ends(world: World, provider: Provider) -> None:
    headers = auth(provider.token(roles=["Azure Relay Owner"]))
    async with socket(world, "orders/**", additional_headers=headers) as peer:
        provider.keys[:] = [jwk(OTHER_RSA_KEY, "new")]
        [keys] = world.gateway.vouchers._keys.values()
        keys._start(0.0)
        await peer.wait_closed()
        assert peer.close_code == 1008
    fresh = provider.token("new", OTHER_RSA_KEY, roles=["Azure Relay Owner"])
    for token, status in ((fresh, 202), (headers["ServiceBusAuthorization"], 401)):
        answer = await world.client.post("/-/events/orders/a", headers=auth(token), content=b"x")
        assert answer.status_code == status


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
