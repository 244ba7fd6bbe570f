"""Sessions, end to end."""

from __future__ import annotations

import asyncio
import json

import pytest
from subscribers import publish, session
from wires import masked
from worlds import World

from app.wire.frames import TEXT


async def test_the_relay_greets_first(world: World) -> None:
    async with session(world) as peer:
        assert list(peer.hi) == ["t", "session", "namespace", "max_event", "max_subs", "heartbeat", "exp"]
        assert (peer.hi["t"], peer.hi["namespace"], peer.hi["heartbeat"]) == ("hi", "default", 15)
        assert peer.hi["exp"] > world.clock()


async def test_a_subscription_is_answered_with_its_cursor_before_any_event(world: World) -> None:
    earlier = await publish(world, "orders/eu")
    async with session(world) as peer:
        answer = await peer.subscribe(7, "orders/**")
        assert answer == {"t": "ok", "r": 1, "sub": 7, "relay": "orders", "cursor": earlier["cursor"]}
        receipt = await publish(world, "orders/eu", '{"a": 1}', Content_Type="application/json", ce_type="made")
        header, payload = await peer.next()
        assert payload == b'{"a": 1}'
        assert header == {
            "t": "ev",
            "a": "orders/eu",
            "c": receipt["cursor"],
            "i": receipt["id"],
            "y": "made",
            "ct": "application/json",
        }


async def test_overlapping_subscriptions_of_one_session_bring_one_copy(world: World) -> None:
    """W02."""
    async with session(world) as peer:
        for sub, pattern in enumerate(("orders/**", "orders/*", "orders/eu")):
            await peer.subscribe(sub, pattern)
        receipt = await publish(world, "orders/eu", "one")
        assert (receipt["matched"], receipt["queued"]) == (1, 1)
        assert (await peer.next())[1] == b"one"
        await publish(world, "orders/eu", "two")
        assert (await peer.next())[1] == b"two"


async def test_one_session_holds_subscriptions_of_many_relays(world: World) -> None:
    async with session(world) as peer:
        assert (await peer.subscribe(1, "orders/**"))["relay"] == "orders"
        assert (await peer.subscribe(2, "SHOP/**"))["relay"] == "shop"
        await publish(world, "orders/a")
        await publish(world, "Shop/a")
        headers = [await peer.header() for _ in range(2)]
        assert [header["a"] for header in headers] == ["orders/a", "shop/a"]


async def test_a_replay_is_told_to_its_subscription_alone(world: World) -> None:
    for number in range(3):
        await publish(world, "orders/eu", str(number))
    async with session(world) as peer:
        await peer.subscribe(1, "orders/**")
        answer = await peer.subscribe(2, "orders/**", from_="start")
        assert (answer["cursor"].endswith(":0"), answer["behind"]) == (True, True)
        replayed = [await peer.next() for _ in range(3)]
        assert [(header["sub"], payload) for header, payload in replayed] == [(2, b"0"), (2, b"1"), (2, b"2")]
        place = await peer.header()
        assert (place["t"], place["sub"], place["c"]) == ("cur", 2, replayed[-1][0]["c"])
        await publish(world, "orders/eu", "live")
        header, payload = await peer.next()
        assert ("sub" in header, payload) == (False, b"live")


async def test_nothing_follows_the_answer_to_unsub(world: World) -> None:
    """W10: what was published before the answer may come before it, nothing comes after."""
    async with session(world) as peer:
        await peer.subscribe(1, "orders/**")
        publishing = asyncio.gather(*(publish(world, "orders/eu", str(number)) for number in range(100)))
        await peer.send("unsub", sub=1)
        while (header := await peer.header())["t"] == "ev":
            pass
        assert (header["t"], header["sub"]) == ("ok", 1)
        await publishing
        assert (await publish(world, "orders/eu"))["matched"] == 0
        r = await peer.send("ping")
        assert await peer.header() == {"t": "pong", "r": r}


async def test_what_was_published_before_unsub_in_the_same_breath_still_comes(world: World) -> None:
    """W10, within one read."""
    async with session(world) as peer:
        await peer.subscribe(1, "orders/**")
        await peer.send("pub", "x", address="orders/eu")
        await peer.send("unsub", sub=1)
        await peer.send("pub", "y", address="orders/eu")
        kinds = [(await peer.header())["t"] for _ in range(4)]
        assert kinds == ["ev", "ok", "ok", "ok"]


async def test_a_denied_subscription_leaves_the_session_alive(world: World) -> None:
    """S05."""
    async with session(world, additional_headers=world.auth("orders/eu")) as peer:
        assert (await peer.subscribe(1, "orders/eu/**"))["t"] == "ok"
        denied = await peer.subscribe(2, "orders/**")
        assert (denied["t"], denied["status"], denied["code"]) == ("err", 403, "ClaimMissing")
        assert denied["tracking"]
        assert (await peer.subscribe(3, "shop/**"))["status"] == 403
        await publish(world, "orders/eu/1", "x")
        assert (await peer.next())[1] == b"x"


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ({"t": "sub", "r": 1, "sub": 1, "pattern": "orders/**", "filter": "g"}, 400),
        ({"t": "sub", "r": 1, "sub": 1, "pattern": "*"}, 400),
        ({"t": "unsub", "r": 1, "sub": 9}, 404),
        ({"t": "pub", "r": 1, "address": "orders/*"}, 400),
        ({"t": "renew", "r": 1, "token": "garbage"}, 401),
        ({"t": "dance", "r": 1}, 400),
    ],
)
async def test_what_is_refused_is_answered_and_the_session_lives(
    world: World, message: dict[str, object], status: int
) -> None:
    async with session(world) as peer:
        await peer.websocket.send(json.dumps(message))
        answer = await peer.header()
        assert (answer["t"], answer["r"], answer["status"]) == ("err", 1, status)
        assert (await peer.publish("orders/eu"))["t"] == "ok"


async def test_a_number_in_use_is_refused(world: World) -> None:
    async with session(world) as peer:
        await peer.subscribe(1, "orders/**")
        assert (await peer.subscribe(1, "orders/eu"))["status"] == 400


@pytest.mark.parametrize(("message", "code"), [("hello", 1007), (b"\xff", 1007), ("{}" + " " * 9000, 1009)])
async def test_a_broken_message_ends_the_session_with_a_goodbye(world: World, message: str | bytes, code: int) -> None:
    async with session(world) as peer:
        await peer.websocket.send(message)
        bye = await peer.header()
        assert (bye["t"], bye["code"], bye["return"]) == ("bye", code, False)
        async with asyncio.timeout(10):
            await peer.websocket.wait_closed()
        assert peer.websocket.close_code == code


async def test_a_publish_without_a_number_asks_no_receipt(world: World) -> None:
    async with session(world) as peer:
        await peer.subscribe(1, "orders/**")
        await peer.websocket.send('{"t":"pub","address":"orders/eu"}\nquiet')
        assert (await peer.next())[1] == b"quiet"
        await peer.websocket.send('{"t":"pub","address":"nowhere/**"}\nloud')
        refused = await peer.header()
        assert (refused["t"], refused["status"], "r" in refused) == ("err", 400, False)


async def test_the_position_is_told_every_heartbeat(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.edge.feeds.socket.HEARTBEAT_SECONDS", 0.01)
    async with session(world) as peer:
        await peer.subscribe(1, "orders/eu")
        receipt = await publish(world, "orders/elsewhere")
        while (beat := await peer.header()) != {"t": "cur", "relay": "orders", "c": receipt["cursor"]}:
            assert beat["t"] == "cur"


async def test_a_renewed_token_keeps_what_it_covers_and_ends_the_rest(world: World) -> None:
    async with session(world) as peer:
        await peer.subscribe(1, "orders/**")
        await peer.subscribe(2, "orders/eu/**")
        r = await peer.send("renew", token=world.token("orders/eu", seconds=7200))
        renewed = await peer.header()
        assert (renewed["t"], renewed["r"]) == ("ok", r)
        assert renewed["exp"] > peer.hi["exp"]
        lost = await peer.header()
        assert (lost["t"], lost["sub"], lost["status"]) == ("err", 1, 403)
        await publish(world, "orders/us", "unseen")
        await publish(world, "orders/eu/1", "seen")
        assert (await peer.next())[1] == b"seen"
        assert (await peer.publish("orders/us"))["status"] == 401


async def test_a_deleted_relay_ends_its_subscriptions_and_no_others(world: World) -> None:
    async with session(world) as peer:
        await peer.subscribe(1, "orders/**")
        await peer.subscribe(2, "shop/**")
        deleted = await world.client.delete("/-/api/relays/orders", headers=world.auth())
        assert deleted.status_code < 300, deleted.text
        lost = await peer.header()
        assert (lost["t"], lost["sub"], lost["status"]) == ("err", 1, 404)
        await publish(world, "shop/a", "still")
        assert (await peer.next())[1] == b"still"


async def test_many_publishes_in_flight_are_all_answered_in_order(world: World) -> None:
    async with session(world) as peer:
        numbers = [await peer.send("pub", str(number), address="orders/eu") for number in range(500)]
        answers = [await peer.header() for _ in range(500)]
        assert [answer["r"] for answer in answers] == numbers
        offsets = [int(answer["cursor"].partition(":")[2]) for answer in answers]
        assert offsets == sorted(set(offsets))


async def test_publishes_of_all_kinds_in_one_read_keep_their_order(world: World) -> None:
    """Headers that come again, ones with a receipt, with a type, with an id, to two relays: as sent, in order."""
    messages = []
    for number in range(40):
        header = {
            0: {"t": "pub", "address": "orders/eu"},
            1: {"t": "pub", "address": "orders/eu", "type": "made"},
            2: {"t": "pub", "r": number, "address": "orders/us"},
            3: {"t": "pub", "address": "shop/eu"},
            4: {"t": "pub", "address": "orders/eu", "id": f"own-{number}"},
        }[number % 5]
        messages.append(json.dumps(header, separators=(",", ":")) + f"\n{number}")
    async with session(world) as watcher, session(world) as peer:
        await watcher.subscribe(1, "orders/**")
        await watcher.subscribe(2, "shop/**")
        frames = b"".join(masked(TEXT, message.encode()) for message in messages)
        peer.websocket.transport.write(frames)
        got = [await watcher.next() for _ in messages]
        seen: dict[str, list[int]] = {"orders": [], "shop": []}
        for header, payload in got:
            number = int(payload)
            seen[header["a"].partition("/")[0]].append(number)
            assert header["a"] == ("orders/us" if number % 5 == 2 else "shop/eu" if number % 5 == 3 else "orders/eu")
            assert header.get("y") == ("made" if number % 5 == 1 else None)
            assert (header["i"] == f"own-{number}") is (number % 5 == 4)
        assert seen["shop"] == [number for number in range(40) if number % 5 == 3]
        assert seen["orders"] == [number for number in range(40) if number % 5 != 3]
        assert len({header["i"] for header, _ in got}) == 40
        assert [(await peer.header())["r"] for _ in range(8)] == list(range(2, 40, 5))


async def test_a_header_that_came_before_is_refused_once_the_token_no_longer_covers_it(world: World) -> None:
    async with session(world) as watcher, session(world) as peer:
        await watcher.subscribe(1, "orders/**")
        await peer.websocket.send('{"t":"pub","address":"orders/us"}\nfirst')
        await peer.websocket.send('{"t":"pub","address":"orders/us"}\nsecond')
        assert [(await watcher.next())[1] for _ in range(2)] == [b"first", b"second"]
        await peer.send("renew", token=world.token("orders/eu", seconds=7200))
        assert (await peer.header())["t"] == "ok"
        await peer.websocket.send('{"t":"pub","address":"orders/us"}\nthird')
        refused = await peer.header()
        assert (refused["t"], refused["status"]) == ("err", 401)
        await peer.websocket.send('{"t":"pub","address":"orders/eu/1"}\nfourth')
        assert (await watcher.next())[1] == b"fourth"


async def test_a_header_that_came_before_follows_its_relay(world: World) -> None:
    async with session(world) as peer:
        for _ in range(2):
            await peer.websocket.send('{"t":"pub","address":"orders/eu"}\nx')
        before = await peer.publish("orders/eu")
        assert before["cursor"].endswith(":3")
        await world.client.delete("/-/api/relays/orders", headers=world.auth())
        await peer.websocket.send('{"t":"pub","address":"orders/eu"}\nx')
        after = await peer.publish("orders/eu")  # to a dynamic relay, which has its own history
        assert after["cursor"].endswith(":2")
        assert after["cursor"][:8] != before["cursor"][:8]


async def test_what_is_wrong_with_a_message_under_a_known_header_is_still_found(world: World) -> None:
    async with session(world) as peer:
        for _ in range(2):
            await peer.websocket.send('{"t":"pub","address":"orders/eu"}\nx')
        await peer.websocket.send('{"t":"pub","address":"orders/eu"}\n' + "x" * (peer.hi["max_event"] + 1))
        assert (await peer.header())["status"] == 413
        peer.websocket.transport.write(masked(TEXT, b'{"t":"pub","address":"orders/eu"}\n\xff'))
        bye = await peer.header()
        assert (bye["t"], bye["code"]) == ("bye", 1007)
