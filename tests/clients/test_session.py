"""The session against a scripted gateway: receipts, reconnects, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fanway.backoff import Backoff
from fanway.connect import Gateway
from fanway.errors import AuthorizationFailedError, ConnectionLostError, QuotaExceededError, RelayError
from fanway.event import Receipt
from fanway.session import Session
from fanway.token import Credential

EPOCH = "0a1b2c3d"
RECEIPT = Receipt("e1", f"{EPOCH}:1", 3, 2, 1, 0)


@asynccontextmanager
async def session_of(fake: Any) -> AsyncIterator[Session]:
    session = Session(fake.gateway, lambda: Backoff(first=0.01, most=0.01))
    try:
        yield session
    finally:
        await session.close()


async def take(subscription: Any, count: int) -> list[str]:
    return [(await asyncio.wait_for(anext(subscription), 5)).cursor.partition(":")[2] for _ in range(count)]


async def test_a_publish_returns_its_receipt(fake: Any) -> None:
    async def script(line: Any) -> None:
        await line.greet()
        pub = await line.hear("pub")
        assert pub["address"] == "orders/1"
        await line.say(t="ok", r=pub["r"], **RECEIPT._asdict())
        await line.hold()

    fake.scripts = [script]
    async with session_of(fake) as session:
        assert await session.publish({"address": "orders/1"}, b"x", True) == RECEIPT
    assert fake.tokens[0].startswith("SharedAccessSignature sr=")


async def test_a_refusal_is_an_error_with_its_tracking_id(fake: Any) -> None:
    async def script(line: Any) -> None:
        await line.greet()
        pub = await line.hear("pub")
        await line.say(t="err", r=pub["r"], status=403, code="ClaimMissing", message="No Send.", tracking="t-1")
        await line.hold()

    fake.scripts = [script]
    async with session_of(fake) as session:
        with pytest.raises(AuthorizationFailedError, match="No Send") as caught:
            await session.publish({"address": "a"}, b"", True)
    assert (caught.value.tracking_id, caught.value.code, caught.value.status) == ("t-1", "ClaimMissing", 403)


async def test_an_event_too_large_is_refused_here(fake: Any) -> None:
    async def script(line: Any) -> None:
        await line.greet(max_event=4)
        pub = await line.hear("pub")
        await line.say(t="ok", r=pub["r"], **RECEIPT._asdict())
        await line.hold()

    fake.scripts = [script]
    async with session_of(fake) as session:
        with pytest.raises(QuotaExceededError):  # the very first one too
            await session.publish({"address": "a"}, b"12345", True)
        await session.publish({"address": "a"}, b"1234", True)


async def test_a_publish_whose_answer_was_lost_fails_and_is_not_repeated(fake: Any) -> None:
    heard: list[str] = []

    async def script(line: Any) -> None:
        await line.greet()
        heard.append((await line.hear("pub"))["address"])
        line.connection.transport.abort()

    fake.scripts = [script]
    async with session_of(fake) as session:
        with pytest.raises(ConnectionLostError):
            await session.publish({"address": "a"}, b"", True)
    assert heard == ["a"]


async def test_a_publish_with_an_id_whose_answer_was_lost_is_repeated(fake: Any) -> None:
    heard: list[str] = []

    async def lose(line: Any) -> None:
        await line.greet()
        heard.append((await line.hear("pub"))["id"])
        line.connection.transport.abort()

    async def answer(line: Any) -> None:
        await line.greet()
        pub = await line.hear("pub")
        heard.append(pub["id"])
        await line.say(t="ok", r=pub["r"], **{**RECEIPT._asdict(), "duplicate": True})
        await line.hold()

    fake.scripts = [lose, lose, answer]
    async with session_of(fake) as session:
        receipt = await session.publish({"address": "a", "id": "e1"}, b"x", True)
    assert (receipt.duplicate, heard) == (True, ["e1"] * 3)


async def test_a_receipt_of_an_event_that_waits_has_its_time_and_no_cursor(fake: Any) -> None:
    async def script(line: Any) -> None:
        await line.greet()
        pub = await line.hear("pub")
        told = {"id": "e1", "due": "2026-01-31T12:00:00.000Z", "number": 7, "matched": 0, "later": "unknown"}
        await line.say(t="ok", r=pub["r"], **told)
        await line.hold()

    fake.scripts = [script]
    async with session_of(fake) as session:
        receipt = await session.publish({"address": "a", "not_before": 30}, b"x", True)
    assert receipt == Receipt("e1", due="2026-01-31T12:00:00.000Z", number=7)


async def test_after_a_loss_a_subscription_resumes_from_its_last_event(fake: Any) -> None:
    """R01"""
    asked: list[str] = []

    async def first(line: Any) -> None:
        await line.greet()
        asked.append((await line.accept(f"{EPOCH}:0"))["from"])
        await line.event(f"{EPOCH}:1")
        await line.event(f"{EPOCH}:2")
        line.connection.transport.abort()

    async def second(line: Any) -> None:
        await line.greet()
        sub = await line.accept(f"{EPOCH}:2")
        asked.append(sub["from"])
        await line.event(f"{EPOCH}:2", sub=sub["sub"])  # had before
        await line.event(f"{EPOCH}:3", sub=sub["sub"])
        await line.event(f"{EPOCH}:4")
        await line.hold()

    fake.scripts = [first, second]
    async with session_of(fake) as session:
        subscription = await session.subscribe("orders/**", "now", {}).ready()
        assert await take(subscription, 4) == ["1", "2", "3", "4"]
    assert asked == ["now", f"{EPOCH}:2"]


async def test_dropped_before_any_event_it_resumes_from_where_it_was_accepted(fake: Any) -> None:
    """R02"""
    asked: list[str] = []

    async def first(line: Any) -> None:
        await line.greet()
        await line.accept(f"{EPOCH}:9")
        line.connection.transport.abort()

    async def second(line: Any) -> None:
        await line.greet()
        asked.append((await line.accept(f"{EPOCH}:9"))["from"])
        await line.event(f"{EPOCH}:10")
        await line.hold()

    fake.scripts = [first, second]
    async with session_of(fake) as session:
        assert await take(session.subscribe("orders/**", "now", {}), 1) == ["10"]
    assert asked == [f"{EPOCH}:9"]


async def test_one_copy_on_the_wire_reaches_every_subscription_it_matches(fake: Any) -> None:
    async def script(line: Any) -> None:
        await line.greet()
        await line.accept(f"{EPOCH}:0")
        await line.accept(f"{EPOCH}:0")
        await line.event(f"{EPOCH}:1", "orders/1")
        await line.event(f"{EPOCH}:2", "orders/1/x")
        await line.hold()

    fake.scripts = [script]
    async with session_of(fake) as session:
        narrow = session.subscribe("orders/*", "now", {})
        wide = session.subscribe("orders/**", "now", {})
        assert await take(wide, 2) == ["1", "2"]
        assert await take(narrow, 1) == ["1"]


async def test_what_is_for_a_filtered_subscription_is_for_no_other_and_nothing_else_for_it(fake: Any) -> None:
    wanted = {"exact": {"type": "x"}}
    asked: list[Any] = []

    async def script(line: Any) -> None:
        await line.greet()
        numbers = []
        for _ in range(2):
            sub = await line.hear("sub")
            asked.append(sub.get("filter"))
            numbers.append(sub["sub"])
            await line.say(t="ok", r=sub["r"], sub=sub["sub"], relay="orders", cursor=f"{EPOCH}:0")
        marked = numbers[asked.index(wanted)]
        await line.event(f"{EPOCH}:1", "orders/1")
        await line.say(t="gap", relay="orders", from_=f"{EPOCH}:1", to=f"{EPOCH}:2", why="slow")
        await line.say(t="cur", relay="orders", c=f"{EPOCH}:3")
        await line.event(f"{EPOCH}:2", "orders/1", sub=marked)
        await line.event(f"{EPOCH}:4", "orders/1", sub=marked)
        await line.event(f"{EPOCH}:4", "orders/1")
        await line.say(t="cur", relay="orders", sub=marked, c=f"{EPOCH}:9")
        await line.event(f"{EPOCH}:10", "orders/1")
        await line.hold()

    fake.scripts = [script]
    async with session_of(fake) as session:
        plain = session.subscribe("orders/*", "now", {})
        filtered = session.subscribe("orders/*", "now", {"filter": wanted})
        assert await take(plain, 2) == ["1", "4"]
        assert await take(filtered, 2) == ["2", "4"]
        assert await take(plain, 1) == ["10"]
        assert filtered.cursor == f"{EPOCH}:9"


async def test_a_refused_subscription_raises_where_it_is_awaited(fake: Any) -> None:
    async def script(line: Any) -> None:
        await line.greet()
        sub = await line.hear("sub")
        await line.say(t="err", r=sub["r"], status=404, code="EndpointNotFound", message="Endpoint does not exist.")
        await line.hold()

    fake.scripts = [script]
    async with session_of(fake) as session:
        with pytest.raises(RelayError, match="does not exist"):
            await session.subscribe("orders", "now", {}).ready()


async def test_a_revoked_subscription_ends_with_the_gateways_words(fake: Any) -> None:
    async def script(line: Any) -> None:
        await line.greet()
        sub = await line.accept(f"{EPOCH}:0")
        await line.say(t="err", sub=sub["sub"], status=403, code="ClaimMissing", message="Revoked.")
        await line.hold()

    fake.scripts = [script]
    async with session_of(fake) as session:
        with pytest.raises(AuthorizationFailedError, match="Revoked"):
            await asyncio.wait_for(anext(session.subscribe("orders", "now", {})), 5)


async def test_unsubscribing_tells_the_gateway(fake: Any) -> None:
    gone = asyncio.Event()

    async def script(line: Any) -> None:
        await line.greet()
        sub = await line.accept(f"{EPOCH}:0")
        unsub = await line.hear("unsub")
        assert unsub["sub"] == sub["sub"]
        await line.say(t="ok", r=unsub["r"], sub=sub["sub"])
        gone.set()
        await line.hold()

    fake.scripts = [script]
    async with session_of(fake) as session:
        async with await session.subscribe("orders", "now", {}).ready():
            pass
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_good_bye_for_ever_is_not_followed_by_a_return(fake: Any) -> None:
    async def script(line: Any) -> None:
        await line.greet()
        await line.accept(f"{EPOCH}:0")
        await line.say(t="bye", code=1008, reason="The key is gone.", **{"return": False}, after=0)
        await line.connection.close(1008, "The key is gone.")

    fake.scripts = [script]
    async with session_of(fake) as session:
        with pytest.raises(RelayError, match="The key is gone"):
            await asyncio.wait_for(anext(session.subscribe("orders", "now", {})), 5)
    assert len(fake.tokens) == 1


async def test_a_token_is_renewed_before_it_expires(fake: Any) -> None:
    renewed = asyncio.Event()
    fake_clock = 1000.0
    credential = Credential("root", "key", clock=lambda: fake_clock)

    async def script(line: Any) -> None:
        await line.greet(exp=1001)
        await line.accept(f"{EPOCH}:0")
        renew = await line.hear("renew")
        assert renew["token"].startswith("SharedAccessSignature")
        await line.say(t="ok", r=renew["r"], exp=100_000)
        renewed.set()
        await line.hold()

    fake.scripts = [script]
    fake.gateway = Gateway(fake.gateway.url, credential)
    async with session_of(fake) as session:
        session.subscribe("orders", "now", {})
        await asyncio.wait_for(renewed.wait(), 5)


@pytest.mark.parametrize("broken", ["{", "[]", '{"t":"ev"}', '{"t":"ok","r":"x","sub":[]}', '{"t":"bye","after":"x"}'])
async def test_a_broken_message_costs_the_connection_not_the_session(fake: Any, broken: str) -> None:
    async def first(line: Any) -> None:
        await line.greet()
        await line.accept(f"{EPOCH}:0")
        await line.connection.send(broken)
        await line.hold()

    async def second(line: Any) -> None:
        await line.greet()
        await line.accept(f"{EPOCH}:0")
        await line.event(f"{EPOCH}:1")
        await line.hold()

    fake.scripts = [first, second]
    async with session_of(fake) as session:
        assert await take(session.subscribe("orders/**", "now", {}), 1) == ["1"]


async def test_where_nothing_answers_the_error_says_what_to_do(free_port: int) -> None:
    session = Session(Gateway(f"http://127.0.0.1:{free_port}", Credential("root", "key")))
    with pytest.raises(ConnectionLostError, match="fanway serve"):
        await session.publish({"address": "a"}, b"", True)
    await session.close()
