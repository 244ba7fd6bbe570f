"""Bodies are held whole before anyone is asked for a token: what that costs is their size, however they come."""

from __future__ import annotations

from typing import Any

from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from app.errors import RelayError
from app.manage.body_limit import MAX_BODY_BYTES, BodyLimit


def refuse(path: str, error: RelayError) -> Response:
    return PlainTextResponse(path, error.status)


async def run(pieces: list[bytes]) -> tuple[list[Message], list[Message]]:
    """What the application behind it was given, and what was answered instead of it."""
    given: list[Message] = []
    sent: list[Message] = []
    last = len(pieces) - 1
    messages: list[Any] = [
        {"type": "http.request", "body": piece, "more_body": at < last} for at, piece in enumerate(pieces)
    ]
    messages.append({"type": "http.disconnect"})

    async def receive() -> Message:
        return dict(messages.pop(0))

    async def send(message: Message) -> None:
        sent.append(message)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not given or given[-1]["type"] != "http.disconnect":
            given.append(await receive())

    await BodyLimit(app, refuse)({"type": "http", "path": "/x"}, receive, send)
    return given, sent


async def test_a_body_in_many_pieces_is_kept_as_one() -> None:
    """A piece of one byte would otherwise cost some hundred times as much."""
    given, sent = await run([b"a"] * 1000)
    assert given == [
        {"type": "http.request", "body": b"a" * 1000, "more_body": False},
        {"type": "http.disconnect"},
    ]
    assert not sent


async def test_a_body_may_be_so_large_and_no_larger() -> None:
    given, _ = await run([b"a" * MAX_BODY_BYTES])
    assert len(given[0]["body"]) == MAX_BODY_BYTES
    given, sent = await run([b"a" * MAX_BODY_BYTES, b"b"])
    assert (given, sent[0]["status"]) == ([], 413)


async def test_who_leaves_in_the_middle_of_a_body_is_known_to_have_left() -> None:
    given: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        given.append(await receive())

    messages: list[Message] = [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None: ...

    await BodyLimit(app, refuse)({"type": "http", "path": "/x"}, receive, send)
    assert given == [{"type": "http.disconnect"}]
