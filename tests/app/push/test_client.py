"""Requests to sinks: what is connected to, and what a sink may do to whoever sends."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from certificates import make_pair
from sinks import answer, endless, hang_up, running_sink, silence

from app.push.client import ANSWER_BYTES, Answer, SinkClient, SinkUnreachable
from app.push.connect import Resolve
from app.push.target import IpAddress, Reach, SinkRefused, parse_networks, parse_target

LOCAL = Reach(parse_networks(["127.0.0.0/8"]), allows_http=True)
HEADERS = [("Content-Type", "text/plain")]


class Names:
    """A resolver that gives the next answer each time; the last one for ever."""

    def __init__(self, *answers: str) -> None:
        self._answers = [[ipaddress.ip_address(text) for text in answer.split()] for answer in answers]
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[IpAddress]:
        self.asked += 1
        return self._answers[min(self.asked, len(self._answers)) - 1]


@asynccontextmanager
async def client_of(
    url: str,
    resolve: Resolve | None = None,
    reach: Reach = LOCAL,
    seconds: float = 30.0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[SinkClient]:
    client = SinkClient(
        parse_target(url, reach),
        reach,
        resolve or Names("127.0.0.1"),
        tls or ssl.create_default_context(),
        connect_seconds=seconds,
        total_seconds=seconds,
    )
    try:
        yield client
    finally:
        await client.close()


async def post(client: SinkClient) -> Answer:
    return await client.request("POST", HEADERS, b"payload")


async def test_a_request_arrives_as_it_was_sent_and_the_connection_is_kept() -> None:
    async with running_sink(answer(200, "X-Said: hello", body=b"thanks")) as sink, client_of(sink.url) as client:
        first, second = await post(client), await post(client)
    assert (first.status, first.headers["x-said"], second.status) == (200, "hello", 200)
    assert [(each.method, each.path, each.body) for each in sink.received] == [("POST", "/hook", b"payload")] * 2
    assert sink.received[0].headers["host"] == f"127.0.0.1:{sink.port}"
    assert sink.connections == 1


async def test_a_redirect_is_an_answer_and_is_followed_nowhere() -> None:
    """S61: neither to the same host nor to a private one."""
    async with running_sink() as other:
        moved = answer(302, f"Location: {other.url}")
        async with running_sink(moved) as sink, client_of(sink.url) as client:
            assert (await post(client)).status == 302
        assert (len(sink.received), other.received) == (1, [])


async def test_a_name_leads_to_the_very_address_that_was_judged() -> None:
    """S61: there is one look-up for a connection, and what it gave is connected to."""
    async with running_sink() as sink:
        names = Names("127.0.0.1", "10.0.0.1")
        async with client_of(f"http://sink.example:{sink.port}/", names) as client:
            await post(client)
            await post(client)  # the connection stands; the name is not asked again
            assert names.asked == 1
    assert sink.received[0].headers["host"] == f"sink.example:{sink.port}"


async def test_a_name_that_turned_private_is_refused_when_it_is_connected_to() -> None:
    """S61."""
    async with running_sink(answer(200, "Connection: close")) as sink:
        names = Names("127.0.0.1", "127.0.0.1 10.0.0.1")
        async with client_of(f"http://sink.example:{sink.port}/", names) as client:
            await post(client)
            with pytest.raises(SinkRefused, match="private"):
                await post(client)
    assert len(sink.received) == 1


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "[::ffff:127.0.0.1]", "localhost.", "inner.example"],
)
async def test_a_private_sink_is_refused_at_connect_whatever_was_thought_of_it_before(host: str) -> None:
    """S60."""
    async with running_sink() as sink:
        strict = Reach(allows_http=True)
        async with client_of(f"http://{host}:{sink.port}/", Names("127.0.0.1 ::1"), strict) as client:
            with pytest.raises(SinkRefused):
                await post(client)
    assert sink.connections == 0


async def test_a_second_address_is_tried_when_the_first_does_not_answer() -> None:
    async with running_sink() as sink:
        async with client_of(f"http://sink.example:{sink.port}/", Names("127.0.0.9 127.0.0.1")) as client:
            assert (await post(client)).status == 204


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", b"x" * 65536),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
    ],
    ids=["a GiB", "endless chunks", "until close"],
)
async def test_an_endless_body_is_cut_and_the_status_stands(head: bytes, piece: bytes) -> None:
    """S63: at most so many bytes are read, and the connection is not used again."""
    async with running_sink(endless(head, piece)) as sink, client_of(sink.url) as client:
        assert (await post(client)).status == 200
        assert (await post(client)).status == 200
    assert sink.connections == 2


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 4096),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (b"", b"x" * 4096),
    ],
    ids=["headers", "one header", "interim answers", "no HTTP"],
)
async def test_an_endless_head_is_no_answer(head: bytes, piece: bytes) -> None:
    """S63."""
    async with running_sink(endless(head, piece)) as sink, client_of(sink.url) as client:
        with pytest.raises(SinkUnreachable):
            await post(client)


async def test_a_large_answer_within_the_bound_keeps_its_connection() -> None:
    body = b"x" * (ANSWER_BYTES // 2)
    async with running_sink(answer(200, body=body)) as sink, client_of(sink.url) as client:
        for _ in range(4):
            await post(client)
    assert sink.connections == 1


async def test_a_silent_sink_is_given_up_in_time() -> None:
    """S63."""
    async with running_sink(silence) as sink, client_of(sink.url, seconds=0.05) as client:
        with pytest.raises(SinkUnreachable, match="no answer within"):
            await post(client)


async def test_a_name_server_that_hangs_is_given_up_in_time() -> None:
    async def hang(host: str, port: int) -> list[IpAddress]:
        await asyncio.sleep(3600)
        return []

    async with client_of("http://sink.example/", hang, seconds=0.05) as client:
        with pytest.raises(SinkUnreachable):
            await post(client)


async def test_a_lost_connection_and_nobody_there_are_no_answers() -> None:
    async with running_sink(hang_up) as sink, client_of(sink.url) as client:
        with pytest.raises(SinkUnreachable):
            await post(client)
    async with client_of(sink.url) as client:
        with pytest.raises(SinkUnreachable):
            await post(client)


async def test_a_name_that_is_not_known_is_no_answer() -> None:
    async def unknown(host: str, port: int) -> list[IpAddress]:
        raise OSError(-2, "Name or service not known")

    async with client_of("http://sink.example/", unknown) as client:
        with pytest.raises(SinkUnreachable, match="Name or service not known"):
            await post(client)


async def test_a_certificate_is_verified_for_the_name_and_not_for_the_address(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "sink.example")
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(pair.certificate, pair.key)
    trusting = ssl.create_default_context(cafile=str(pair.certificate))
    async with running_sink(tls=served) as sink:
        place = f"https://sink.example:{sink.port}/"
        async with client_of(place, tls=trusting) as client:
            assert (await post(client)).status == 204
        for url, tls in ((place, None), (f"https://other.example:{sink.port}/", trusting)):
            async with client_of(url, tls=tls) as client:
                with pytest.raises(SinkUnreachable, match="certificate"):
                    await post(client)
    assert len(sink.received) == 1
