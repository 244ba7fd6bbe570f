"""What handlers get and what they may return."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fanway.exchange import Headers, Request, Response, as_response


async def pieces() -> AsyncIterator[bytes]:
    yield b'{"a"'
    yield b":1}"


def test_header_names_ignore_case_and_keep_their_spelling() -> None:
    headers = Headers({"X-cUSTOM": "1"})
    assert headers["x-custom"] == headers.get("X-CUSTOM") == "1"
    assert "x-Custom" in headers
    assert list(headers) == ["X-cUSTOM"]
    assert headers.get("y") is None


async def test_a_streamed_body_is_read_whole_or_in_pieces() -> None:
    assert await Request("a", "POST", "/a", {}, pieces()).json() == {"a": 1}
    assert [piece async for piece in Request("a", "POST", "/a", {}, pieces()).stream()] == [b'{"a"', b":1}"]
    again = Request("a", "POST", "/a", {}, pieces())
    assert await again.text() == await again.text() == '{"a":1}'


def test_a_target_is_split() -> None:
    request = Request("a", "GET", "/a/b?x=1?y", {})
    assert (request.path, request.query) == ("/a/b", "x=1?y")


@pytest.mark.parametrize(
    ("result", "status", "body", "kind"),
    [
        ({"a": 1}, 200, b'{"a":1}', "application/json"),
        ("hi", 200, b"hi", "text/plain; charset=utf-8"),
        (b"\xff", 200, b"\xff", "application/octet-stream"),
        (None, 204, b"", None),
        (Response("x", 404, {"content-type": "a/b"}), 404, b"x", "a/b"),
    ],
)
def test_a_result_becomes_a_response(result: object, status: int, body: bytes, kind: str | None) -> None:
    response = as_response(result)
    assert (response.status, response.whole()) == (status, body)
    assert Headers(response.fields()).get("content-type") == kind


async def test_an_async_generator_is_streamed() -> None:
    response = as_response(pieces())
    assert response.is_streamed
    assert b"".join([piece async for piece in response.pieces()]) == b'{"a":1}'


@pytest.mark.parametrize(("status", "phrase"), [(200, "OK"), (404, "Not Found"), (999, "")])
def test_the_standard_reason_phrase_stands_in(status: int, phrase: str) -> None:
    assert Response(status=status).phrase == phrase
    assert Response(status=status, reason="Mine").phrase == "Mine"
