"""Python code as a target: a handler function, or an ASGI application (ASGI 3.0, HTTP)."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import unquote

from fanway.errors import ConfigurationError
from fanway.exchange import Request, Response
from fanway.listener import Handlers
from fanway.public import PublicSide, cut_address

Application = Callable[[Any, Any, Any], Any]


class CodeTarget:
    """`module:name`: a function of one request, or an ASGI application mounted at the address."""

    def __init__(self, code: Any, address: str) -> None:
        self._code = code
        self._address = address

    def handlers(self) -> Handlers:
        return Handlers(self._call_application if is_application(self._code) else self._code)

    async def close(self) -> None:
        pass

    async def _call_application(self, request: Request) -> Response:
        return await call_application(self._code, request, self._address)


def load_code(text: str, address: str) -> CodeTarget:
    """The object behind `module:name`, looked for in the working folder too. Raises ConfigurationError."""
    module_name, _, name = text.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        code: Any = importlib.import_module(module_name)
        for part in name.split("."):
            code = getattr(code, part)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"{text!r} cannot be loaded: {error}.") from None
    finally:
        sys.path.remove(os.getcwd())
    if not callable(code):
        raise ConfigurationError(f"{text!r} is neither a function nor an ASGI application.")
    return CodeTarget(code, address)


def is_application(code: Any) -> bool:
    """Whether it takes (scope, receive, send); a handler takes one request."""
    try:
        parameters = inspect.signature(code).parameters.values()
    except (TypeError, ValueError):
        return False
    required = [
        p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return len(required) == 3


async def call_application(application: Application, request: Request, address: str) -> Response:
    """Run an ASGI application for one request; its body streams."""
    raw_path, _, query = cut_address(request.target, address).partition("?")
    side = PublicSide.of(request.headers, address)
    headers = side.forwarded(request.headers, request.remote)
    host, _, port = request.remote.rpartition(":")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.headers.get("x-forwarded-proto", "http"),
        "path": unquote(side.prefix + raw_path),
        "raw_path": (side.prefix + raw_path).encode(),
        "root_path": unquote(side.prefix),
        "query_string": query.encode(),
        "headers": [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in headers.items()],
        "client": (host, int(port)) if port.isdecimal() else None,
        "server": None,
    }
    pieces = request.stream()
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=1)
    has_left = asyncio.Event()

    async def receive() -> dict[str, Any]:
        try:
            return {"type": "http.request", "body": await anext(pieces), "more_body": True}
        except StopAsyncIteration:
            if receive_end.is_set():
                await has_left.wait()
                return {"type": "http.disconnect"}
            receive_end.set()
            return {"type": "http.request", "body": b"", "more_body": False}

    receive_end = asyncio.Event()
    running = asyncio.ensure_future(application(scope, receive, messages.put))

    async def next_message() -> dict[str, Any] | None:
        waiting = asyncio.ensure_future(messages.get())
        await asyncio.wait({waiting, running}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        waiting.cancel()
        running.result()  # its failure is ours
        return None if messages.empty() else messages.get_nowait()

    async def body() -> AsyncIterator[bytes]:
        try:
            while (message := await next_message()) is not None:
                if message["type"] == "http.response.body":
                    if message.get("body"):
                        yield message["body"]
                    if not message.get("more_body"):
                        return
        finally:
            has_left.set()
            await asyncio.wait({running}, timeout=1.0)
            running.cancel()

    start = await next_message()
    if start is None or start["type"] != "http.response.start":
        running.cancel()
        raise RuntimeError("the application ended without an answer")
    answered: dict[str, str] = {}
    for name, value in start.get("headers", ()):
        key, text = name.decode("latin-1"), value.decode("latin-1")
        if key.lower() != "content-length":
            answered[key] = f"{answered[key]}, {text}" if key in answered else text
    return Response(body(), start["status"], answered)
