"""Headless Chromium, driven by its DevTools protocol: a page is opened, expressions are evaluated in it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from programs import PATIENCE, require
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

FLAGS = (
    "--headless",
    "--no-sandbox",  # the sandbox refuses to start as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)


class Page:
    """A tab of its own."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser = browser
        self._session = session

    async def evaluate(self, expression: str, *arguments: Any) -> Any:
        """The JSON value of a JavaScript function called with these arguments, awaited if it is a promise."""
        call = f"({expression})({', '.join(json.dumps(argument) for argument in arguments)})"
        options = {"expression": call, "awaitPromise": True, "returnByValue": True}
        answer = await self._browser.command("Runtime.evaluate", self._session, **options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def screenshot(self) -> str:
        """What the tab shows, as PNG in base64."""
        picture: str = (await self._browser.command("Page.captureScreenshot", self._session))["data"]
        return picture


class Chromium:
    """A running browser with a new profile."""

    def __init__(self, devtools: ClientConnection) -> None:
        self._devtools = devtools
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def command(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The answer to one DevTools command. Raises `AssertionError` when the browser refuses it."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._devtools.send(json.dumps(message))
        async with asyncio.timeout(PATIENCE):
            return await answer

    async def open(self, url: str) -> Page:
        """A new tab in which `url` is loaded."""
        target = (await self.command("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self.command("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        await self.command("Page.navigate", session, url=url)
        page = Page(self, session)
        loaded = "() => document.readyState === 'complete' || new Promise(done => addEventListener('load', done))"
        await page.evaluate(f"async () => {{ await ({loaded})(); }}")
        return page

    async def pump(self) -> None:
        """Hand out answers until the browser is gone, which it is without a Close frame."""
        with contextlib.suppress(ConnectionClosed):
            async for text in self._devtools:
                message = json.loads(text)
                waiting = self._waiting.pop(message.get("id"), None)
                if waiting is None or waiting.done():
                    continue
                if "error" in message:
                    waiting.set_exception(AssertionError(message["error"]))
                else:
                    waiting.set_result(message["result"])


@contextlib.asynccontextmanager
async def running_chromium(profile: Path) -> AsyncIterator[Chromium]:
    """A browser whose profile is this new folder. Skips the test where Chromium is not installed."""
    executable = require("chromium", "chromium-browser", "google-chrome")
    process = await asyncio.create_subprocess_exec(
        executable,
        *FLAGS,
        f"--user-data-dir={profile}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE):
            while not (line := await process.stderr.readline()).startswith(b"DevTools listening on "):
                assert line, "Chromium ended at once"
        draining = asyncio.create_task(process.stderr.read())
        async with connect(line.split()[-1].decode(), max_size=None) as devtools:
            browser = Chromium(devtools)
            pumping = asyncio.create_task(browser.pump())
            try:
                yield browser
            finally:
                await browser.command("Browser.close")
                await pumping
        await draining
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
