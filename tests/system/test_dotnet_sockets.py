"""What the suite of Microsoft.Azure.Relay for .NET asserts of sockets, asked by a peer that speaks as the SDK does."""

from __future__ import annotations

import asyncio

import pytest
from dotnet import (
    AuthorizationFailedException,
    ConnectionString,
    Context,
    EndpointNotFoundException,
    Listener,
    RelayException,
    Stream,
    url_encode,
)
from dotnet_wire import CLOSE, ClientWebSocket, WebSocketException
from dotnet_world import DotNet
from transcripts import compare
from worlds import KEY, KEY_NAME

PATTERN = bytes(range(10))
MEGABYTE = 1 << 20


both = pytest.mark.parametrize("entity", ["authenticated", "unauthenticated"])


@both
async def test_dotnet_stream_carries_1_kib_and_closes_in_order(dotnet: DotNet, entity: str) -> None:
    """N-HybridConnectionTest: the conversation is kept, to the byte."""
    listener, sender, accepted = await dotnet.pair(entity)
    await listener.pong()
    await sender.write((PATTERN * 103)[:1024])
    assert await accepted.read_exactly(1024) == (PATTERN * 103)[:1024]
    async with asyncio.timeout(10):
        closing = asyncio.create_task(sender.close())
        assert await accepted.read() == b""
        await accepted.close()
        await closing
        await listener.close()
    assert listener.events.get_nowait() == "Online"
    assert listener.events.get_nowait() == "Offline"
    compare(dotnet.tape, f"dotnet/stream-{entity}", f"A stream at the {entity} entity: 1 KiB, a Pong, two Closes.")


async def test_dotnet_sender_shuts_down_and_reads_on(dotnet: DotNet) -> None:
    """N-ClientShutdownTest: C08"""
    _, sender, accepted = await dotnet.pair()
    await sender.write(PATTERN * 100)
    assert await accepted.read_exactly(1000) == PATTERN * 100
    await sender.shutdown()
    assert await accepted.read() == b""
    await accepted.write(b"more, after the sender has ended")
    assert await sender.read() == b"more, after the sender has ended"
    await accepted.shutdown()
    assert await sender.read() == b""
    compare(dotnet.tape, "dotnet/half-close", "The sender shuts down, the listener goes on and shuts down later.")


async def test_dotnet_listener_shuts_down_and_reads_on(dotnet: DotNet) -> None:
    """N-ListenerShutdownTest"""
    _, sender, accepted = await dotnet.pair()
    await accepted.write(PATTERN * 200)
    assert await sender.read_exactly(2000) == PATTERN * 200
    await accepted.shutdown()
    assert await sender.read() == b""
    await sender.write(b"more, after the listener has ended")
    assert await accepted.read() == b"more, after the listener has ended"
    await sender.shutdown()
    assert await accepted.read() == b""


async def test_hundred_dotnet_senders_each_get_their_message_in_one_read(dotnet: DotNet) -> None:
    """N-ConcurrentClientsTest"""
    listener = await dotnet.listen("authenticated")

    async def echo() -> None:
        stream = await listener.accept_connection()
        assert stream is not None
        while data := await stream.read(4096):
            await stream.write(data)
        await stream.close()

    async def run(opening: asyncio.Task[Stream], count: int) -> int:
        stream = await opening
        await stream.write(bytes([count]) * count)
        got = await stream.read(count + 10)
        assert got == bytes([count]) * count
        await stream.close()
        return len(got)

    string = dotnet.at("authenticated")
    opening = [asyncio.create_task(dotnet.connect(string)) for _ in range(100)]
    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(echo())
        runs = [group.create_task(run(each, number)) for number, each in enumerate(opening, 1)]
    assert [each.result() for each in runs] == list(range(1, 101))


async def test_header_of_a_dotnet_sender_reaches_the_accept_handler_as_spelled(dotnet: DotNet) -> None:
    """N-RequestHeadersTest"""
    listener = await dotnet.listen("authenticated")
    seen: list[Context] = []

    async def handler(context: Context) -> bool:
        seen.append(context)
        return True

    listener.accept_handler = handler
    headers = {"CustomHeader1": "Some value here; other-value/here.", "x-lower": "1"}
    await dotnet.connect(dotnet.at("authenticated"), headers=headers, query="a=1&b=%20")
    assert await listener.accept_connection() is not None
    assert headers.items() <= seen[0].headers.items()
    assert seen[0].url == f"{dotnet.at('authenticated').address}?a=1&b=%20"
    assert "ServiceBusAuthorization" not in seen[0].headers


@pytest.mark.parametrize("headers", [{"CustomHeader1": "a\nb"}, {"Custom Header": "a"}, {"": "a"}, {"Host": "a"}])
async def test_header_that_no_request_may_carry_is_refused_by_the_relay_too(
    dotnet: DotNet, headers: dict[str, str]
) -> None:
    """N-RequestHeadersNegativeTest: the SDK refuses these itself; one that did not would hear 400 and nothing else."""
    await dotnet.listen("authenticated")
    with pytest.raises(RelayException, match="BadRequest"):
        await dotnet.connect(dotnet.at("authenticated"), headers=headers)


async def test_message_of_1_mib_goes_both_ways(dotnet: DotNet) -> None:
    """N-WriteLargeDataSetTest"""
    _, sender, accepted = await dotnet.pair()
    data = (PATTERN * (MEGABYTE // 10 + 1))[:MEGABYTE]
    async with asyncio.timeout(30):
        await asyncio.gather(sender.write(data), expect(accepted, data))
        await asyncio.gather(accepted.write(data), expect(sender, data))
    await sender.shutdown()
    assert await accepted.read() == b""


async def expect(stream: Stream, data: bytes) -> None:
    assert await stream.read_exactly(len(data)) == data


async def test_listener_that_aborts_makes_the_senders_read_throw(dotnet: DotNet) -> None:
    """N-ListenerAbortWhileClientReadingTest: a Close of any code would read as 0 bytes."""
    _, sender, accepted = await dotnet.pair()
    reading = asyncio.create_task(sender.read())
    accepted.abort()
    with pytest.raises(RelayException, match="without completing the close handshake"):
        await reading
    compare(dotnet.tape, "dotnet/abort", "The listener's end is lost without a Close, and so is the sender's.")


async def test_namespace_that_does_not_exist_is_a_transient_failure(dotnet: DotNet) -> None:
    """N-NonExistantNamespaceTest: nothing of ours is asked; the SDK fails before."""
    nowhere = ConnectionString("nowhere.invalid", None, "authenticated", KEY_NAME, KEY)
    with pytest.raises(RelayException, match="Unable to connect") as failure:
        await dotnet.connect(nowhere)
    assert failure.value.is_transient


async def test_unknown_entity_is_told_by_404_with_its_path_to_a_good_token_only(dotnet: DotNet) -> None:
    """N-ClientNonExistantHybridConnectionTest, N-ListenerNonExistantHybridConnectionTest: C03"""
    string = dotnet.string.at("3f0e1c52-FakeEntity")
    for attempt in (Listener(string, dotnet.tls, tape=dotnet.tape).open(), dotnet.connect(string)):
        with pytest.raises(EndpointNotFoundException, match=r"Endpoint does not exist\. TrackingId:.*FakeEntity"):
            await attempt
    stranger = string.with_key("not the key")
    with pytest.raises(AuthorizationFailedException):
        await dotnet.connect(stranger)
    compare(dotnet.tape, "dotnet/unknown-entity", "A listener with a good token at an entity that is not there.")


async def test_wrong_key_is_told_to_listener_and_sender(dotnet: DotNet) -> None:
    """N-ListenerAuthenticationFailureTest, N-ClientAuthenticationFailureTest: C02"""
    string = dotnet.at("authenticated").with_key("not the key")
    for attempt in (Listener(string, dotnet.tls, tape=dotnet.tape).open(), dotnet.connect(string)):
        with pytest.raises(AuthorizationFailedException, match=r"token has an invalid signature.*authenticated") as e:
            await attempt
        assert not e.value.is_transient
    compare(dotnet.tape, "dotnet/wrong-key", "A listener whose key is wrong.")


async def test_dotnet_listener_with_600_pending_accepts_closes_cleanly(dotnet: DotNet) -> None:
    """N-ListenerShutdownWithPendingAcceptsTest"""
    listener = await dotnet.listen("authenticated")
    accepting = [asyncio.create_task(listener.accept_connection()) for _ in range(600)]
    await asyncio.sleep(0)
    assert not any(each.done() for each in accepting)
    async with asyncio.timeout(10):
        await listener.close()
        assert set(await asyncio.gather(*accepting)) == {None}
    with pytest.raises(EndpointNotFoundException, match="no listeners"):
        await dotnet.connect(dotnet.at("authenticated"))


def raw_uri(dotnet: DotNet, entity: str) -> str:
    """As the suite opens a bare WebSocket: no action, the token in the query over the namespace's root."""
    uri = f"wss://localhost:{dotnet.string.port}/$hc/{entity}"
    token = dotnet.at(entity, sends=True).token(f"sb://localhost:{dotnet.string.port}/", minutes=10)
    return f"{uri}?sb-hc-token={url_encode(token)}" if token else uri


@both
async def test_bare_websocket_without_an_action_connects_by_a_token_in_the_query(dotnet: DotNet, entity: str) -> None:
    """N-RawWebSocketSenderTest, N-CustomWebSocketTest: C09 C15"""
    listener = await dotnet.listen(entity)
    socket = await ClientWebSocket.connect(raw_uri(dotnet, entity), dotnet.tls, tape=dotnet.tape, name="raw")
    accepted = await listener.accept_connection()
    assert accepted is not None
    assert socket.sub_protocol is None
    await socket.send((PATTERN * 103)[:1024])
    assert await accepted.read_exactly(1024) == (PATTERN * 103)[:1024]
    closing = asyncio.create_task(socket.close(1001, "From Test Code"))
    assert await accepted.read() == b""
    assert (accepted.socket.close_status, accepted.socket.close_description) == (1001, "From Test Code")
    await accepted.close()
    await closing
    await listener.close()
    compare(dotnet.tape, f"dotnet/raw-{entity}", f"A bare WebSocket at the {entity} entity: no action, Close 1001.")


@both
async def test_verdict_of_the_accept_handler_reaches_the_sender_verbatim(dotnet: DotNet, entity: str) -> None:
    """N-AcceptHandlerTest: C10"""
    listener = await dotnet.listen(entity)

    async def handler(context: Context) -> bool:
        headers, response = context.headers, context.response
        response.status = int(headers.get("X-TestAcceptHandlerStatusCode", 0))
        response.description = headers.get("X-TestAcceptHandlerStatusDescription")
        if name := headers.get("X-TestAcceptHandlerSetResponseHeader"):
            response.headers[name] = "Test value"
        if headers["X-TestAcceptHandlerResult"] == "throw":
            raise ValueError("the handler is broken")
        return headers["X-TestAcceptHandlerResult"] == "True"

    listener.accept_handler = handler
    prefix = "X-TestAcceptHandler"

    async def knock(**words: str) -> ClientWebSocket:
        headers = {f"{prefix}{name}": value for name, value in words.items()}
        return await ClientWebSocket.connect(raw_uri(dotnet, entity), dotnet.tls, headers=headers, tape=dotnet.tape)

    for words in ({"Result": "True"}, {"Result": "True", "SetResponseHeader": "X-CustomHeader"}):
        socket = await knock(**words)
        accepted = await listener.accept_connection()
        assert accepted is not None
        await socket.close_output(1000, "Test closing web socket")
        assert await accepted.read() == b""
        await accepted.close()
        assert (await socket.receive(10)).opcode == CLOSE
    thrown = "The Listener's custom AcceptHandler threw an exception. See Listener logs for details. TrackingId: "
    for words, status, reason in (
        ({"Result": "False"}, 400, "Rejected by user code"),
        ({"Result": "False", "StatusCode": "401"}, 401, "Unauthorized"),
        ({"Result": "False", "StatusCode": "401", "StatusDescription": "Status Description from test"}, 401, "Status"),
        ({"Result": "throw"}, 502, thrown),
    ):
        with pytest.raises(WebSocketException) as refused:
            await knock(**words)
        assert refused.value.status == status
        assert refused.value.reason.startswith(reason)
    compare(dotnet.tape, f"dotnet/accept-handler-{entity}", f"Accepted twice, rejected four times: {entity}.")


async def test_first_sub_protocol_that_a_dotnet_sender_offers_is_agreed_on(dotnet: DotNet) -> None:
    """C09"""
    listener = await dotnet.listen("unauthenticated")
    uri = raw_uri(dotnet, "unauthenticated")
    socket = await ClientWebSocket.connect(uri, dotnet.tls, sub_protocols=("mqtt", "amqp"), tape=dotnet.tape)
    accepted = await listener.accept_connection()
    assert accepted is not None
    assert (socket.sub_protocol, accepted.socket.sub_protocol) == ("mqtt", "mqtt")


async def test_dotnet_listener_comes_back_at_once_under_its_id_and_gives_up_only_at_404(dotnet: DotNet) -> None:
    """C14"""
    listener = await dotnet.listen("authenticated")
    assert await next_event(listener) == "Online"
    for _ in range(3):
        listener.drop_control()
        assert [await next_event(listener) for _ in range(2)] == ["Connecting", "Online"]
        sender = await dotnet.connect(dotnet.at("authenticated"))
        assert await listener.accept_connection() is not None
        sender.abort()
    answer = await dotnet.world.client.delete("/-/api/relays/authenticated", headers=dotnet.world.auth())
    assert answer.status_code == 204
    assert [await next_event(listener) for _ in range(2)] == ["Connecting", "Offline"]
    assert isinstance(listener.last_error, EndpointNotFoundException)


async def test_dotnet_listener_renews_its_token_and_is_closed_with_1008_by_a_wrong_one(dotnet: DotNet) -> None:
    listener = await dotnet.listen("authenticated")
    await listener.renew_token()
    sender = await dotnet.connect(dotnet.at("authenticated"))
    assert await listener.accept_connection() is not None
    sender.abort()
    stranger = dotnet.at("authenticated").with_key("not the key")
    await listener.renew_token(stranger)
    assert [await next_event(listener) for _ in range(2)] == ["Online", "Connecting"]
    assert "PolicyViolation" in str(listener.last_error)
    assert await next_event(listener) == "Online"


async def next_event(listener: Listener) -> str:
    async with asyncio.timeout(10):
        return await listener.events.get()


async def test_text_and_binary_writes_of_a_dotnet_stream_keep_their_kind(dotnet: DotNet) -> None:
    """C08"""
    _, sender, accepted = await dotnet.pair()
    sender.writes_text = True
    await sender.write(b"text")
    assert await accepted.socket.receive_message() == (1, b"text")
    sender.writes_text = False
    await sender.write(b"")
    assert await accepted.socket.receive_message() == (2, b"")


async def test_signature_in_a_connection_string_serves_listener_and_sender(dotnet: DotNet) -> None:
    """A string with `SharedAccessSignature` and `EntityPath`, as for peers that may not know the key."""
    token = dotnet.at("authenticated").token()
    text = f"endpoint=sb://localhost:{dotnet.string.port}/;ENTITYPATH=authenticated;SharedAccessSignature={token}"
    string = ConnectionString.parse(text)
    assert string.key == ""
    listener = Listener(string, dotnet.tls, tape=dotnet.tape)
    dotnet.listeners.append(listener)
    await listener.open()
    await dotnet.connect(string)
    assert await listener.accept_connection() is not None
