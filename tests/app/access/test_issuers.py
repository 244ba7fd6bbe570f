"""The keys of a provider: fetched when needed and not more often, whatever it answers and whoever asks."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tokens import EC_KEY, OTHER_RSA_KEY, RSA_KEY, Provider, jwk, respond, running_provider

from app.access.discovery import MAX_BYTES, fetch
from app.access.issuers import MOST_STALE_SECONDS, RETRY_SECONDS, UNKNOWN_KEY_SECONDS, IssuerKeys
from app.access.keyset import Key
from app.access.webtoken import parse_web_token
from app.errors import IssuerUnreachable, KeysPending

REFRESH = 3600.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with running_provider() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def keys(provider: Provider, clock: Clock) -> AsyncIterator[IssuerKeys]:
    opened = IssuerKeys(provider.url, None, lambda url: fetch(url, 2), clock, REFRESH)
    yield opened
    await opened.close()


async def candidates(keys: IssuerKeys, token: str) -> list[Key]:
    """As a door does it: asked again once the keys are there."""
    parsed = parse_web_token(token)
    async with asyncio.timeout(10):
        while True:
            try:
                return keys.candidates(parsed)
            except KeysPending as pending:
                ready = asyncio.Event()
                pending.then(ready.set)
                await ready.wait()


async def test_keys_are_fetched_once_for_all_who_wait(keys: IssuerKeys, provider: Provider) -> None:
    provider.gate.clear()
    waiting = [asyncio.ensure_future(candidates(keys, provider.token())) for _ in range(20)]
    await asyncio.sleep(0)
    provider.gate.set()
    found = await asyncio.gather(*waiting)
    assert {key.id for each in found for key in each} == {"one"}
    assert provider.asked == ["/.well-known/openid-configuration", "/keys"]
    assert [key.id for key in await candidates(keys, provider.token("two", EC_KEY, "ES256"))] == ["two"]
    assert len(provider.asked) == 2


async def test_a_key_that_was_added_is_found(keys: IssuerKeys, provider: Provider, clock: Clock) -> None:
    """Rotation: the first token under the new key waits for it."""
    await candidates(keys, provider.token())
    provider.keys.append(jwk(OTHER_RSA_KEY, "three"))
    token = provider.token("three", OTHER_RSA_KEY)
    assert await candidates(keys, token) == [], "asked a moment ago"
    clock.now += UNKNOWN_KEY_SECONDS
    [key] = await candidates(keys, token)
    assert key.verifies(parse_web_token(token))


async def test_forged_key_ids_do_not_make_the_gateway_ask(keys: IssuerKeys, provider: Provider, clock: Clock) -> None:
    await candidates(keys, provider.token())
    asked = len(provider.asked)
    clock.now += UNKNOWN_KEY_SECONDS
    for kid in ("x", "../../../etc/passwd", "http://127.0.0.1/", "one\x00", "'; DROP TABLE keys", "ONE", " one"):
        assert await candidates(keys, provider.token(kid)) == []
    assert len(provider.asked) == asked + 2, "once, for the first of them"


async def test_a_key_that_was_taken_back_is_good_no_more(keys: IssuerKeys, provider: Provider, clock: Clock) -> None:
    [old] = await candidates(keys, provider.token())
    [curve] = await candidates(keys, provider.token("two", EC_KEY, "ES256"))
    provider.keys[:] = [jwk(OTHER_RSA_KEY, "one"), jwk(EC_KEY, "two")]  # another key under the same name
    clock.now += UNKNOWN_KEY_SECONDS
    await candidates(keys, provider.token("unknown"))
    assert (old.is_withdrawn, curve.is_withdrawn) == (True, False)
    [new] = await candidates(keys, provider.token())
    assert not new.verifies(parse_web_token(provider.token()))
    assert new.verifies(parse_web_token(provider.token("one", OTHER_RSA_KEY)))


async def test_old_keys_serve_while_new_ones_are_fetched_and_when_they_cannot_be(
    keys: IssuerKeys, provider: Provider, clock: Clock
) -> None:
    await candidates(keys, provider.token())
    clock.now += REFRESH + 1

    async def fail(_: Provider, path: str, writer: asyncio.StreamWriter) -> None:
        respond(writer, {}, "500 Internal Server Error")

    provider.answer = fail
    assert [key.id for key in keys.candidates(parse_web_token(provider.token()))] == ["one"]
    clock.now += MOST_STALE_SECONDS
    with pytest.raises(IssuerUnreachable) as refused:
        await candidates(keys, provider.token())
    assert (refused.value.status, refused.value.retry_after) == (503, 2)
    provider.answer = None
    clock.now += RETRY_SECONDS
    assert await candidates(keys, provider.token()), "it is there again"


async def test_a_token_without_key_id_may_be_signed_with_any_key_of_its_kind(
    keys: IssuerKeys, provider: Provider
) -> None:
    found = await candidates(keys, provider.token(kid=None))
    assert [key.id for key in found] == ["one"]


async def redirect(provider: Provider, path: str, writer: asyncio.StreamWriter) -> None:
    respond(writer, b"", "302 Found", f"Location: {provider.url}/elsewhere")


async def oversized(provider: Provider, path: str, writer: asyncio.StreamWriter) -> None:
    respond(writer, b" " * (MAX_BYTES + 1))


async def endless(provider: Provider, path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b" " * 4096)
        await writer.drain()


async def silent(provider: Provider, path: str, writer: asyncio.StreamWriter) -> None:
    await writer.wait_closed()


async def dripping(provider: Provider, path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def bomb(provider: Provider, path: str, writer: asyncio.StreamWriter) -> None:
    respond(writer, gzip.compress(b" " * 10_000_000), "200 OK", "Content-Encoding: gzip")


async def no_http(provider: Provider, path: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n")


async def no_json(provider: Provider, path: str, writer: asyncio.StreamWriter) -> None:
    respond(writer, b"[" * 100_000)


async def leaves(provider: Provider, path: str, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@pytest.mark.parametrize(
    "answer", [redirect, oversized, endless, silent, dripping, bomb, no_http, no_json, leaves], ids=lambda f: f.__name__
)
async def test_whatever_an_issuer_answers_costs_little_and_breaks_nothing(
    provider: Provider, clock: Clock, answer: Any
) -> None:
    provider.answer = answer
    keys = IssuerKeys(provider.url, f"{provider.url}/keys", lambda url: fetch(url, 0.3), clock, REFRESH)
    with pytest.raises(IssuerUnreachable):
        await candidates(keys, provider.token())
    assert provider.asked == ["/keys"], "nothing is followed"
    with pytest.raises(IssuerUnreachable):
        keys.candidates(parse_web_token(provider.token()))
    assert provider.asked == ["/keys"], "and nobody is asked again at once"
    clock.now += RETRY_SECONDS
    provider.answer = None
    assert await candidates(keys, provider.token())
    await keys.close()


@pytest.mark.parametrize(
    "configuration",
    [
        [],
        {},
        {"issuer": "https://other.example", "jwks_uri": "{url}/keys"},
        {"issuer": "{url}/", "jwks_uri": "{url}/keys"},
        {"issuer": "{url}"},
        {"issuer": "{url}", "jwks_uri": 7},
        {"issuer": "{url}", "jwks_uri": "http://169.254.169.254/latest"},
        {"issuer": "{url}", "jwks_uri": "file:///etc/passwd"},
        {"issuer": "{url}", "jwks_uri": "https://user@host.example/keys"},
    ],
    ids=str,
)
async def test_a_configuration_of_no_use_is_refused(keys: IssuerKeys, provider: Provider, configuration: Any) -> None:
    content = json.loads(json.dumps(configuration).replace("{url}", provider.url))

    async def answer(_: Provider, path: str, writer: asyncio.StreamWriter) -> None:
        respond(writer, content if path.startswith("/.well-known") else {"keys": [jwk(RSA_KEY, "one")]})

    provider.answer = answer
    with pytest.raises(IssuerUnreachable):
        await candidates(keys, provider.token())
    assert provider.asked == ["/.well-known/openid-configuration"]


async def test_a_closed_one_asks_nobody(keys: IssuerKeys, provider: Provider) -> None:
    provider.gate.clear()
    with pytest.raises(KeysPending):
        keys.candidates(parse_web_token(provider.token()))
    await keys.close()
    with pytest.raises(IssuerUnreachable):
        keys.candidates(parse_web_token(provider.token()))
