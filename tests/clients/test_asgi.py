"""Python code as a target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fanway.asgi import call_application, is_application, load_code
from fanway.errors import ConfigurationError
from fanway.exchange import Request


async def application(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    answer = [scope["method"], scope["path"], scope["root_path"], scope["query_string"].decode(), body.decode()]
    await send({"type": "http.response.start", "status": 201, "headers": [(b"X-Y", b"1"), (b"content-length", b"9")]})
    for word in answer:
        await send({"type": "http.response.body", "body": word.encode() + b"|", "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def failing(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("broken")


async def handler(request: Request) -> str:
    return "hi"


def test_an_application_is_told_from_a_handler() -> None:
    assert is_application(application)
    assert not is_application(handler)


async def test_an_application_answers_in_pieces() -> None:
    response = await call_application(application, Request("shop", "POST", "/shop/a%20b?x=1", {}, b"body"), "shop")
    assert (response.status, response.headers) == (201, {"X-Y": "1"})
    assert b"".join([p async for p in response.pieces()]) == b"POST|/shop/a b|/shop|x=1|body|"


async def test_a_failing_application_is_an_error() -> None:
    with pytest.raises(ValueError, match="broken"):
        await call_application(failing, Request("shop", "GET", "/shop", {}), "shop")


def test_code_is_found_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fanway_test_target.py").write_text("async def app(request): return 'x'\nvalue = 1\n")
    monkeypatch.chdir(tmp_path)
    assert load_code("fanway_test_target:app", "shop").handlers().on_request is not None
    for missing in ("fanway_test_target:nothing", "fanway_test_absent:app", "fanway_test_target:value"):
        with pytest.raises(ConfigurationError):
            load_code(missing, "shop")
