"""The URL by which a caller came, for links that lead back."""

from __future__ import annotations

from starlette.requests import Request


def origin_of(request: Request) -> str:
    """`http://host` or `https://host`, as far as that is known: behind a trusted proxy as the proxy says."""
    known: str | None = request.scope.get("extensions", {}).get("fanway.origin")
    return known or f"{request.url.scheme}://{request.headers.get('host', '')}"
