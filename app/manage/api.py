"""The management API: `/-/api` (JSON, described by OpenAPI) and `/-/health`. Who may call it: `callers.py`."""

from __future__ import annotations

import logging
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from app.errors import BadRequest, ClaimMissing, EndpointNotFound, RelayError
from app.manage import delayed, durables, namespaces, presence, push, retained, revocations
from app.manage.atom import AtomDoor
from app.manage.audit import Audit
from app.manage.body_limit import BodyLimit
from app.manage.callers import REFUSALS, TAKEN, Calling, Context, OnRelay
from app.manage.emulator import router as emulator
from app.manage.held import Held
from app.manage.mistakes import reason_of
from app.manage.names import HostName, RelayPath, RuleName
from app.manage.openapi import describe_truly
from app.manage.refusals import add_refusals, note_refusal
from app.manage.shapes import (
    AliasList,
    AliasShape,
    AliasView,
    KeysView,
    RelayList,
    RelayPatch,
    RelayShape,
    RelayView,
    Rotation,
    RuleList,
    RuleShape,
    RuleView,
)
from app.namespace import Relay, Right, fold
from app.store.settings import check_relay_name

_log = logging.getLogger("fanway.manage")


router = APIRouter(prefix="/-/api", responses=REFUSALS)
health = APIRouter(prefix="/-/health", tags=["health"])


@router.get("/status", tags=["status"], summary="The gateway at a glance")
async def get_status(caller: Calling) -> dict[str, Any]:
    return caller.context.status(caller.manage_namespace())


@router.get("/relays", tags=["relays"], summary="All relays that the token manages")
async def list_relays(caller: Calling) -> RelayList:
    grant = caller.grant()
    grant.require_right(Right.MANAGE)
    relays = sorted(caller.namespace.relays.values(), key=lambda relay: relay.key)
    return RelayList(relays=[caller.view(relay) for relay in relays if grant.permits_all(Right.MANAGE, relay)])


@router.get("/relays/{path:path}", tags=["relays"], summary="One relay")
async def get_relay(path: RelayPath, caller: Calling) -> RelayView:
    return caller.view(caller.manage_relay(path))


@router.put(
    "/relays/{path:path}",
    tags=["relays"],
    summary="Create a relay, or replace its settings",
    responses={201: {"model": RelayView, "description": "It is new."}},
)
async def put_relay(path: RelayPath, body: RelayShape, caller: Calling, response: Response) -> RelayView:
    """201 when it is new. Another `profile` makes it a new relay: what lives on the old one ends; its rules stay."""
    registry = caller.context.registry
    if fold(path) in caller.namespace.relays:
        caller.manage_relay(path)
    else:
        grant = caller.grant()
        check_relay_name(path)
        grant.require_whole(Right.MANAGE, Relay(path))
        response.status_code = 201
    return caller.view(await registry.put_relay(caller.namespace, path, body.over(registry.defaults)))


@router.patch("/relays/{path:path}", tags=["relays"], summary="Change some settings of a relay")
async def patch_relay(path: RelayPath, body: RelayPatch, caller: Calling) -> RelayView:
    registry = caller.context.registry
    relay = caller.manage_relay(path)
    settings = body.applied_to(relay).over(registry.defaults)
    must_exist = None if relay.is_dynamic else True  # who deletes it meanwhile shall not see it come back
    return caller.view(await registry.put_relay(caller.namespace, path, settings, exists=must_exist))


@router.delete("/relays/{path:path}", tags=["relays"], status_code=204, summary="Remove a relay and its rules")
async def delete_relay(path: RelayPath, caller: Calling) -> None:
    """What lives on it ends."""
    await caller.context.registry.delete_relay(caller.namespace, caller.manage_relay(path))


@router.get("/rules", tags=["rules"], summary="The rules of the namespace, or of a relay")
async def list_rules(caller: Calling, path: OnRelay = None) -> RuleList:
    namespace, relay = caller.scope(path)
    rules = namespace.rules if relay is None else relay.rules
    return RuleList(rules=[RuleView.of(rule) for rule in rules.values()])


@router.put(
    "/rules/{name}",
    tags=["rules"],
    summary="Create a rule, or change its rights and keys",
    responses={201: {"model": RuleView, "description": "It is new."}},
)
async def put_rule(
    name: RuleName, body: RuleShape, caller: Calling, response: Response, path: OnRelay = None
) -> RuleView:
    """201 when it is new."""
    namespace, relay = caller.scope(path)
    if fold(name) not in (namespace.rules if relay is None else relay.rules):
        response.status_code = 201
    rule = await caller.context.registry.put_rule(
        namespace, relay, name, body.right(), *body.keys(), creates_relays=body.creates_relays
    )
    return RuleView.of(rule)


@router.delete("/rules/{name}", tags=["rules"], status_code=204, summary="Remove a rule")
async def delete_rule(name: RuleName, caller: Calling, path: OnRelay = None) -> None:
    """What lives on its keys ends."""
    await caller.context.registry.delete_rule(*caller.scope(path), name)


@router.get("/rules/{name}/keys", tags=["rules"], summary="The keys of a rule")
async def get_keys(name: RuleName, caller: Calling, response: Response, path: OnRelay = None) -> KeysView:
    namespace, relay = caller.scope(path)
    rule = (namespace.rules if relay is None else relay.rules).get(fold(name))
    if rule is None:
        raise EndpointNotFound("The rule does not exist.")
    response.headers["Cache-Control"] = "no-store"
    return KeysView.of(rule)


@router.post("/rules/{name}/rotate", tags=["rules"], summary="Renew one key of a rule")
async def rotate_key(
    name: RuleName, body: Rotation, caller: Calling, response: Response, path: OnRelay = None
) -> KeysView:
    """What lives on the old key ends; the other key goes on."""
    rule = await caller.context.registry.rotate_key(*caller.scope(path), name, body.key)
    response.headers["Cache-Control"] = "no-store"
    return KeysView.of(rule)


@router.get("/aliases", tags=["aliases"], summary="Further host names of the namespace")
async def list_aliases(caller: Calling) -> AliasList:
    return AliasList.of(caller.manage_namespace())


@router.get("/aliases/{host}", tags=["aliases"], summary="Where an alias leads")
async def get_alias(host: HostName, caller: Calling) -> AliasView:
    address = caller.manage_namespace().aliases.get(host.lower())
    if address is None:
        raise EndpointNotFound("The namespace has no such alias.")
    return AliasView(host=host.lower(), address=address)


@router.put(
    "/aliases/{host}",
    tags=["aliases"],
    summary="Let the namespace answer to another host name",
    responses={201: {"model": AliasView, "description": "It is new."}, 409: TAKEN},
)
async def put_alias(host: HostName, caller: Calling, response: Response, body: AliasShape | None = None) -> AliasView:
    """201 when it is new. The gateway's own names (of this machine, of its URL) are the primary namespace's to give."""
    namespace, host = caller.manage_namespace(), host.lower()
    if caller.context.hosts.is_reserved(namespace, host):
        raise ClaimMissing("Unauthorized access. This host name is the gateway's own.")
    if host not in namespace.aliases:
        response.status_code = 201
    address = body.address if body is not None else ""
    await caller.context.registry.put_alias(namespace, host, address)
    return AliasView(host=host, address=address)


@router.delete("/aliases/{host}", tags=["aliases"], status_code=204, summary="Take an alias away")
async def delete_alias(host: HostName, caller: Calling) -> None:
    await caller.context.registry.delete_alias(caller.manage_namespace(), host)


@health.get("/live", summary="The process runs")
@health.head("/live", include_in_schema=False)
async def live() -> dict[Literal["status"], str]:
    return {"status": "live"}


@health.get("/ready", summary="The gateway serves", responses={503: {"description": "Starting or draining."}})
@health.head("/ready", include_in_schema=False)
async def ready(request: Request, response: Response) -> dict[Literal["status"], str]:
    context: Context = request.app.state.context
    if context.is_ready():
        return {"status": "ready"}
    response.status_code = 503
    return {"status": "not ready"}


def create_api(context: Context) -> FastAPI:
    """The application for everything under `/-/` that is not events."""
    api = FastAPI(
        title="Fanway management",
        version="1",
        description="Relays, rules, keys and host names of a namespace. Tokens: `Authorization: SharedAccessSignature "
        "…`, header `ServiceBusAuthorization` or query `sb-hc-token`; made by `fanway token`.",
        docs_url="/-/api/docs",
        redoc_url=None,
        openapi_url="/-/api/openapi.json",
        swagger_ui_oauth2_redirect_url=None,
    )
    api.state.context = context
    api.include_router(router)
    api.include_router(namespaces.router)
    api.include_router(revocations.router)
    api.include_router(durables.router)
    api.include_router(delayed.router)
    api.include_router(presence.router)
    api.include_router(retained.router)
    api.include_router(push.router)
    api.include_router(health)
    if context.emulator is not None:
        api.include_router(emulator)
    api.add_middleware(BodyLimit, refuse=failure)
    api.add_middleware(AtomDoor, context=context)
    api.add_middleware(Held, context=context)
    api.add_middleware(Audit)
    add_refusals(api, failure, _misshapen)
    describe_truly(api)
    return api


def failure(path: str, error: RelayError, fault: Exception | None = None) -> JSONResponse:
    """A refusal in the one JSON shape of our own doors, logged; `fault` is what went wrong on our side."""
    tracking_id = note_refusal(_log, path, error, fault)
    headers = {"TrackingId": tracking_id}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        headers["WWW-Authenticate"] = "SharedAccessSignature"  # RFC 9110, 15.5.2 asks for one
    detail = {"status": error.status, "code": error.code, "message": error.message, "tracking_id": tracking_id}
    return JSONResponse({"error": detail}, error.status, headers)


def _misshapen(path: str, error: RequestValidationError) -> Response:
    reasons = []
    for item in error.errors():
        place = ".".join(str(step) for step in item["loc"] if step != "body")
        reason = reason_of(item)
        reasons.append(f"{place}: {reason}" if place else reason)
    return failure(path, BadRequest("; ".join(reasons)))
