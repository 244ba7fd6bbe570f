"""A small web application as it stands behind `fanway listen`: it knows nothing of any relay.

It links from the root, redirects, keeps a login in a cookie and echoes a WebSocket. Prints its port.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.datastructures import Headers

PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<link rel="stylesheet" href="/style.css">
<h1>{title}</h1><p id="who">{who}</p>
<p><a id="link" href="/deep/page?x=1">an absolute link</a> <a id="moved" href="/moved">a redirect</a>
<a id="login" href="/login?name=Ada">log in</a></p><p id="said"></p>
<script>
const socket = new WebSocket((location.protocol === 'https:' ? 'wss://' : 'ws://') + location.host + '/chat');
socket.onopen = () => socket.send('hello from the page');
socket.onmessage = event => document.getElementById('said').textContent = event.data;
</script>"""
STYLE = "body { font: 20px sans-serif; margin: 40px } h1 { color: rgb(0, 100, 0) } #said { color: rgb(0, 0, 150) }"


def respond(connection: ServerConnection, request: Request) -> Response | None:
    """The answer to a plain request; None lets an upgrade through."""
    path, query = urlsplit(request.path).path, parse_qs(urlsplit(request.path).query)
    if path == "/chat":
        return None
    if path == "/style.css":
        return answer(200, STYLE, ("Content-Type", "text/css"))
    if path == "/moved":
        return answer(302, "", ("Location", f"http://{request.headers['Host']}/deep/page?x=moved"))
    if path == "/login":
        cookie = f"user={query['name'][0]}; Path=/; HttpOnly; Domain=localhost"
        return answer(303, "", ("Location", "/"), ("Set-Cookie", cookie), ("Set-Cookie", "theme=dark; Path=/"))
    cookies = SimpleCookie(request.headers.get("Cookie", ""))
    who = f"user {cookies['user'].value}, theme {cookies['theme'].value}" if "user" in cookies else "nobody"
    title = "A deep page" if path == "/deep/page" else "The start page" if path == "/" else f"Nothing at {path}"
    return answer(200, PAGE.format(title=title, who=who), ("Content-Type", "text/html; charset=utf-8"))


def answer(status: int, body: str, *headers: tuple[str, str]) -> Response:
    content = body.encode()
    fields = Headers([*headers, ("Content-Length", str(len(content))), ("Connection", "close")])
    return Response(status, HTTPStatus(status).phrase, fields, content)


async def chat(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(f"the application heard: {message!s}")


async def main() -> None:
    async with serve(chat, "127.0.0.1", 0, process_request=respond) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
