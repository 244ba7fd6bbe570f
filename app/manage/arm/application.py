"""Azure's management (ARM) as an ASGI application: who is let in, what every answer carries, the routes.

It answers for all namespaces of the gateway, whatever the Host header says, and only to operators. The token is
asked for first, then the version: nothing is told to strangers, not even which versions there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access.operator import bearer_of
from app.errors import RelayError
from app.manage.arm import namespaces, network, operations, relays, rules
from app.manage.arm.places import ArmContext
from app.manage.arm.refusal import misshapen, refusal
from app.manage.arm.versions import check_version
from app.manage.arm.views import ArmFailureBody
from app.manage.audit import Audit
from app.manage.body_limit import BodyLimit
from app.manage.openapi import describe_truly
from app.manage.refusals import add_refusals
from app.telemetry import new_tracking_id
from app.wire.azure.arm import ArmPath, api_version, find_arm_path

OPENAPI = "/-/api/arm-openapi.json"

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ArmFailureBody, "description": "Not understood; the message says what is wrong and where."},
    401: {"model": ArmFailureBody, "description": "No bearer token, or one that is no operator's."},
    403: {"model": ArmFailureBody, "description": "A quota is full."},
    404: {"model": ArmFailureBody, "description": "There is no such thing."},
    409: {"model": ArmFailureBody, "description": "The name is taken, or what has it cannot be changed so."},
}


class ArmDoor:
    """Hands Azure's management what is its own, and everything else to `other`."""

    def __init__(self, context: ArmContext, other: ASGIApp) -> None:
        self._other = other
        self._arm = create_arm(context)
        self._admitted = BodyLimit(_Admission(context, self._arm), refusal)
        self._audited = Audit(self._answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._other(scope, receive, send)
        if scope["path"] == OPENAPI:
            return await self._arm(scope, receive, send)
        found = find_arm_path(scope["raw_path"].decode("latin-1"))
        if found is None:
            return await self._other(scope, receive, send)
        await self._audited({**scope, "fanway.arm": found}, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._admitted(scope, receive, _Marked(scope, send))


class _Admission:
    """Lets operators in who ask by a version that there is; the path they go on with is spelled as documented."""

    def __init__(self, context: ArmContext, app: ASGIApp) -> None:
        self._context = context
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found: ArmPath = scope["fanway.arm"]
        query = scope["query_string"].decode("latin-1")
        try:
            await self._context.operators.verify(bearer_of(Headers(scope=scope).get("authorization")))
            check_version(api_version(query) or "", found.kind)
        except RelayError as error:
            return await refusal(scope["path"], error)(scope, receive, send)
        folded = [(name.lower(), value) for name, value in parse_qsl(query, keep_blank_values=True)]
        scope = {
            **scope,
            "path": found.path,
            "raw_path": quote(found.path).encode(),
            "query_string": urlencode(folded).encode(),
        }
        await self._app(scope, receive, send)


class _Marked:
    """Gives every answer the ids by which it is found again, and keeps it out of caches."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._asked: Mapping[str, str] = Headers(scope=scope)
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            request_id = headers.setdefault("x-ms-request-id", new_tracking_id())
            correlation_id = self._asked.get("x-ms-correlation-request-id") or request_id
            headers.setdefault("x-ms-correlation-request-id", correlation_id)
            headers.setdefault("trackingid", request_id)  # as on our other doors
            if self._asked.get("x-ms-return-client-request-id", "").lower() == "true":
                headers.setdefault("x-ms-client-request-id", self._asked.get("x-ms-client-request-id", ""))
            headers.setdefault("cache-control", "no-store")
        await self._send(message)


def create_arm(context: ArmContext) -> FastAPI:
    """The routes alone, without the door that lets callers in."""
    bearer = HTTPBearer(auto_error=False, description="An operator's token; `fanway token --operator` prints it.")
    arm = FastAPI(
        title="Fanway as Azure Relay's resource provider",
        version="2026-01-01",
        description="What `Microsoft.Relay` is in Azure Resource Manager. Clients of it need another endpoint only.",
        openapi_url=OPENAPI,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(bearer)],
        responses=_REFUSALS,
    )
    arm.state.context = context
    for router in (operations.router, namespaces.router, relays.router, network.router, *rules.routers):
        arm.include_router(router)
    add_refusals(arm, refusal, misshapen)
    describe_truly(arm)
    return arm
