"""A listener stays at its address: after a lost channel, over TLS, with a renewed token."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from worlds import KEY, KEY_NAME, running_gateway

import fanway
from fanway.connect import Gateway
from fanway.exchange import Request
from fanway.listener import Handlers
from fanway.token import Credential


async def hello(request: Request) -> str:
    return f"hello {request.target}"


async def eventually_asked(relay: fanway.Relay, address: str) -> str:
    """The answer, asked again while nobody listens."""
    async with asyncio.timeout(10):
        while True:
            try:
                return (await relay.ask(address, timeout=5)).text
            except fanway.EndpointNotFoundError:
                await asyncio.sleep(0)


async def test_a_listener_returns_after_its_channel_was_cut(world: Any) -> None:
    async with fanway.connect(world.url, key_name=KEY_NAME, key=KEY) as relay:
        listener = relay.listen_with("shop", Handlers(on_request=hello))
        await relay.listening()
        assert await eventually_asked(relay, "shop") == "hello /shop"
        assert listener.channel is not None
        listener.channel.transport.abort()
        async with asyncio.timeout(10):
            await listener.channel.wait_closed()
        assert await eventually_asked(relay, "shop") == "hello /shop"


async def test_every_verb_works_over_tls_with_the_gateways_own_authority(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, tls=True) as world:
        url = f"https://localhost:{world.tls_port}"
        async with fanway.connect(url, key_name=KEY_NAME, key=KEY, ca=world.ca) as relay:
            relay.listen("shop")(hello)

            @relay.listen("shop", sockets=True)
            async def echo(socket: fanway.Socket) -> None:
                async for message in socket:
                    await socket.send(message)

            assert (await relay.ask("shop", timeout=5)).text == "hello /shop"
            async with relay.open("shop") as socket:
                await socket.send(b"x" * 300_000)
                assert await socket.recv() == b"x" * 300_000
            subscription = await relay.subscribe("orders/**").ready()
            await relay.publish("orders/1", "x")
            assert (await asyncio.wait_for(anext(subscription), 5)).text == "x"


async def test_a_certificate_nobody_vouches_for_is_refused_with_advice(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, tls=True) as world:
        async with fanway.connect(f"https://localhost:{world.tls_port}", key_name=KEY_NAME, key=KEY) as relay:
            for attempt in (relay.publish("orders/1", "x"), relay.ask("shop"), relay.open("shop").__aenter__()):
                with pytest.raises(fanway.ConnectionLostError, match="FANWAY_CA"):
                    await attempt


async def test_a_listeners_token_is_renewed_before_it_expires(world: Any) -> None:
    """P13"""
    moments = iter([0.0, 3599.0])  # made, then found to be all but expired
    clock = world.clock
    credential = Credential(KEY_NAME, KEY, clock=lambda: clock() + next(moments, 0.0))
    async with fanway.Relay(Gateway(world.url, credential)) as relay:
        listener = relay.listen_with("shop", Handlers(on_request=hello))
        await relay.listening()
        async with asyncio.timeout(10):
            await listener.renewed.wait()
        assert await eventually_asked(relay, "shop") == "hello /shop"


async def test_an_address_nobody_may_listen_at_is_refused_for_good(world: Any) -> None:
    async with fanway.connect(world.url, key_name="sender", key="sender-key") as relay:
        relay.listen("ruled")(hello)
        with pytest.raises(fanway.AuthorizationFailedError):
            await relay.listening()
        with pytest.raises(fanway.AuthorizationFailedError):
            await asyncio.wait_for(relay.run(), 5)


async def test_with_no_gateway_the_first_attempt_is_told(free_port: int) -> None:
    async with fanway.connect(f"http://127.0.0.1:{free_port}", key="k") as relay:
        relay.listen("shop")(hello)
        with pytest.raises(fanway.ConnectionLostError, match="fanway serve"):
            await relay.listening()
        with pytest.raises(fanway.ConnectionLostError, match="fanway serve"):
            await relay.ask("shop")
