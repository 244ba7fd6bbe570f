"""A web application behind `fanway listen`, used in a browser: on a host of its own, and below a path."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Chromium, Page, running_chromium
from programs import FANWAY, running
from wires import until
from worlds import KEY, KEY_NAME, World

APPLICATION = Path(__file__).parents[1] / "browser" / "web_app.py"


@pytest.fixture
async def application(world: World) -> AsyncIterator[str]:
    """The application, listening at `open`, where senders need no token; its local URL."""
    async with running(sys.executable, APPLICATION) as app:
        url = f"http://localhost:{await app.text()}"
        credentials = {"FANWAY_URL": world.url, "FANWAY_KEY_NAME": KEY_NAME, "FANWAY_KEY": KEY}
        async with running(FANWAY, "listen", "open", "--to", url, env=credentials):
            roster = world.gateway.context.realms[world.namespace].roster
            await until(lambda: roster.count("open") == 1)
            yield url


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Chromium]:
    async with running_chromium(tmp_path / "profile") as chromium:
        yield chromium


async def shown(page: Page) -> dict[str, Any]:
    """What a person would see, once the socket has answered."""
    return await page.evaluate(
        """async () => {
            const said = document.getElementById('said');
            while (!said.textContent) await new Promise(done => setTimeout(done, 10));
            const text = id => document.getElementById(id).textContent;
            return {title: document.title, who: text('who'), said: text('said'), path: location.pathname,
                    search: location.search, colour: getComputedStyle(document.querySelector('h1')).color};
        }"""
    )


async def follow(browser: Chromium, page: Page, link: str) -> Page:
    """A page that was reached by clicking a link."""
    return await browser.open(await page.evaluate("id => document.getElementById(id).href", link))


async def test_a_whole_application_works_on_a_host_of_its_own(
    world: World, application: str, browser: Chromium
) -> None:
    await world.client.put("/-/api/aliases/demo.localhost", json={"address": "open"}, headers=world.auth())
    start = await browser.open(f"http://demo.localhost:{world.port}/")
    assert await shown(start) == {
        "title": "The start page",
        "who": "nobody",
        "said": "the application heard: hello from the page",
        "path": "/",
        "search": "",
        "colour": "rgb(0, 100, 0)",
    }
    deep = await shown(await follow(browser, start, "link"))
    assert (deep["title"], deep["path"], deep["search"]) == ("A deep page", "/deep/page", "?x=1")
    moved = await shown(await follow(browser, start, "moved"))
    assert (moved["title"], moved["path"], moved["search"]) == ("A deep page", "/deep/page", "?x=moved")
    known = await follow(browser, start, "login")
    seen = await shown(known)
    assert (seen["title"], seen["path"], seen["who"]) == ("The start page", "/", "user Ada, theme dark")
    picture = base64.b64decode(await known.screenshot())
    assert picture.startswith(b"\x89PNG")


async def test_below_a_path_redirects_and_cookies_fit_too(world: World, application: str, browser: Chromium) -> None:
    page = await browser.open(f"{world.url}/open/moved")
    where = await page.evaluate("() => [location.pathname, location.search, document.title]")
    assert where == ["/open/deep/page", "?x=moved", "A deep page"]
    page = await browser.open(f"{world.url}/open/login?name=Ada")
    where = await page.evaluate("() => [location.pathname, document.getElementById('who').textContent]")
    assert where == ["/open/", "user Ada, theme dark"]
    elsewhere = await browser.open(f"{world.url}/-/health/live")
    assert await elsewhere.evaluate("() => document.cookie") == "", "cookies stay with the address"


async def test_the_application_is_told_its_public_side(world: World) -> None:
    heads: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                heads.put_nowait(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    await world.gateway.registry.put_alias(world.namespace, "demo.example", "open")
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    credentials = {"FANWAY_URL": world.url, "FANWAY_KEY_NAME": KEY_NAME, "FANWAY_KEY": KEY}
    roster = world.gateway.context.realms[world.namespace].roster
    async with server, running(FANWAY, "listen", "open", "--to", url, "--keep-host", "--no-rewrite", env=credentials):
        await until(lambda: roster.count("open") == 1)
        own = await world.client.get("/y", headers={"Host": "demo.example", "X-Forwarded-Prefix": "/forged"})
        head = await heads.get()
        assert head.startswith(b"GET /y HTTP/1.1\r\n")
        assert b"Host: demo.example\r\n" in head
        assert b"X-Forwarded-Proto: http\r\n" in head
        assert b"X-Forwarded-For: 127.0.0.1\r\n" in head
        assert b"X-Forwarded-Prefix" not in head
        assert b"Fanway-Mount" not in head
        below = await world.client.get("/open/y")
        head = await heads.get()
        assert head.startswith(b"GET /y HTTP/1.1\r\n")
        assert b"X-Forwarded-Prefix: /open\r\n" in head
    assert own.headers["location"] == below.headers["location"] == "/x"
