"""What all refusals of management have in common, whatever shape their door gives them: how they are noted, and what
the framework refuses by itself (no route, another method, a body that it cannot parse)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from app.errors import BadRequest, EndpointNotFound, MethodNotAllowed, RelayError, as_relay_error
from app.telemetry import new_tracking_id, printable
from fanout.errors import FanoutError

METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


def add_refusals(
    app: FastAPI,
    render: Callable[[str, RelayError, Exception | None], Response],
    render_misshapen: Callable[[str, RequestValidationError], Response],
) -> None:
    """Answer whatever goes wrong in a call in the manner of its door.

    `render` gets the path, the error and what raised it, if that was a call; `render_misshapen` what does not fit its
    description.
    """

    async def refuse(request: Request, error: Exception) -> Response:
        return render(request.url.path, as_relay_error(error), error)

    async def refuse_misshapen(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return render_misshapen(request.url.path, error)

    async def refuse_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        shown, headers = _as_refusal(request, error)
        response = render(request.url.path, shown, None)
        response.headers.update(headers)
        return response

    for kind in (RelayError, FanoutError, Exception):
        app.add_exception_handler(kind, refuse)
    app.add_exception_handler(RequestValidationError, refuse_misshapen)
    app.add_exception_handler(HTTPException, refuse_route)


def note_refusal(log: logging.Logger, path: str, error: RelayError, fault: Exception | None) -> str:
    """Log a refusal without any secret; the tracking id to find it by. `fault` is what went wrong on our side."""
    tracking_id = new_tracking_id()
    if error.status >= 500:
        log.error("%s failed (%s)", printable(path, 512), tracking_id, exc_info=fault)
    else:
        log.info("refused %s: %s %s (%s)", printable(path, 512), error.status, printable(error.message), tracking_id)
    return tracking_id


def _as_refusal(request: Request, error: HTTPException) -> tuple[RelayError, dict[str, str]]:
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
