"""Revocations by the API: at once, on everything that is live, kept over a restart, written to the audit log."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from subscribers import Stalled, publish, receive, session, socket, sse
from tokens import EC_KEY, SECRET, public_pem, signed
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from worlds import Listener, Request, World, running_gateway

SETTINGS: dict[str, Any] = {"identity": {"signers": [{"name": "app", "algorithm": "HS256", "key": SECRET}]}}
EVERYTHING = {"manage": ["orders/**", "hyco/**"]}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, **SETTINGS) as running:
        yield running


def auth(token: str) -> dict[str, str]:
    return {"ServiceBusAuthorization": token}


async def revoke(world: World, **body: Any) -> dict[str, Any]:
    answer = await world.client.post("/-/api/revocations", headers=world.auth(), json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def is_good(world: World, token: str) -> bool:
    answer = await world.client.post("/-/events/orders/a", headers=auth(token), content=b"x")
    assert answer.status_code in (202, 401)
    return answer.status_code == 202


async def test_everything_that_lives_on_a_revoked_token_ends_and_nothing_else(world: World) -> None:
    """S15: listener, joined socket, subscriptions, session; with 1008, and before the next event."""
    token, other = signed({"sub": "eve", **EVERYTHING}), signed({"sub": "ada", **EVERYTHING})
    async with AsyncExitStack() as stack:
        listener = await world.listen("hyco", headers=auth(token))
        kept = await world.listen("orders/x")
        joined = await stack.enter_async_context(world.connect("orders/x", additional_headers=auth(token)))
        await joined.send("hello")
        assert await joined.recv() == "hello"
        events = await stack.enter_async_context(sse(world, "orders/**", **auth(token)))
        await events.block()
        bare = await stack.enter_async_context(socket(world, "orders/**", additional_headers=auth(token)))
        peer = await stack.enter_async_context(session(world, additional_headers=auth(token)))
        await peer.subscribe(1, "orders/**")
        mine = await stack.enter_async_context(socket(world, "orders/**", additional_headers=auth(other)))
        await revoke(world, sub="eve")
        assert (await publish(world, "orders/a", "secret", Content_Type="text/plain"))["matched"] == 1
        assert await receive(mine) == "secret"
        assert (await listener.closed())[0] == 1008
        for websocket in (joined, bare, peer.websocket):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    assert "secret" not in str(await receive(websocket))
            assert websocket.close_code == 1008
        assert (await events.block()).event == "bye"
        assert not await is_good(world, token)
        assert await is_good(world, other)
        assert kept.socket.close_code is None


async def test_a_stalled_peer_gets_nothing_of_what_was_queued_for_it(world: World) -> None:
    """S15: its connection is aborted, not closed in good order."""
    token = signed({"sub": "eve", **EVERYTHING})
    stalled = Stalled(world)
    await stalled.ask("orders/**", Accept="application/x-ndjson", ServiceBusAuthorization=token)
    for _ in range(60):
        await publish(world, "orders/a", b"x" * 16384)
    loop = asyncio.get_running_loop()
    await revoke(world, sub="eve")
    received = b""
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(10):
            while data := await loop.sock_recv(stalled.socket, 65536):
                received += data
    assert b"fanway.bye" not in received
    assert not received.endswith(b"0\r\n\r\n")
    assert len(received) < 60 * 16384


async def test_an_answer_that_still_streams_is_cut(world: World) -> None:
    """S15: relayed requests too; what a token's expiry would not end, its revocation does."""

    async def stream(_: Listener, request: Request, body: bytes, peer: ClientConnection) -> None:
        head = {"requestId": request["id"], "statusCode": 200, "responseHeaders": {}, "body": True}
        await peer.send(json.dumps({"response": head}))

        async def pieces() -> AsyncIterator[bytes]:
            yield b"first"
            await asyncio.Event().wait()

        await peer.send(pieces())

    await world.listen("hyco", on_request=stream)
    token = signed({"sub": "eve", "ask": ["hyco"], "exp": int(world.clock()) + 60})
    async with world.client.stream("GET", "/hyco", headers=auth(token)) as answer:
        body = answer.aiter_raw()
        assert await anext(body) == b"first"
        world.clock.offset += 3600
        for live in list(world.gateway.context.lives):
            live.review()
        await revoke(world, sub="somebody else")
        assert len(world.gateway.context.lives) == 2
        await revoke(world, sub="eve")
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(body)


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ({"jti": "1"}, [True, False, False]),
        ({"sub": "ada"}, [True, True, False]),
        ({"sub": "ada", "issuer": "app"}, [True, False, False]),
        ({"sub": "ada", "issuer": "shop"}, [False, True, False]),
        ({"jti": "1", "issuer": "shop"}, [False, False, False]),
        ({"all": True}, [True, True, True]),
        ({"all": True, "before": "2020-01-01T00:00:00Z"}, [False, False, True]),
        ({"sub": "bob", "until": "2020-01-01T00:00:00Z"}, [False, False, False]),
    ],
)
async def test_what_is_named_is_revoked(world: World, body: dict[str, Any], refused: list[bool]) -> None:
    tokens = [
        signed({"sub": "ada", "jti": "1", **EVERYTHING}),
        signed({"sub": "ada", "iss": "shop", **EVERYTHING}),
        signed({"sub": "bob", "iat": ..., **EVERYTHING}),  # does not say when it was issued
    ]
    assert [await is_good(world, token) for token in tokens] == [True, True, True]
    await revoke(world, **body)
    assert [not await is_good(world, token) for token in tokens] == refused
    assert await is_good(world, world.token()), "signatures of rules do not say when they were made"


async def test_rules_and_single_tokens_are_revoked_until_that_is_taken_back(world: World) -> None:
    token, ruled = world.token(), world.token("ruled", rule="sender", key="sender-key")
    digest = hashlib.sha256(ruled.encode()).hexdigest()
    for body, query in (
        ({"token": digest}, {"kind": "token", "value": digest}),
        ({"rule": "SENDER", "relay": "Ruled"}, {"kind": "rule", "value": "ruled/sender"}),
    ):
        post = {"url": "/-/events/ruled/a", "content": b"x", "headers": auth(ruled)}
        assert (await world.client.post(**post)).status_code == 202
        await revoke(world, **body)
        answer = await world.client.post(**post)
        assert (answer.status_code, answer.json()["error"]["message"]) == (401, "The token has been revoked.")
        listed = (await world.client.get("/-/api/revocations", headers=auth(token))).json()["revocations"]
        assert [(each["kind"], each["value"]) for each in listed] == [(query["kind"], query["value"])]
        for status in (204, 404):
            answer = await world.client.delete("/-/api/revocations", params=query, headers=auth(token))
            assert answer.status_code == status
        assert (await world.client.post(**post)).status_code == 202


async def test_revocations_outlive_the_gateway(tmp_path: Path) -> None:
    token = signed({"sub": "eve", **EVERYTHING})
    async with running_gateway(tmp_path, **SETTINGS) as world:
        await revoke(world, sub="eve", reason="left the company")
        await revoke(world, jti="gone", until="2020-01-01T00:00:00Z")
    async with running_gateway(tmp_path, **SETTINGS) as world:
        assert not await is_good(world, token)
        listed = (await world.client.get("/-/api/revocations", headers=world.auth())).json()["revocations"]
        assert [(each["kind"], each["reason"]) for each in listed] == [("sub", "left the company")]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"jti": "1", "sub": "2"},
        {"all": False},
        {"all": True, "issuer": "x"},
        {"sub": "1", "relay": "x"},
        {"sub": ""},
        {"sub": "x" * 1025},
        {"token": "not a hash"},
        {"sub": "1", "before": "yesterday"},
        {"sub": "1", "before": "2026-01-01T00:00:00"},
        {"sub": 1},
        {"sub": "1", "unknown": 1},
        [],
    ],
)
async def test_a_bad_revocation_is_refused_and_leaves_nothing(world: World, body: Any) -> None:
    answer = await world.client.post("/-/api/revocations", headers=world.auth(), json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadRequest")
    assert not world.namespace.revocations


async def test_revoking_needs_manage_on_the_whole_namespace(world: World) -> None:
    for token, status in ((signed({"sub": "x", **EVERYTHING}), 403), (world.token("orders"), 403), ("x", 401)):
        answer = await world.client.post("/-/api/revocations", headers=auth(token), json={"sub": "1"})
        assert answer.status_code == status


async def test_changes_are_written_to_the_audit_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fanway.audit")
    await revoke(world, sub="eve\n\x1b[31m", issuer="shop")
    answer = await world.client.put("/-/api/relays/fresh", headers=world.auth(), json={})
    await world.client.get("/-/api/relays", headers=world.auth())
    await world.client.put("/-/api/relays/other", headers=auth("nonsense"), json={})
    lines = [record.getMessage() for record in caplog.records if record.name == "fanway.audit"]
    assert len(lines) == 2
    who = "rule rootmanagesharedaccesskey: "
    assert lines[0].startswith(who + r"POST /-/api/revocations (revoked sub eve\n\x1b[31m shop): 201 at 127.0.0.1:")
    assert lines[1].startswith(who + "PUT /-/api/relays/fresh: 201 at 127.0.0.1:")
    assert " from 127.0.0.1 (" in lines[1]
    assert answer.headers["trackingid"] in lines[1]


def respelled(token: str) -> list[str]:
    """The same signature of a rule in other words: each of them is as good as the first."""
    scheme, _, text = token.partition(" ")
    fields = text.split("&")
    signature = next(field for field in fields if field.startswith("sig="))
    bare = "sig=" + unquote(signature[4:])
    return [
        f"{scheme.lower()} {text}",
        f"{scheme} {'&'.join(reversed(fields))}",
        f"{scheme} {text}&x=1",
        f"{scheme} {text.replace(signature, bare)}",
        f"{scheme} {text.replace(signature, 'sig=' + bare[4:].replace('=', '%3d'))}",
        f"{scheme} {text.replace('skn=Root', 'skn=root')}",
    ]


async def test_a_revoked_signature_is_not_good_in_other_words(world: World) -> None:
    token = world.token()
    spellings = respelled(token)
    assert [await is_good(world, each) for each in spellings] == [True] * len(spellings)
    await revoke(world, token=hashlib.sha256(token.encode()).hexdigest())
    other = world.token(seconds=1800)
    assert [await is_good(world, each) for each in (token, *spellings)] == [False] * (len(spellings) + 1)
    assert await is_good(world, other)


async def test_a_revoked_token_of_an_elliptic_key_is_not_good_with_the_other_signature(tmp_path: Path) -> None:
    """For each signature (r, s) by such a key, (r, n - s) is one too, and anybody can work it out."""
    signer = {"name": "app", "algorithm": "ES256", "key": public_pem(EC_KEY).decode()}
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    async with running_gateway(tmp_path, identity={"signers": [signer]}) as world:
        token = signed(EVERYTHING, EC_KEY, "ES256")
        head, _, signature = token.rpartition(".")
        raw = base64.urlsafe_b64decode(signature + "==")
        twin = raw[:32] + (order - int.from_bytes(raw[32:])).to_bytes(32)
        other = f"{head}.{base64.urlsafe_b64encode(twin).rstrip(b'=').decode()}"
        assert [await is_good(world, each) for each in (token, other)] == [True, True]
        await revoke(world, token=hashlib.sha256(token.encode()).hexdigest())
        assert [await is_good(world, each) for each in (token, other)] == [False, False]


@pytest.mark.parametrize("name", ["jti", "token"])
async def test_a_single_token_is_revoked_whatever_the_clock_of_its_issuer_said(world: World, name: str) -> None:
    token = signed({"jti": "1", "iat": int(time.time()) + 50, **EVERYTHING})
    assert await is_good(world, token)
    await revoke(world, **{name: "1" if name == "jti" else hashlib.sha256(token.encode()).hexdigest()})
    assert not await is_good(world, token)
