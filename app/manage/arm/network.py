"""Who may reach a namespace: its network rules. Private endpoints are told of as what they are here: none."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from app.errors import EndpointNotFound
from app.manage.arm.places import OnNetwork
from app.manage.arm.relays import NAMESPACE
from app.manage.arm.route import ArmRoute
from app.manage.arm.shapes import NetworkRuleSetBody
from app.manage.arm.views import (
    NetworkRuleSetView,
    PrivateEndpointList,
    PrivateLinkList,
    PrivateLinkView,
    Resource,
)
from app.store.settings import NamespaceSettings

_RULES = f"{NAMESPACE}/networkRuleSets/default"
_ENDPOINT = f"{NAMESPACE}/privateEndpointConnections/{{privateEndpointConnectionName}}"
_Calling = Annotated[OnNetwork, Depends()]
_ConnectionName = Annotated[
    str, Path(alias="privateEndpointConnectionName", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")
]

router = APIRouter(tags=["network"], route_class=ArmRoute)


@router.get(_RULES, summary="The network rules of a namespace")
async def get_network_rules(call: _Calling) -> NetworkRuleSetView:
    return call.view.network()


@router.put(_RULES, summary="Replace the network rules of a namespace")
async def put_network_rules(call: _Calling, body: NetworkRuleSetBody) -> NetworkRuleSetView:
    settings = NamespaceSettings.of(call.namespace)
    settings = replace(settings, network=body.properties.over(settings.network))
    await call.registry.put_namespace(call.namespace, settings)
    return call.view.network()


@router.get(f"{NAMESPACE}/privateEndpointConnections", summary="None: there are no private endpoints here")
async def list_private_endpoints(call: _Calling) -> PrivateEndpointList:
    return PrivateEndpointList(value=[])


@router.get(_ENDPOINT, summary="404: there are no private endpoints here")
async def get_private_endpoint(call: _Calling, name: _ConnectionName) -> Resource:
    raise EndpointNotFound("There are no private endpoint connections here.")


@router.delete(
    _ENDPOINT,
    status_code=204,
    response_class=Response,
    summary="There are no private endpoints here, so there is nothing to delete",
)
async def delete_private_endpoint(call: _Calling, name: _ConnectionName) -> Response:
    return Response(status_code=204)


@router.get(f"{NAMESPACE}/privateLinkResources", summary="What a private link would lead to")
async def list_private_links(call: _Calling) -> PrivateLinkList:
    return PrivateLinkList(value=[call.view.private_link()])


@router.get(f"{NAMESPACE}/privateLinkResources/{{privateLinkResourceName}}", summary="The one that there is")
async def get_private_link(
    call: _Calling, name: Annotated[str, Path(alias="privateLinkResourceName")]
) -> PrivateLinkView:
    if name.lower() != "namespace":
        raise EndpointNotFound("The private link resource does not exist; the one that there is is 'namespace'.")
    return call.view.private_link()
