"""Who is there, by the API."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from subscribers import ndjson, session, socket
from worlds import KEY_NAME, World

URL = "/-/api/presence"


async def page(world: World, **query: Any) -> dict[str, Any]:
    answer = await world.client.get(URL, params=query, headers=world.auth())
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_listeners_and_subscribers_are_listed_in_the_order_in_which_they_came(world: World) -> None:
    await world.listen("shop/price", query="&sb-hc-id=7")
    async with socket(world, "orders/**"), session(world) as peer, ndjson(world, "-/sys/presence/**") as stream:
        await peer.subscribe(1, "orders/eu")
        found = await page(world)
        assert (found["listenerCount"], found["subscriptionCount"], found["next"]) == (1, 2, None)
        listener, subscriber, third = found["members"]
        assert subscriber.pop("since").endswith("Z")
        assert subscriber == {
            "kind": "subscriber",
            "id": subscriber["id"],
            "relay": "orders",
            "address": None,
            "pattern": "orders/**",
            "count": 1,
            "transport": "websocket",
            "holder": f"rule {KEY_NAME.lower()}",
            "remoteAddress": "127.0.0.1",
            "listener": None,
            "instance": None,
            "session": None,
            "group": None,
            "durable": None,
        }
        assert (listener["address"], listener["listener"], third["session"]) == ("shop/price", "7", peer.hi["session"])
        told = [(await stream.event())["data"].get("id") for _ in range(5)]
        assert {each["id"] for each in found["members"]} == set(told) - {None}


async def test_a_list_is_read_page_by_page(world: World) -> None:
    async with AsyncExitStack() as stack:
        for number in range(5):
            await stack.enter_async_context(socket(world, f"orders/{number}"))
        await stack.enter_async_context(socket(world, "shop/**"))
        seen: list[str] = []
        after: int | None = 0
        while after is not None:
            found = await page(world, relay="orders", limit=2, after=after)
            assert found["subscriptionCount"] == 5
            assert len(found["members"]) <= 2
            seen += [each["pattern"] for each in found["members"]]
            after = found["next"]
        assert seen == [f"orders/{number}" for number in range(5)]
        assert [each["relay"] for each in (await page(world, kind="subscriber", limit=1000))["members"]][5:] == ["shop"]
        assert (await page(world, kind="listener"))["members"] == []


async def test_it_takes_manage_of_what_is_asked_for(world: World) -> None:
    """S03: a rule of the relay does for the relay, and for nothing else."""
    listener = world.auth("ruled", rule="listener", key="listener-key")
    await world.client.put(
        "/-/api/rules/owner?relay=ruled", json={"rights": ["Manage"], "primaryKey": "own"}, headers=world.auth()
    )
    owner = world.auth("ruled", rule="owner", key="own")
    statuses = {
        (name, path): (await world.client.get(f"{URL}{path}", headers=auth)).status_code
        for name, auth in (("nobody", {}), ("listener", listener), ("owner", owner))
        for path in ("", "?relay=ruled", "?relay=orders")
    }
    assert statuses == {
        ("nobody", ""): 401,
        ("nobody", "?relay=ruled"): 401,
        ("nobody", "?relay=orders"): 401,
        ("listener", ""): 403,
        ("listener", "?relay=ruled"): 403,
        ("listener", "?relay=orders"): 401,
        ("owner", ""): 403,
        ("owner", "?relay=ruled"): 200,
        ("owner", "?relay=orders"): 401,
    }


async def test_what_cannot_be_listed_is_refused(world: World) -> None:
    for query, status in (("relay=nowhere", 404), ("kind=group", 400), ("limit=0", 400), ("limit=1001", 400)):
        answer = await world.client.get(f"{URL}?{query}", headers=world.auth())
        assert answer.status_code == status, query
