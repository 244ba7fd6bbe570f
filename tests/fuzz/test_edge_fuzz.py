"""Noise at the raw port: documented statuses or a closed connection, and nobody else notices."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

from wires import UPGRADE_LINES, masked, upgrade_head, upgraded
from worlds import Wire, World

from app.wire.frames import BINARY, CLOSE, CONTINUATION, PING, TEXT

DOCUMENTED = {
    101,
    100,
    200,
    202,
    204,
    400,
    401,
    403,
    404,
    405,
    406,
    408,
    413,
    414,
    415,
    422,
    426,
    431,
    501,
    502,
    503,
    504,
}
ROUNDS = 1500


def seeds(world: World) -> list[bytes]:
    """Good conversations to spoil."""
    host = f"Host: {world.host}\r\n"
    token = f"ServiceBusAuthorization: {world.token()}\r\n"
    chunked = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    return [
        text.encode("latin-1")
        for text in (
            f"GET /open/x?a=1 HTTP/1.1\r\n{host}\r\n",
            f"POST /open HTTP/1.1\r\n{host}Content-Length: 5\r\n\r\nhello",
            f"POST /hyco HTTP/1.1\r\n{host}{token}{chunked}",
            f"GET /-/api/status HTTP/1.1\r\n{host}Authorization: {world.token()}\r\n\r\n",
            f"POST /-/events/orders/1 HTTP/1.1\r\n{host}{token}Content-Length: 2\r\n\r\n{{}}",
            f"POST /-/ask/hyco/**?max=1&wait=1s&first=true HTTP/1.1\r\n{host}{token}Content-Length: 2\r\n\r\n{{}}",
            f"GET /$hc/hyco?sb-hc-action=listen HTTP/1.1\r\n{host}{token}{UPGRADE_LINES}\r\n",
            upgrade_head(world, "/$hc/open?sb-hc-action=connect&sb-hc-id=1") + masked(TEXT, b"hi").decode("latin-1"),
            upgrade_head(world, "/-/events/orders/*?mode=subscribe") + masked(PING, b"p").decode("latin-1"),
        )
    ]


def spoiled(chance: random.Random, data: bytes) -> bytes:
    """`data` with some bytes changed, dropped, doubled or replaced by noise."""
    result = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(result) + 1)
        length = chance.randint(1, 12)
        match chance.randrange(5):
            case 0:
                result[at : at + length] = chance.randbytes(length)
            case 1:
                del result[at : at + length]
            case 2:
                result[at:at] = result[at : at + length * 4]
            case 3:
                result[at:at] = chance.choice([b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b"%2f", b"../", b"\x81\xff"])
            case _:
                result[at:at] = data
        result = result or bytearray(b"\r\n")
    return bytes(result)


async def spoil(world: World, data: bytes) -> None:
    """Send, say goodbye, and look at what comes back."""
    wire = await world.raw()
    wire.writer.write(data)
    wire.writer.write_eof()
    received = b""
    try:
        async with asyncio.timeout(0.25):
            while chunk := await wire.reader.read(65536):
                received += chunk
    except (TimeoutError, ConnectionError):
        pass  # it may have become a socket, or wait for the rest
    wire.abort()
    head = received.partition(b"\r\n\r\n")[0]
    assert not head or re.match(rb"HTTP/1\.1 \d{3} ", head), (data, received)
    if head:
        assert int(head[9:12]) in DOCUMENTED, (data, received)


def faults_of_the_loop() -> list[dict[str, Any]]:
    """What escapes from a connection's callbacks, as it happens; the test's own peers may fail as they like."""
    faults: list[dict[str, Any]] = []

    def note(_: asyncio.AbstractEventLoop, fault: dict[str, Any]) -> None:
        if "future" not in fault:
            faults.append(fault)

    asyncio.get_running_loop().set_exception_handler(note)
    return faults


async def neighbour_is_well(world: World, neighbour: Wire) -> None:
    await neighbour.send(f"GET /open/calm HTTP/1.1\r\nHost: {world.host}\r\n\r\n")
    assert (await neighbour.answer())[0] == 200


async def test_noise_and_spoiled_requests_harm_nobody(world: World) -> None:
    """S50."""
    chance, unhandled = random.Random(20260101), faults_of_the_loop()
    await world.listen("open")
    neighbour = await world.raw()
    good = seeds(world)
    noise = [chance.randbytes(chance.randint(1, 600)) for _ in range(ROUNDS // 5)]
    cases = [*noise, *(spoiled(chance, chance.choice(good)) for _ in range(ROUNDS))]
    for start in range(0, len(cases), 50):
        await asyncio.gather(*(spoil(world, data) for data in cases[start : start + 50]))
        await neighbour_is_well(world, neighbour)
    assert (world.gateway.context.counters["faults"], unhandled) == (0, [])


async def test_noise_on_open_sockets_harms_nobody(world: World) -> None:
    """S36, S50: frames of any kind, whole and spoiled, at every kind of socket."""
    chance, unhandled = random.Random(20260102), faults_of_the_loop()
    await world.listen("open")
    neighbour = await world.raw()
    doors = ["/$hc/hyco?sb-hc-action=listen", "/$hc/open", "/-/events/orders/1?mode=both"]

    def frames() -> bytes:
        parts = [
            masked(chance.choice([TEXT, BINARY, CONTINUATION, PING, CLOSE]), chance.randbytes(chance.randint(0, 200)))
            for _ in range(chance.randint(1, 5))
        ]
        good = masked(TEXT, b'{"response":{"requestId":"x","statusCode":200,"body":true}}')
        data = b"".join([good, *parts])
        return spoiled(chance, data) if chance.random() < 0.7 else data

    async def disturb(path: str) -> None:
        wire = await upgraded(world, path)
        wire.writer.write(frames())
        try:
            async with asyncio.timeout(0.05):
                while await wire.reader.read(65536):
                    pass
        except (TimeoutError, ConnectionError):
            pass
        wire.abort()

    for _ in range(10):
        await asyncio.gather(*(disturb(chance.choice(doors)) for _ in range(30)))
        await neighbour_is_well(world, neighbour)
    assert (world.gateway.context.counters["faults"], unhandled) == (0, [])
