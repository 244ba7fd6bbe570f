"""The three states of listeners and subscriptions, with what was wrong; and relays made to a listener's terms."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from programs import FANWAY, running
from wires import until
from worlds import KEY, KEY_NAME, World

import fanway
from fanway.exchange import Request
from fanway.listener import Handlers
from fanway.listener_wire import Terms
from fanway.status import ConnectionState, ConnectionStatus

CONNECTING, ONLINE, OFFLINE = ConnectionState.CONNECTING, ConnectionState.ONLINE, ConnectionState.OFFLINE


@pytest.fixture
async def relay(world: World) -> AsyncIterator[fanway.Relay]:
    async with fanway.connect(world.url, key_name=KEY_NAME, key=KEY) as relay:
        yield relay


async def nothing(_: Request) -> None:
    """Answers 204."""


class Owner(ConnectionStatus):
    """Something kept up."""

    become = ConnectionStatus._become


async def test_states_are_told_in_their_order_and_once(caplog: pytest.LogCaptureFixture) -> None:
    owner = Owner()
    called: list[ConnectionState] = []
    owner.on_state(called.append)

    @owner.on_state
    def broken(state: ConnectionState) -> None:
        raise ValueError(state)

    seen: list[ConnectionState] = []

    async def follow() -> None:
        async for state in owner.states():
            seen.append(state)

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    problem = OSError("gone")
    owner.become(CONNECTING, problem)
    assert (owner.state, owner.is_online, owner.last_error) == (CONNECTING, False, problem)
    owner.become(ONLINE)
    owner.become(ONLINE)
    assert (owner.is_online, owner.last_error) == (True, None)
    owner.become(OFFLINE, problem)
    owner.become(ONLINE)
    assert (owner.state, owner.last_error) == (OFFLINE, problem)
    await following
    assert seen == [CONNECTING, ONLINE, OFFLINE]
    assert called == [ONLINE, OFFLINE]
    assert "ValueError" in caplog.text
    assert [state async for state in owner.states()] == [OFFLINE]


async def test_a_listener_tells_how_it_is(world: World, relay: fanway.Relay) -> None:
    relay.listen("shop")(nothing)
    listener = relay.listener("shop")
    states = listener.states()
    assert [await anext(states) for _ in range(2)] == [CONNECTING, ONLINE]
    assert listener.channel is not None
    listener.channel.transport.abort()
    assert await anext(states) is CONNECTING
    assert isinstance(listener.last_error, fanway.ConnectionLostError)
    assert (await anext(states), listener.last_error) == (ONLINE, None)
    found = world.namespace.relays["shop"]
    await world.gateway.registry.delete_relay(world.namespace, found)
    assert await anext(states) is OFFLINE
    assert isinstance(listener.last_error, fanway.EndpointNotFoundError)
    with pytest.raises(StopAsyncIteration):
        await anext(states)


async def test_a_listener_that_is_closed_is_offline_without_an_error(relay: fanway.Relay) -> None:
    listener = relay.listen_with("shop", Handlers(on_request=nothing))
    await relay.listening()
    await listener.close()
    assert (listener.state, listener.last_error) == (OFFLINE, None)


async def test_a_subscription_tells_how_it_is(world: World, relay: fanway.Relay) -> None:
    async with relay.subscribe("orders/**") as events:
        states = events.states()
        assert [await anext(states) for _ in range(2)] == [CONNECTING, ONLINE]
        assert relay._session._channel is not None
        relay._session._channel.transport.abort()
        assert await anext(states) is CONNECTING
        assert isinstance(events.last_error, fanway.ConnectionLostError)
        assert await anext(states) is ONLINE
    assert (events.state, events.last_error) == (OFFLINE, None)
    async with fanway.connect(world.url, token="SharedAccessSignature sr=x&sig=x&se=1&skn=x") as other:
        refused = other.subscribe("orders/**")
        assert [state async for state in refused.states()][-1] is OFFLINE
        assert isinstance(refused.last_error, fanway.AuthorizationFailedError)


async def test_every_listener_of_a_net_event_relay_gets_each_message(world: World, relay: fanway.Relay) -> None:
    got: list[tuple[str, bytes]] = []

    async def take(name: str, request: Request) -> str:
        got.append((name, await request.read()))
        return "which nobody reads"

    others = [fanway.connect(world.url, key_name=KEY_NAME, key=KEY) for _ in range(2)]
    async with contextlib.AsyncExitStack() as stack:
        for number, each in enumerate([relay, *[await stack.enter_async_context(other) for other in others]]):

            @each.listen("alarms", profile="netEvent", client_authorization="none")
            async def handle(request: Request, name: str = str(number)) -> str:
                return await take(name, request)

            await each.listening()
        made = world.namespace.relays["alarms"]
        assert (made.profile, made.requires_client_authorization) == ("netEvent", False)
        answer = await relay.ask("alarms", b"fire")
        assert (answer.status, answer.content) == (202, b"")
        await until(lambda: len(got) == 3)
        assert sorted(got) == [(name, b"fire") for name in "012"]


async def test_a_relay_may_be_shown_under_any_name(world: World, relay: fanway.Relay) -> None:
    relay.listen("shop2/price", profile="http", is_public=True, display_name="Prix en € & ¥")(nothing)
    await relay.listening()
    feed = (await world.client.get("/shop2/")).text
    assert "Prix en € &amp; ¥" in feed


async def test_terms_that_clash_are_told_and_not_tried_again(relay: fanway.Relay) -> None:
    relay.listen("alarms", profile="netOneway")(nothing)
    await relay.listening()
    with pytest.raises(fanway.ConfigurationError, match="other terms"):
        relay.listen("alarms", profile="netEvent")(nothing)
    relay.listen("hyco", profile="http", is_public=True, display_name="x", transport_security="none")(nothing)
    listener = relay.listener("hyco")
    assert [state async for state in listener.states()] == [CONNECTING, OFFLINE]
    assert isinstance(listener.last_error, fanway.EndpointAlreadyExistsError)
    assert "AddressAlreadyInUse" in str(listener.last_error)
    with pytest.raises(fanway.EndpointAlreadyExistsError):
        await relay.run()


async def test_an_sdk_follows_what_the_gateway_tells_of_itself(world: World, relay: fanway.Relay) -> None:
    async with relay.subscribe("-/sys/status/**") as events:
        await events.ready()
        await world.listen("hyco")
        event = await anext(events)
        assert (event.type, event.address) == ("fanway.listener.online", "-/sys/status/hyco")
        assert event.json()["listeners"] == 1


async def test_the_command_listens_on_terms_too(world: World) -> None:
    env = {"FANWAY_URL": world.url, "FANWAY_KEY_NAME": KEY_NAME, "FANWAY_KEY": KEY}
    command: list[Any] = [FANWAY, "listen", "alarms", "--to", "-", "--profile", "netevent"]
    async with running(*command, "--client-authorization", "none", env=env) as program:
        realm = world.gateway.context.realms[world.namespace]
        await until(lambda: realm.roster.count("alarms") == 1)
        assert (await world.client.post("/alarms", content=b"fire")).status_code == 202
        assert await program.text() == "POST /alarms\tfire"


async def test_the_command_follows_what_the_gateway_tells_of_itself(world: World) -> None:
    env = {"FANWAY_URL": world.url, "FANWAY_KEY_NAME": KEY_NAME, "FANWAY_KEY": KEY}
    async with running(FANWAY, "subscribe", "--", "-/sys/status/**", env=env) as program:
        realm = world.gateway.context.realms[world.namespace]
        await until(lambda: realm.router.subscriptions("-") == 1)
        await world.listen("hyco")
        assert (await program.text()).startswith("-/sys/status/hyco\t")


def test_terms_are_headers() -> None:
    assert Terms().headers() == {}
    assert Terms("http", "none", "required", False, "x").headers() == {
        "Fanway-Relay-Profile": "http",
        "Fanway-Client-Authorization": "none",
        "Fanway-Transport-Security": "required",
        "Fanway-Discovery": "private",
    }
