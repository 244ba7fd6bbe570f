"""What the suite of Azure's SDK for Java asserts, asked by a peer on that SDK's own WebSocket library, Jetty 9.4.

The SDK itself is not at hand where these tests run; the peer (tests/java) makes its addresses and tokens as the SDK
does, has its buffers, demands of commands what it demands, and ends bodies as it does. It trusts the gateway by a
truststore, made as the documentation says.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from programs import Program, StartPeer
from worlds import KEY, KEY_NAME, World, running_gateway

AROUND_64K = (0, 256, 65537)


def payload(size: int) -> bytes:
    """The same bytes that the peer makes."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[World]:
    relays = [{"name": "hyco", "profile": "hybridConnection"}]
    async with running_gateway(tmp_path, relays=relays, tls=True, deadlines={"accept_seconds": 2}) as world:
        yield world


@pytest.fixture
def peer(gateway: World, java_peer: StartPeer) -> StartPeer:
    """Starts the peer at the gateway, with its key."""

    async def start(**over: str) -> Program:
        options = {"endpoint": f"sb://localhost:{gateway.tls_port}/", "path": "hyco", "rule": KEY_NAME, "key": KEY}
        return await java_peer(gateway.ca, **(options | over))

    return start


async def test_java_listener_goes_online_and_offline_once_without_an_error(peer: StartPeer) -> None:
    """J-openAndCloseTest"""
    java = await peer()
    await java.tell(do="listen")
    assert await java.line() == {"event": "listening"}
    await java.tell(do="stop listening")
    assert await java.line() == {"event": "offline"}


async def test_odd_headers_and_reasons_pass_both_ways(peer: StartPeer) -> None:
    """J-customHeadersTest: C01"""
    java = await peer()
    names = {f"X-Odd{number}{sign}Name": f"value {sign}" for number, sign in enumerate("!#$%&'*+-.^_`|~")}
    values = {"X-Quotes": "\"(){}[]<>=/,:;@\\ and '", "X-CaSe": "Kept"}
    reason = "Fine: \"(){}[]<>=/,;@\\ and '!"
    await java.tell(
        do="listen", respond={"status": 201, "description": reason, "headers": {**names, **values}, "pieces": [1]}
    )
    await java.expect("listening")
    await java.tell(do="request", method="POST", target="hyco", headers={**names, **values}, bytes=0)
    heard = await java.expect("request")
    assert {**names, **values}.items() <= heard["headers"].items()
    assert heard["bytes"] in (0, -1)  # Content-Length: 0
    answer = await java.expect("answered")
    assert (answer["status"], answer["reason"]) == (201, reason)
    assert {**names, **values}.items() <= answer["headers"].items()
    await java.tell(do="connect", number=1, headers={**names, **values})
    assert {**names, **values}.items() <= (await java.expect("accept"))["headers"].items()
    await java.expect("opened")


async def test_either_side_that_closes_closes_the_other_and_the_listener_stays(peer: StartPeer) -> None:
    """J-webSocketConnectionTest"""
    java = await peer()
    await java.tell(do="listen")
    await java.expect("listening")
    await java.tell(do="connect", number=1)
    await java.expect("opened")
    await java.tell(do="close", number=1)
    by_side = {line["side"]: line for line in await java.gather("closed", 2)}
    assert {"online": True, "code": 1000, "reason": "Client closing normally."}.items() <= by_side["listener"].items()
    assert by_side["sender"]["code"] in (1000, 1006)  # Jetty may hang up before it reads the Close that it waits for

    await java.tell(do="set", **{"hangs up": True})
    await java.tell(do="connect", number=2)
    await java.expect("opened")
    await java.tell(do="send", number=2, kind="binary", bytes=1, echoes=False)
    await java.tell(do="await close", number=2)
    closed = await java.expect("closed", side="sender")
    assert (closed["code"], closed["reason"]) == (1000, "Listener closing normally.")


async def test_accept_handler_of_a_java_listener_accepts_rejects_or_breaks(gateway: World, peer: StartPeer) -> None:
    """J-acceptHandlerTest: C10; a handler that throws never answers, so the deadline decides."""
    java = await peer()
    await java.tell(do="listen", accept="yes")
    await java.expect("listening")
    await java.tell(do="connect", number=1)
    await java.expect("opened")
    await java.tell(do="set", accept="no")
    await java.tell(do="connect", number=2)
    lines = {(line := await java.line())["event"]: line for _ in range(3)}
    assert lines["rejected"]["status"] == 410
    assert lines["refused"]["status"] == 400
    assert "Rejected by user code" in lines["refused"]["reason"]
    await java.tell(do="set", accept="throw")
    await java.tell(do="connect", number=3)
    assert (await java.expect("refused"))["status"] == 404


async def test_answer_202_with_a_header_and_one_byte(peer: StartPeer) -> None:
    """J-requestHandlerTest, J-closedOrReadonlyResponseTest"""
    java = await peer()
    await java.tell(do="listen", respond={"status": 202, "headers": {"foo": "bar"}, "pieces": [1]})
    await java.expect("listening")
    await java.tell(do="request", target="hyco")
    answer = await java.expect("answered")
    assert (answer["status"], answer["reason"], answer["headers"]["foo"]) == (202, "Accepted", "bar")
    assert answer["bytes"] == 1


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("hyco/extraPath/extraPath2?param1=x;param2=y;", "/hyco/extraPath/extraPath2", "param1=x;param2=y;"),
        ("hyco/extra%20path/two?a=b%20c", "/hyco/extra path/two", "a=b c"),
    ],
    ids=["query", "spaces"],
)
async def test_path_and_query_of_a_request_reach_a_java_listener(
    peer: StartPeer, target: str, path: str, query: str
) -> None:
    """J-parseRequestPathAndQueryTest, J-parseRequestPathWithSpacesAndQueryTest"""
    java = await peer()
    await java.tell(do="listen", respond={"description": "OK"})
    await java.expect("listening")
    await java.tell(do="request", target=target)
    heard = await java.expect("request")
    assert heard["path"] == path
    assert heard["query"].replace("%20", " ") == query
    answer = await java.expect("answered")
    assert (answer["status"], answer["reason"]) == (200, "OK")


async def test_java_listener_whose_channel_is_cut_is_online_again_at_once(gateway: World, peer: StartPeer) -> None:
    """J-listenerReconnectionTest: C14"""
    java = await peer()
    await java.tell(do="listen", respond={"pieces": [5]})
    await java.expect("listening")
    await java.tell(do="cut")
    await java.expect("connecting")
    await java.expect("listening")
    await java.tell(do="request", target="hyco")
    assert (await java.expect("answered"))["bytes"] == 5


async def test_several_java_senders_with_a_query_of_their_own(peer: StartPeer) -> None:
    """J-connectMultipleClientsTest"""
    java = await peer()
    await java.tell(do="listen")
    await java.expect("listening")
    count = 2 * (os.cpu_count() or 1)
    for number in range(count):
        await java.tell(do="connect", number=number, query="foo=bar")
        accept = await java.expect("accept")
        assert "?foo=bar&sb-hc-action=accept" in accept["address"]
        await java.expect("opened", number=number)
    for number in range(count):
        await java.tell(do="send", number=number, kind="binary", bytes=number + 1)
        assert (await java.expect("echoed"))["same"]


async def test_text_of_64_kib_and_binary_beyond_keep_kind_and_border(peer: StartPeer) -> None:
    """J-SendReceiveTest: C08"""
    java = await peer()
    await java.tell(do="listen")
    await java.expect("listening")
    await java.tell(do="connect", number=1)
    await java.expect("opened")
    for kind, size in (("text", 8), ("text", 65536), ("binary", 8), ("binary", 65537), ("binary", 104000)):
        for _ in range(2):
            await java.tell(do="send", number=1, kind=kind, bytes=size)
            assert (await java.expect("echoed"))["same"], (kind, size)


async def test_bodies_on_either_side_of_64_kib_pass_in_all_combinations(peer: StartPeer) -> None:
    """J-SendReceiveTest: C05 C07; beyond 64 KiB a body ends with the Close alone."""
    java = await peer()
    await java.tell(do="listen", respond={})
    await java.expect("listening")
    for asked in AROUND_64K:
        for answered in AROUND_64K:
            await java.tell(
                do="set", respond={"status": 202, "description": "OK", "pieces": [answered] if answered else []}
            )
            await java.tell(do="request", method="POST", target="hyco", bytes=asked)
            heard = await java.expect("request")
            assert heard["sha256"] == sha256(payload(asked))
            answer = await java.expect("answered")
            assert (answer["status"], answer["reason"], answer["bytes"]) == (202, "OK", answered)
            assert answer["sha256"] == sha256(payload(answered))


async def test_second_write_after_two_seconds_arrives(peer: StartPeer) -> None:
    """J-SendReceiveTest: C07; by then the answer has moved to a rendezvous."""
    java = await peer()
    await java.tell(do="listen", respond={"pieces": [100, 200, 70000], "pause": 2001})
    await java.expect("listening")
    await java.tell(do="request", target="hyco")
    answer = await java.expect("answered")
    assert answer["sha256"] == sha256(payload(100) + payload(200) + payload(70000))


async def test_wrong_key_is_refused_with_401(peer: StartPeer) -> None:
    """C02"""
    java = await peer(key="not the key")
    await java.tell(do="connect", number=1)
    assert (await java.expect("refused"))["status"] == 401
    await java.tell(do="listen")
    refused = await java.line()
    assert "401" in refused["error"]
