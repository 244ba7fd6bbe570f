"""Connect, accept, reject: how a sender and a listener come to meet."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from wires import frame, until, upgrade_head, upgraded
from worlds import Listener, Request, World, rejection, running_gateway

from app.config import Deadlines, Limits
from app.wire.frames import TEXT

SUFFIXES = {"": "", "?a=1&a=2&": "?a=1&a=2&", "/x%20y/z?b=%2f": "/x%20y/z?b=%2f", "?sb-hc-x=1&c=3": "?c=3"}


async def refusal_of(attempt: Any) -> Any:
    """The response to a handshake that fails."""
    with pytest.raises(InvalidStatus) as caught:
        await attempt
    return caught.value.response


class Visitor:
    """A listener's accept handler that hands the test the command."""

    def __init__(self) -> None:
        self.accepts: asyncio.Queue[Request] = asyncio.Queue()

    async def __call__(self, accept: Request) -> None:
        self.accepts.put_nowait(accept)


async def test_a_listener_learns_all_it_needs_to_come(world: World) -> None:
    """Address, id, headers, endpoint: with every member that some SDK fails without."""
    listener = await world.listen("hyco")
    id = "11111111-2222-3333-4444-555555555555"
    headers = {**world.auth(), "X-CaSe_d": "1", "Cookie": "a=b", "Origin": "http://page"}
    async with world.connect(f"hyco?sb-hc-action=connect&sb-hc-id={id}", additional_headers=headers) as socket:
        local = socket.local_address
    (accept,) = listener.accepts
    assert accept["id"] == f"{id}_G0"
    assert accept["remoteEndpoint"] == {"address": local[0], "port": local[1]}
    sent = accept["connectHeaders"]
    assert {"X-CaSe_d": "1", "Cookie": "a=b", "Origin": "http://page", "Host": world.host}.items() <= sent.items()
    assert {"Sec-WebSocket-Key", "Sec-WebSocket-Version", "Connection", "Upgrade"} <= sent.keys()
    assert "ServiceBusAuthorization" not in sent
    assert all(isinstance(value, str) for value in sent.values())


async def test_the_address_carries_suffix_and_user_query_verbatim(world: World) -> None:
    listener = await world.listen("hyco")
    for given, passed in SUFFIXES.items():
        async with world.connect(f"hyco{given}"):
            url = urlsplit(listener.accepts[-1]["address"])
        path, _, query = f"{url.path}?{url.query}".partition("?")
        user, _, rest = query.partition("sb-hc-action=accept&sb-hc-id=")
        assert url.netloc == world.host
        assert path + (f"?{user}" if user else "") == f"/$hc/hyco{passed}" + ("&" if "?" in passed else "")
        assert all(piece.startswith("sb-hc-") and piece.count("=") == 1 for piece in rest.split("&")[1:])


async def test_an_action_that_is_missing_means_connect(world: World) -> None:
    await world.listen("hyco")
    for path in ("hyco", "hyco?sb-hc-action=CONNECT", "HYCO/x?SB-HC-ACTION=connect"):
        async with world.connect(path) as socket:
            await socket.send("hi")
            assert await socket.recv() == "hi"


async def test_each_place_of_a_token_is_taken_in_its_order(world: World) -> None:
    """P12, S17: the header before the query, that before Authorization, which is consumed only then."""
    listener = await world.listen("hyco")
    good, bad = world.token(), world.token(key="wrong")
    places = [("ServiceBusAuthorization", 0), ("query", 1), ("Authorization", 2)]
    for mask in range(1, 8):
        given = [name for name, bit in places if mask >> bit & 1]
        headers = {name: bad for name in given if name != "query"}
        query = {name: bad for name in given if name == "query"}
        (headers if given[0] != "query" else query)[given[0]] = good
        path = "hyco" + (f"?sb-hc-token={quote(query['query'], safe='')}" if query else "")
        async with world.connect(path, additional_headers=headers):
            command = listener.accepts[-1]
        passed = command["connectHeaders"].get("Authorization")
        assert passed == (bad if "Authorization" in given and given != ["Authorization"] else None), given
        assert "ServiceBusAuthorization" not in command["connectHeaders"]
        assert "sb-hc-token" not in command["address"]
    assert (await refusal_of(world.connect("hyco", additional_headers={}))).status_code == 401


async def test_a_sender_without_right_is_told_so(world: World) -> None:
    await world.listen("ruled")
    listener_only = world.auth("ruled", rule="listener", key="listener-key")
    assert (await refusal_of(world.connect("ruled", additional_headers=listener_only))).status_code == 403
    assert (await refusal_of(world.connect("ruled", additional_headers={}))).status_code == 401


async def test_anyone_may_send_where_the_relay_allows_it(world: World) -> None:
    """A supplied token is stripped, not evaluated; the application's own Authorization passes."""
    listener = await world.listen("open")
    headers = {"ServiceBusAuthorization": "nonsense", "Authorization": "Bearer app"}
    async with world.connect("open", additional_headers=headers) as socket:
        await socket.send("hi")
        assert await socket.recv() == "hi"
    assert listener.accepts[0]["connectHeaders"]["Authorization"] == "Bearer app"
    assert "ServiceBusAuthorization" not in listener.accepts[0]["connectHeaders"]


async def test_nobody_listens(world: World) -> None:
    """P09, T1: the documented status at once, with the sentence in the reason phrase."""
    response = await refusal_of(world.connect("hyco/x"))
    assert response.status_code == 404
    assert response.reason_phrase.startswith("There are no listeners connected for the endpoint. TrackingId:")
    assert f"SystemTracker:sb://{world.host}/hyco/x, Timestamp:" in response.reason_phrase
    response = await refusal_of(world.connect("nowhere"))
    assert (response.status_code, response.reason_phrase[:24]) == (404, "Endpoint does not exist.")


async def test_a_listener_that_never_comes(tmp_path: Path) -> None:
    """P04: 404 at the deadline, after which the rendezvous is 403."""
    visitor = Visitor()
    async with running_gateway(tmp_path, deadlines=Deadlines(accept_seconds=0.1)) as world:
        await world.listen("hyco", on_accept=visitor)
        response = await refusal_of(world.connect("hyco"))
        assert response.status_code == 404
        assert response.reason_phrase.startswith("None of the connected listeners accepted the connection within")
        accept = await visitor.accepts.get()
        assert (await refusal_of(connect(accept["address"]))).status_code == 403


async def test_a_rendezvous_is_good_once(world: World) -> None:
    """P05: the first connection is unharmed."""
    listener = await world.listen("hyco")
    async with world.connect("hyco") as socket:
        assert (await refusal_of(connect(listener.accepts[0]["address"]))).status_code == 403
        await socket.send("hi")
        assert await socket.recv() == "hi"


async def test_a_rendezvous_is_for_its_own_action_and_cannot_be_guessed(world: World) -> None:
    visitor = Visitor()
    await world.listen("hyco", on_accept=visitor)
    sender = asyncio.create_task(world.connect("hyco").__aenter__())
    address = (await visitor.accepts.get())["address"]
    secret = address.rpartition("=")[2]
    assert len(secret) >= 22
    for wrong in (address.replace("=accept", "=request"), address.replace(secret, secret[::-1]), address[:-32]):
        assert (await refusal_of(connect(wrong))).status_code == 403
    async with connect(address) as socket:
        await (await sender).send("hi")
        assert await socket.recv() == "hi"
        await (await sender).close()


@pytest.mark.parametrize(
    ("addition", "status", "reason"),
    [
        (rejection("", 403, "Not today, thanks"), 403, "Not today, thanks"),
        ("&sb-hc-statusCode=418&sb-hc-statusDescription=I+am+a+teapot", 418, "I am a teapot"),
        ("&statusCode=799&statusDescription=So%20be%20it", 799, "So be it"),
        ("&sb-hc-statusCode=404&sb-hc-statusDescription=", 404, "Not Found"),
        ("&sb-hc-statusCode=500", 500, "Internal Server Error"),
        (rejection("", 400, "a\r\nSet-Cookie: bait=1\r\n\r\nHTTP/1.1 200 OK\0"), 400, None),
        (rejection("", 502, "x" * 300 + "é"), 502, "x" * 300 + "é"),
    ],
)
async def test_a_rejection_reaches_the_sender_verbatim(
    world: World, addition: str, status: int, reason: str | None
) -> None:
    """P06, S34: both spellings; the listener's own handshake ends in 410, and one response is on the wire."""
    answers: list[Any] = []

    async def on_accept(accept: Request) -> None:
        answers.append(await refusal_of(connect(accept["address"] + addition)))

    await world.listen("hyco", on_accept=on_accept)
    wire = await world.raw()
    await wire.send(upgrade_head(world, "/$hc/hyco?statusCode=5&statusDescription=mine"))
    answer = (await wire.rest()).decode("latin-1")
    line = answer.split("\r\n")[0]
    assert line.startswith(f"HTTP/1.1 {status} ")
    assert answer.count("HTTP/1.1 " + str(status)) == 1
    assert "\r\nSet-Cookie" not in answer
    assert reason is None or line == f"HTTP/1.1 {status} {reason}"
    await until(lambda: bool(answers))
    assert answers[0].status_code == 410


async def test_a_malformed_rejection_is_the_listeners_fault_and_leaves_the_sender_waiting(world: World) -> None:
    visitor = Visitor()
    await world.listen("hyco", on_accept=visitor)
    sender = asyncio.create_task(world.connect("hyco").__aenter__())
    address = (await visitor.accepts.get())["address"]
    for status in ("99", "1000", "101", "abc", ""):
        assert (await refusal_of(connect(f"{address}&sb-hc-statusCode={status}"))).status_code == 400, status
    async with connect(address):
        await (await sender).close()


async def test_a_senders_own_query_is_no_rejection(world: World) -> None:
    await world.listen("hyco")
    async with world.connect("hyco?statusCode=404&statusDescription=mine") as socket:
        await socket.send("hi")
        assert await socket.recv() == "hi"


async def test_a_sub_protocol_goes_to_both_or_to_neither(world: World) -> None:
    """P17: what the listener chose, nothing it did not; never an extension."""
    chosen: list[str | None] = ["b", None]
    seen: list[str | None] = []

    async def on_accept(accept: Request) -> None:
        choice = chosen.pop(0)
        async with connect(accept["address"], subprotocols=[choice] if choice else None) as socket:  # type: ignore
            seen.append(socket.subprotocol)
            await socket.wait_closed()

    await world.listen("hyco", on_accept=on_accept)
    async with world.connect("hyco", subprotocols=["a", "b"]) as socket:
        assert socket.subprotocol == "b"
        assert "Sec-WebSocket-Extensions" not in socket.response.headers
    async with world.connect("hyco", subprotocols=["a", "b"]) as socket:
        assert socket.subprotocol is None
    await until(lambda: seen == ["b", None])


async def test_a_sub_protocol_that_was_not_offered_fails_both(world: World) -> None:
    visitor = Visitor()
    await world.listen("hyco", on_accept=visitor)
    sender = asyncio.create_task(refusal_of(world.connect("hyco", subprotocols=["a"])))
    address = (await visitor.accepts.get())["address"]
    assert (await refusal_of(connect(address, subprotocols=["z"]))).status_code == 502  # type: ignore[list-item]
    assert (await sender).status_code == 502


async def test_a_hostile_sub_protocol_offer_is_refused_before_anybody_is_asked(world: World) -> None:
    """S38."""
    listener = await world.listen("hyco")
    for offer in (" " * 20_000 + '"', "caf\xe9", '"unclosed', "a,,b", "a b"):
        wire = await world.raw()
        await wire.send(upgrade_head(world, "/$hc/hyco", f"Sec-WebSocket-Protocol: {offer}"))
        assert (await wire.rest()).startswith(b"HTTP/1.1 400 ")
    for offer in (" " * 20_000 + '"', "caf\xe9; x=", 'permessage-deflate; client_max_window_bits="'):
        wire = await upgraded(world, "/$hc/hyco", f"Sec-WebSocket-Extensions: {offer}")
        wire.abort()
    assert len(listener.accepts) == 3


async def test_a_relay_below_another_takes_what_is_its_own(tmp_path: Path) -> None:
    """The longest provisioned path owns an address, by whole segments, whatever the case."""
    relays = [{"name": "a", "profile": "hybridConnection"}, {"name": "a/b", "profile": "hybridConnection"}]
    async with running_gateway(tmp_path, relays=relays) as world:
        outer, inner = await world.listen("a"), await world.listen("A/B/anything")
        for path in ("a", "a/x", "a/bc", "a/b", "a/B/c", "a/b/"):
            async with world.connect(path):
                pass
        assert (len(outer.accepts), len(inner.accepts)) == (3, 3)


async def test_on_a_native_relay_the_nearest_listener_is_asked(world: World) -> None:
    shop, desk = await world.listen("shop"), await world.listen("shop/desk")
    for path in ("shop/x", "shop/desk", "shop/desk/1"):
        async with world.connect(path):
            pass
    assert (len(shop.accepts), len(desk.accepts)) == (1, 2)
    assert (await refusal_of(world.connect("shop/%2e%2e"))).status_code == 400


async def test_a_listener_that_hung_up_cannot_be_reached(world: World) -> None:
    listener = await world.listen("hyco")
    await listener.socket.close()
    assert (await refusal_of(world.connect("hyco"))).status_code == 404


async def test_many_senders_at_once_meet_their_own(world: World) -> None:
    await world.listen("hyco")

    async def meet(number: int) -> None:
        async with world.connect("hyco") as socket:
            await socket.send(str(number))
            assert await socket.recv() == str(number)

    await asyncio.gather(*map(meet, range(100)))


async def test_a_sender_over_tls_meets_a_listener_without(tmp_path: Path) -> None:
    """Each gets an address with the scheme and the host by which it came; large messages pass TLS both ways."""
    async with running_gateway(tmp_path, tls=True) as world:
        listener = await world.listen("hyco")
        secure = f"wss://localhost:{world.tls_port}/$hc/hyco"
        headers = {"ServiceBusAuthorization": world.token()}
        async with connect(secure, ssl=world.tls(), additional_headers=headers, max_size=None) as socket:
            await socket.send(bytes(2 << 20))
            assert await socket.recv() == bytes(2 << 20)
        assert listener.accepts[0]["address"].startswith(f"ws://{world.host}/")
        await listener.socket.close()
        listening = connect(secure + "?sb-hc-action=listen", ssl=world.tls(), additional_headers=headers)
        async with listening as control, asyncio.TaskGroup() as tasks:
            sender = tasks.create_task(world.connect("hyco").__aenter__())
            accept = json.loads(await control.recv())["accept"]
            assert accept["address"].startswith(f"wss://localhost:{world.tls_port}/")
            async with connect(accept["address"], ssl=world.tls()) as socket:
                await (await sender).send("hi")
                assert await socket.recv() == "hi"
                await (await sender).close()


async def test_a_command_never_reaches_64_kib(tmp_path: Path) -> None:
    """One SDK's buffer is that large: escapes may make a legal head too large for it."""
    async with running_gateway(tmp_path, limits=Limits(head_bytes=65536)) as world:
        wire = await upgraded(world, "/$hc/hyco?sb-hc-action=listen")
        many = "\xe9" * 15_000  # latin-1 bytes become two in UTF-8
        sender = await world.raw()
        await sender.send(upgrade_head(world, "/$hc/hyco", "X-A: " + many, "X-B: " + many, "X-C: " + many))
        assert (await sender.rest()).startswith(b"HTTP/1.1 431 ")
        sender = await world.raw()
        await sender.send(upgrade_head(world, "/$hc/hyco", "X-A: " + many))
        opcode, _, text = await frame(wire)
        assert (opcode, len(text) < 65536) == (TEXT, True)
        assert json.loads(text)["accept"]["connectHeaders"]["X-A"] == many
        sender.abort()


async def test_no_sender_can_say_for_itself_what_the_gateway_says_of_it(world: World) -> None:
    """What marks a net.tcp session, or the host it came by, is the gateway's to say."""
    listener = await world.listen("hyco")
    spelled = {"Fanway-Net-Tcp": "1.0", "fanway-mount": "x", "X-A": "b"}
    for forged in (spelled, {name.replace("-", "_"): value for name, value in spelled.items()} | {"X-A": "b"}):
        listener.accepts.clear()
        listener.requests.clear()
        await _check_forged(world, listener, forged)


async def _check_forged(world: World, listener: Listener, forged: dict[str, str]) -> None:
    async with world.connect("hyco", additional_headers={**world.auth(), **forged}) as socket:
        await socket.send("hi")
        assert await socket.recv() == "hi"
    await world.client.get("/hyco", headers={**world.auth(), **forged})
    for told in (listener.accepts[0]["connectHeaders"], listener.requests[0]["requestHeaders"]):
        assert told["X-A"] == "b"
        assert not [name for name in told if name.lower().startswith("fanway")]
