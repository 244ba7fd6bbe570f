"""What the framework refuses by itself: no route, another method, a body that it cannot parse."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.errors import BadRequest, EndpointNotFound, MethodNotAllowed, RelayError

METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


def as_refusal(request: Request, error: HTTPException) -> tuple[RelayError, dict[str, str]]:
    """The error to show for it, and the headers that go along."""
    headers = dict(error.headers or {})
    if error.status_code == 405:
        methods = ", ".join(_methods(request))
        return MethodNotAllowed(f"Not with this method; here it is {methods}."), {**headers, "Allow": methods}
    known: dict[int, RelayError] = {
        400: BadRequest("The body is not JSON."),
        404: EndpointNotFound("There is nothing here."),
    }
    return known.get(error.status_code) or _other(error.status_code), headers


def _other(status: int) -> RelayError:
    return RelayError(HTTPStatus(status).phrase, status=status)


def _methods(request: Request) -> list[str]:
    """All that a path takes (RFC 9110, 10.2.1); the framework tells those of the first route only."""
    asked = [{**request.scope, "method": method} for method in METHODS]
    routes = request.app.routes
    return [each["method"] for each in asked if any(route.matches(each)[0] is Match.FULL for route in routes)]
