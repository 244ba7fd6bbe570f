"""What the suite of Microsoft.Azure.Relay for .NET asserts of requests, asked by a peer that speaks as the SDK does."""

from __future__ import annotations

import asyncio
import json

import pytest
from dotnet import AuthorizationFailedException, Context, EndpointNotFoundException, runtime_information
from dotnet_wire import HttpResponse
from dotnet_world import DotNet
from transcripts import compare

LARGE = b"y" * (65 * 1024)
SMALL = b'{ "a" : true }'

both = pytest.mark.parametrize("entity", ["authenticated", "unauthenticated"])


def answering(body: bytes | None, description: str | None = None, status: int = 200):  # type: ignore[no-untyped-def]
    """A handler that answers so; it keeps what it was asked in `asked`."""

    async def handler(context: Context) -> None:
        handler.asked.append(context)  # type: ignore[attr-defined]
        context.response.status = status
        context.response.description = description
        if body is not None:
            await context.response.write(body)
        await context.response.close()

    handler.asked = []  # type: ignore[attr-defined]
    return handler


@both
async def test_small_request_has_a_small_answer(dotnet: DotNet, entity: str) -> None:
    """N-SmallRequestSmallResponse: C04 C13"""
    handler = answering(SMALL)
    listener = await dotnet.listen(entity, handler)
    client, headers = dotnet.http(entity)
    body = b'{  "a": 11,   "b" :22, "c":"test",    "d":true}'
    async with client:
        for method, content in (("GET", None), ("POST", body)):
            answer = await client.send(method, f"/{entity}", headers, content, "application/json")
            assert (answer.status, answer.reason, answer.content) == (200, "OK", SMALL)
            assert answer.values("Via") == ["1.1 localhost"]
    assert [(each.method, each.body) for each in handler.asked] == [("GET", None), ("POST", body)]
    await listener.close()
    compare(dotnet.tape, f"dotnet/small-{entity}", f"A small GET and a small POST at the {entity} entity.")


@both
async def test_small_request_has_a_large_answer_with_its_own_words(dotnet: DotNet, entity: str) -> None:
    """N-SmallRequestLargeResponse: C07; answers beyond 64 KiB go by a rendezvous that ends with an empty frame."""
    await dotnet.listen(entity, answering(LARGE, "TestStatusDescription"))
    client, headers = dotnet.http(entity)
    async with client:
        for method, content in (("GET", None), ("POST", SMALL)):
            answer = await client.send(method, f"/{entity}", headers, content, "application/json")
            assert (answer.status, answer.reason, answer.content) == (200, "TestStatusDescription", LARGE)
    compare(dotnet.tape, f"dotnet/large-answer-{entity}", f"65 KiB as the answer to GET and POST, {entity}.")


@both
async def test_large_request_has_a_large_answer(dotnet: DotNet, entity: str) -> None:
    """N-LargeRequestLargeResponse: C05 C06; the request is fetched, the answer returns where it was fetched."""
    handler = answering(LARGE)
    await dotnet.listen(entity, handler)
    client, headers = dotnet.http(entity)
    async with client:
        answer = await client.send("POST", f"/{entity}", headers, LARGE)
    assert (answer.status, answer.content) == (200, LARGE)
    assert [each.body for each in handler.asked] == [LARGE]
    compare(dotnet.tape, f"dotnet/large-both-{entity}", f"65 KiB each way at the {entity} entity.")


@both
async def test_empty_request_has_an_empty_answer(dotnet: DotNet, entity: str) -> None:
    """N-EmptyRequestEmptyResponse"""
    await dotnet.listen(entity, answering(None))
    client, headers = dotnet.http(entity)
    async with client:
        for method in ("GET", "POST"):
            answer = await client.send(method, f"/{entity}", headers)
            assert (answer.status, answer.content, answer.values("Content-Length")) == (200, b"", ["0"])


@both
async def test_large_request_has_an_empty_answer(dotnet: DotNet, entity: str) -> None:
    """N-LargeRequestEmptyResponse"""
    handler = answering(None)
    await dotnet.listen(entity, handler)
    client, headers = dotnet.http(entity)
    async with client:
        answer = await client.send("POST", f"/{entity}", headers, LARGE)
    assert (answer.status, answer.content) == (200, b"")
    assert [each.body for each in handler.asked] == [LARGE]
    compare(dotnet.tape, f"dotnet/large-request-{entity}", f"65 KiB to the {entity} entity, an empty answer.")


@both
async def test_status_without_words_has_its_usual_ones(dotnet: DotNet, entity: str) -> None:
    """N-AllowNullStatusDescription"""
    await dotnet.listen(entity, answering(None, None, 201))
    client, headers = dotnet.http(entity)
    async with client:
        answer = await client.send("GET", f"/{entity}", headers)
    assert (answer.status, answer.reason) == (201, "Created")


@both
async def test_hundred_requests_over_few_connections_reach_both_listeners(dotnet: DotNet, entity: str) -> None:
    """N-LoadBalancedListeners: C12; chosen for each request, not for each connection."""
    handlers = [answering(b"one"), answering(b"two")]
    for handler in handlers:
        await dotnet.listen(entity, handler)
    client, headers = dotnet.http(entity)
    async with client:
        answers = await asyncio.gather(*(client.send("GET", f"/{entity}", headers) for _ in range(100)))
        assert client.opened <= 10
    assert {answer.status for answer in answers} == {200}
    counts = [len(handler.asked) for handler in handlers]
    assert sum(counts) == 100
    assert min(counts) >= 1


@both
async def test_header_with_several_values_arrives_joined_both_ways(dotnet: DotNet, entity: str) -> None:
    """N-MultiValueHeader"""
    seen: list[Context] = []

    async def handler(context: Context) -> None:
        seen.append(context)
        context.response.add_header("ResponseHeader", "responseValue1")
        context.response.add_header("ResponseHeader", "responseValue2")
        await context.response.close()

    await dotnet.listen(entity, handler)
    client, headers = dotnet.http(entity)
    async with client:
        answer = await client.send(
            "GET", f"/{entity}", [*headers, ("RequestHeader", "requestValue1"), ("RequestHeader", "requestValue2")]
        )
    assert seen[0].headers["RequestHeader"] == "requestValue1, requestValue2"
    values = [each.strip() for value in answer.values("ResponseHeader") for each in value.split(",")]
    assert values == ["responseValue1", "responseValue2"]


QUERIES = [
    ("", ""),
    ("?a=1&a=2&", "?a=1&a=2&"),
    ("?&&&", "?&&&"),
    ("?&foo=bar", "?&foo=bar"),
    ("?+", "?+"),
    ("?%2f%3a%3d%26", "?%2f%3a%3d%26"),
    ("?%20", "?%20"),
    ("?%22quoted%22", "?%22quoted%22"),
    ("?%C3%B8", "?%C3%B8"),
    ("?foo=bar&baz=qux", "?foo=bar&baz=qux"),
    ("?api-version=abc", "?api-version=abc"),
    ("?sb-hc-id=1", ""),
    ("?sb-hc-id=1&custom=value", "?custom=value"),
    ("?custom=value&sb-hc-id=1", "?custom=value"),
    ("?sb-hc-undefined", "?sb-hc-undefined"),
    ("?sb-hc-whatever=", ""),
    ("?SB-HC-Whatever=&foo=bar", "?foo=bar"),
    ("?sb-hc-whatever=&foo=bar", "?foo=bar"),
]


async def test_query_reaches_the_handler_without_the_relays_parameters_and_otherwise_untouched(dotnet: DotNet) -> None:
    """N-QueryString"""
    handler = answering(None)
    await dotnet.listen("unauthenticated", handler)
    client, _ = dotnet.http("unauthenticated")
    async with client:
        for sent, _ in QUERIES:
            assert (await client.send("GET", f"/unauthenticated{sent}")).status == 200
    base = dotnet.at("unauthenticated").address
    assert [each.url.removeprefix(base) for each in handler.asked] == [seen for _, seen in QUERIES]


@both
async def test_failures_of_the_handler_are_told_as_the_sdk_words_them(dotnet: DotNet, entity: str) -> None:
    """N-RequestHandlerErrors"""
    listener = await dotnet.listen(entity)
    client, headers = dotnet.http(entity)

    async def broken(context: Context) -> None:
        raise ValueError("a secret of the application")

    async with client:
        missing = await client.send("GET", f"/{entity}", headers)
        listener.request_handler = broken
        failed = await client.send("GET", f"/{entity}", headers)
    assert (missing.status, failed.status) == (501, 500)
    for answer in (missing, failed):
        assert f"Address:https://localhost/{entity}" in answer.reason
        assert "TrackingId:" in answer.reason
        assert any("localhost" in via for via in answer.values("Via"))
        assert "secret" not in answer.reason
    compare(dotnet.tape, f"dotnet/handler-errors-{entity}", f"No handler, and one that throws, {entity}.")


@both
async def test_answer_of_one_byte_arrives(dotnet: DotNet, entity: str) -> None:
    """N-ResponseHeadersAfterBody"""
    await dotnet.listen(entity, answering(b"X"))
    client, headers = dotnet.http(entity)
    async with client:
        answer = await client.send("GET", f"/{entity}", headers)
    assert (answer.status, answer.content) == (200, b"X")


CODES = """202 300 502 400 409 201 417 403 504 410 505 500 411 405 301 204 203 406 404 501 304 206 402 412 407 302 307
303 416 413 408 414 205 503 401 415 306 426 305 418 450"""


@both
async def test_every_status_of_a_listener_passes_unchanged(dotnet: DotNet, entity: str) -> None:
    """N-StatusCodes: 502 and 504 among them, which the guide forbids and the suite uses."""

    async def handler(context: Context) -> None:
        context.response.status = int(context.headers["StatusCode"])
        await context.response.close()

    await dotnet.listen(entity, handler)
    client, headers = dotnet.http(entity)
    async with client:
        for code in CODES.split():
            for method, content in (("GET", None), ("POST", SMALL)):
                answer = await client.send(method, f"/{entity}", [*headers, ("StatusCode", code)], content)
                assert (answer.status, answer.content) == (int(code), b"")
                assert not answer.values("WWW-Authenticate")
    assert client.opened == 1


@both
async def test_every_verb_reaches_the_handler(dotnet: DotNet, entity: str) -> None:
    """N-Verbs"""
    handler = answering(None)
    await dotnet.listen(entity, handler)
    client, headers = dotnet.http(entity)
    verbs = ["DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE"]
    async with client:
        for verb in verbs:
            assert (await client.send(verb, f"/{entity}", headers)).status == 200
    assert [each.method for each in handler.asked] == verbs


@both
async def test_sender_names_the_listeners_that_it_wants_and_does_not_want(dotnet: DotNet, entity: str) -> None:
    """N-AllowedListeners, N-DisallowedListeners: C12"""
    listeners = [await dotnet.listen(entity, answering(name.encode())) for name in ("one", "two")]
    ids = [listener.id for listener in listeners]
    client, headers = dotnet.http(entity)
    nobody = "None of the connected listeners meet the AllowedListeners/DisallowedListeners criteria"

    async def ask(**filters: str) -> HttpResponse:
        named = [(f"Microsoft-Relay-{name}Listeners", value) for name, value in filters.items()]
        return await client.send("GET", f"/{entity}", [*headers, *named])

    async with client:
        for _ in range(5):
            assert (await ask(Allowed=ids[0])).content == b"one"
            assert (await ask(Allowed=f"3f0e1c52-0000-4000-8000-000000000000, {ids[1]}")).content == b"two"
            assert (await ask(Disallowed=ids[0])).content == b"two"
            assert (await ask(Allowed=",".join(ids), Disallowed=ids[1])).content == b"one"
        for refused in (await ask(Disallowed=",".join(ids)), await ask(Allowed="3f0e1c52-0000-4000-8000-000000000000")):
            assert refused.status == 404
            assert nobody in refused.reason
            assert not refused.values("Via")


async def test_answer_that_is_written_slowly_goes_by_a_rendezvous_after_two_seconds(dotnet: DotNet) -> None:
    """C07: the SDK's flush timer."""

    async def handler(context: Context) -> None:
        await context.response.write(b"first,")
        assert context.response.stream is not None
        await context.response.stream.flushed.wait()
        await context.response.write(b" then second")
        await context.response.close()

    await dotnet.listen("unauthenticated", handler)
    client, _ = dotnet.http("unauthenticated")
    async with client:
        answer = await client.send("GET", "/unauthenticated")
    assert (answer.status, answer.content) == (200, b"first, then second")
    compare(dotnet.tape, "dotnet/slow-answer", "An answer whose second part comes after the SDK's flush timer.")


async def test_runtime_information_is_read_by_the_sdk(dotnet: DotNet) -> None:
    """N-GetRuntimeInformation: C11"""
    await dotnet.listen("authenticated")
    string = dotnet.at("authenticated")
    told = await runtime_information(string, dotnet.tls, tape=dotnet.tape)
    assert {"CreatedAt", "UpdatedAt"} <= told.keys()
    assert (told["RequiresClientAuthorization"], told["ListenerCount"]) == ("true", "1")
    open_one = await runtime_information(dotnet.at("unauthenticated"), dotnet.tls, tape=dotnet.tape)
    assert (open_one["RequiresClientAuthorization"], open_one["ListenerCount"]) == ("false", "0")


async def test_runtime_information_of_what_is_not_there_or_not_allowed(dotnet: DotNet) -> None:
    """N-GetRuntimeInformation: C11"""
    with pytest.raises(EndpointNotFoundException, match="Endpoint does not exist"):
        await runtime_information(dotnet.string.at("nowhere"), dotnet.tls, tape=dotnet.tape)
    stranger = dotnet.at("authenticated").with_key("not the key")
    with pytest.raises(AuthorizationFailedException, match="token has an invalid signature"):
        await runtime_information(stranger, dotnet.tls, tape=dotnet.tape)


async def test_host_names_its_port_and_json_of_the_listener_is_the_serializers(dotnet: DotNet) -> None:
    """C01: the wire of the SDK as the gateway takes it: `Host` with the port, members sorted, `/` escaped."""
    handler = answering(None)

    async def with_slash(context: Context) -> None:
        context.response.headers["Location"] = "https://elsewhere/a/b"
        await handler(context)

    await dotnet.listen("unauthenticated", with_slash)
    client, _ = dotnet.http("unauthenticated")
    async with client:
        answer = await client.send("GET", "/unauthenticated")
    assert answer.values("Location") == ["https://elsewhere/a/b"]
    [control] = [track for track in dotnet.tape.tracks if track.name == "control"]
    command = control.client[-1][1]
    assert "https:\\/\\/elsewhere\\/a\\/b" in command
    assert list(json.loads(command)["response"]) == ["body", "requestId", "responseHeaders", "statusCode"]
