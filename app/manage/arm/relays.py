"""Hybrid connections and WCF relays: create, read, delete, list. What ARM has no name for stays as it is."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from app.errors import Conflict, EndpointNotFound
from app.manage.arm.paging import SkipToken, page
from app.manage.arm.places import InNamespace, RelayName, find_relay, is_shown, relay_path
from app.manage.arm.route import ArmRoute
from app.manage.arm.shapes import (
    HybridConnectionBody,
    HybridConnectionProperties,
    WcfRelayBody,
    WcfRelayProperties,
)
from app.manage.arm.views import (
    WCF_TYPES,
    HybridConnectionList,
    HybridConnectionView,
    WcfRelayList,
    WcfRelayView,
)
from app.namespace import Namespace, Profile, Relay, fold
from app.store.settings import RelaySettings

NAMESPACE = (
    "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.Relay/namespaces/"
    "{namespaceName}"
)
HYBRID_CONNECTION = f"{NAMESPACE}/hybridConnections/{{relayName}}"
WCF_RELAY = f"{NAMESPACE}/wcfRelays/{{relayName}}"

_PROFILES = {name: profile for profile, name in WCF_TYPES.items()}
_Calling = Annotated[InNamespace, Depends()]

router = APIRouter(route_class=ArmRoute)


@router.get(f"{NAMESPACE}/hybridConnections", tags=["hybridConnections"], summary="All hybrid connections")
async def list_hybrid_connections(call: _Calling, skip_token: SkipToken = None) -> HybridConnectionList:
    relays, next_link = _page(call, False, skip_token)
    return HybridConnectionList(
        value=[call.view.hybrid_connection(relay, _listeners(call, relay)) for relay in relays], next_link=next_link
    )


@router.get(HYBRID_CONNECTION, tags=["hybridConnections"], summary="One hybrid connection")
async def get_hybrid_connection(call: _Calling, name: RelayName) -> HybridConnectionView:
    relay = find_relay(call.namespace, name, False)
    if relay is None:
        raise EndpointNotFound("The hybrid connection does not exist.")
    return call.view.hybrid_connection(relay, _listeners(call, relay))


@router.put(
    HYBRID_CONNECTION, tags=["hybridConnections"], summary="Create a hybrid connection, or replace its settings"
)
async def put_hybrid_connection(call: _Calling, name: RelayName, body: HybridConnectionBody) -> HybridConnectionView:
    relay = await _put(call, name, Profile.HYBRID_CONNECTION, body.properties or HybridConnectionProperties())
    return call.view.hybrid_connection(relay, _listeners(call, relay))


@router.delete(
    HYBRID_CONNECTION,
    tags=["hybridConnections"],
    status_code=200,
    response_class=Response,
    summary="Delete a hybrid connection and its rules",
    responses={204: {"description": "There was none."}},
)
async def delete_hybrid_connection(call: _Calling, name: RelayName) -> Response:
    """What lives on it ends."""
    return await _delete(call, find_relay(call.namespace, name, False))


@router.get(f"{NAMESPACE}/wcfRelays", tags=["wcfRelays"], summary="All WCF relays, the dynamic ones too")
async def list_wcf_relays(call: _Calling, skip_token: SkipToken = None) -> WcfRelayList:
    relays, next_link = _page(call, True, skip_token)
    return WcfRelayList(
        value=[call.view.wcf_relay(relay, _listeners(call, relay)) for relay in relays], next_link=next_link
    )


@router.get(
    WCF_RELAY,
    tags=["wcfRelays"],
    summary="One WCF relay",
    response_model=WcfRelayView,
    responses={204: {"description": "There is none."}},
)
async def get_wcf_relay(call: _Calling, name: RelayName) -> WcfRelayView | Response:
    """204 when there is none, as Azure answers it."""
    relay = find_relay(call.namespace, name, True)
    return Response(status_code=204) if relay is None else call.view.wcf_relay(relay, _listeners(call, relay))


@router.put(WCF_RELAY, tags=["wcfRelays"], summary="Create a WCF relay, or replace its settings")
async def put_wcf_relay(call: _Calling, name: RelayName, body: WcfRelayBody) -> WcfRelayView:
    """`NetOneway` and `NetEvent` come into being by use only."""
    properties = body.properties or WcfRelayProperties()
    old = find_relay(call.namespace, name, True)
    if properties.relay_type is not None:
        profile = _PROFILES[properties.relay_type]
    else:
        profile = old.profile if old is not None and not old.profile.is_dynamic_only else Profile.NET_TCP
    relay = await _put(call, name, profile, properties)
    return call.view.wcf_relay(relay, _listeners(call, relay))


@router.delete(
    WCF_RELAY,
    tags=["wcfRelays"],
    status_code=200,
    response_class=Response,
    summary="Delete a WCF relay and its rules",
    responses={204: {"description": "There was none."}},
)
async def delete_wcf_relay(call: _Calling, name: RelayName) -> Response:
    """What lives on it ends."""
    return await _delete(call, find_relay(call.namespace, name, True))


async def _put(call: InNamespace, name: str, profile: Profile, properties: HybridConnectionProperties) -> Relay:
    namespace: Namespace = call.namespace
    path = relay_path(namespace, name)
    old = namespace.relays.get(fold(path))
    if old is not None and not old.is_dynamic and old.profile is not profile:
        kind = WCF_TYPES.get(old.profile, old.profile.value)
        raise Conflict(f"'{old.name}' exists and is of the type '{kind}', which does not change; delete it first.")
    settings = call.registry.defaults if old is None else RelaySettings.of(old)
    authorized = properties.requires_client_authorization
    settings = replace(
        settings,
        profile=profile,
        requires_client_authorization=True if authorized is None else authorized,
        user_metadata=properties.user_metadata or "",
    )
    if isinstance(properties, WcfRelayProperties):
        secure = properties.requires_transport_security
        settings = replace(settings, requires_transport_security=True if secure is None else secure)
    return await call.registry.put_relay(namespace, path, settings)


async def _delete(call: InNamespace, relay: Relay | None) -> Response:
    if relay is None:
        return Response(status_code=204)
    with suppress(EndpointNotFound):  # two may delete it at once
        await call.registry.delete_relay(call.namespace, relay)
    return Response()


def _page(call: InNamespace, is_wcf: bool, skip_token: str | None) -> tuple[list[Relay], str | None]:
    shown = (relay for relay in call.namespace.relays.values() if is_shown(relay, is_wcf))
    return page(call, shown, lambda relay: relay.key, skip_token)


def _listeners(call: InNamespace, relay: Relay) -> int:
    return call.context.counts(call.namespace, relay)[0]
