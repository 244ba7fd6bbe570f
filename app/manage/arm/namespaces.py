"""Namespaces: create, read, change, delete, list, and whether a name is free. All is done when the answer comes."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from app.access.keyring import ROOT_RULE, new_rule
from app.errors import AddressExists, BadRequest, Conflict, EndpointNotFound, QuotaExceeded
from app.hosts import own_names
from app.manage.arm.paging import SkipToken, page
from app.manage.arm.places import NEW_NAMESPACE, Call, OfGroup, OfSubscription, OnNamespace, PutNamespace
from app.manage.arm.route import ArmRoute
from app.manage.arm.shapes import NameBody, NamespaceBody, NamespacePatch, NamespaceProperties
from app.manage.arm.views import AvailabilityView, NamespaceList, NamespaceView
from app.namespace import Namespace, NetworkRules, Right, fold
from app.store.settings import NamespaceSettings

MAX_NAMESPACES = 1000  # in one subscription, as Azure Relay has it
NAME_RULE = "A namespace's name has 6 to 50 letters, digits and '-', begins with a letter and ends without '-'."

_NAME = re.compile(NEW_NAMESPACE)
_IN_SUBSCRIPTION = "/subscriptions/{subscriptionId}/providers/Microsoft.Relay"
_IN_GROUP = "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.Relay/namespaces"

router = APIRouter(tags=["namespaces"], route_class=ArmRoute)


@router.get(f"{_IN_SUBSCRIPTION}/namespaces", summary="All namespaces of a subscription")
async def list_namespaces(call: Annotated[OfSubscription, Depends()], skip_token: SkipToken = None) -> NamespaceList:
    return _list(call, skip_token)


@router.get(_IN_GROUP, summary="All namespaces of a resource group")
async def list_group(call: Annotated[OfGroup, Depends()], skip_token: SkipToken = None) -> NamespaceList:
    return _list(call, skip_token)


@router.get(f"{_IN_GROUP}/{{namespaceName}}", summary="One namespace")
async def get_namespace(call: Annotated[OnNamespace, Depends()]) -> NamespaceView:
    return _view(call, call.get())


@router.put(
    f"{_IN_GROUP}/{{namespaceName}}",
    summary="Create a namespace, or replace its settings",
    responses={201: {"model": NamespaceView, "description": "It is new, and has a rule with all rights."}},
)
async def put_namespace(
    call: Annotated[PutNamespace, Depends()], body: NamespaceBody, response: Response
) -> NamespaceView:
    """201 when it is new; it has a rule `RootManageSharedAccessKey` with all rights then."""
    properties = body.properties
    _check_tls(call, properties)
    access = (properties.public_network_access if properties else None) or "Enabled"
    namespace = call.find()
    if namespace is None:
        namespace = await _create(call, body.location, body.tags or {}, NetworkRules(public_network_access=access))
        response.status_code = 201
        return _view(call, namespace)
    if _plain(body.location) != _plain(namespace.location) and namespace.subscription:
        raise Conflict(
            f"The resource '{namespace.name}' already exists in location '{namespace.location}' in resource group "
            f"'{call.group}'. A resource with the same name cannot be created in location '{body.location}'."
        )
    settings = replace(
        NamespaceSettings.of(namespace),
        location=body.location,
        tags=body.tags or {},
        network=replace(namespace.network, public_network_access=access),
    )
    return _view(call, await call.registry.put_namespace(namespace, settings))


@router.patch(f"{_IN_GROUP}/{{namespaceName}}", summary="Change some settings of a namespace")
async def patch_namespace(call: Annotated[OnNamespace, Depends()], body: NamespacePatch) -> NamespaceView:
    namespace = call.get()
    _check_tls(call, body.properties)
    settings = NamespaceSettings.of(namespace)
    if body.tags is not None:
        settings = replace(settings, tags=body.tags)
    if body.properties is not None and (access := body.properties.public_network_access) is not None:
        settings = replace(settings, network=replace(settings.network, public_network_access=access))
    return _view(call, await call.registry.put_namespace(namespace, settings))


@router.delete(
    f"{_IN_GROUP}/{{namespaceName}}",
    status_code=200,
    response_class=Response,
    summary="Delete a namespace and all that is in it",
    responses={204: {"description": "There was none."}},
)
async def delete_namespace(call: Annotated[OnNamespace, Depends()]) -> Response:
    """What lives there ends."""
    namespace = call.find()
    if namespace is None:
        return Response(status_code=204)
    if call.context.hosts.is_primary(namespace):
        raise Conflict(
            f"The gateway was started for the namespace '{namespace.name}', which lives as long as it does; empty it "
            "instead, or start the gateway for another one."
        )
    with suppress(EndpointNotFound):  # two may delete it at once
        await call.registry.delete_namespace(namespace)
    return Response()


@router.post(f"{_IN_SUBSCRIPTION}/checkNameAvailability", summary="Whether a namespace may have a name")
async def check_name(call: Annotated[OfSubscription, Depends()], body: NameBody) -> AvailabilityView:
    if not _NAME.fullmatch(body.name):
        return AvailabilityView(name_available=False, reason="InvalidName", message=NAME_RULE)
    if _is_taken(call, body.name):
        return AvailabilityView(name_available=False, reason="NameInUse", message=_taken(body.name))
    return AvailabilityView(name_available=True, reason="None")


async def _create(call: OnNamespace, location: str, tags: dict[str, str], network: NetworkRules) -> Namespace:
    if _is_taken(call, call.name):
        raise AddressExists(_taken(call.name))
    if not _NAME.fullmatch(call.name):
        raise BadRequest(NAME_RULE)
    if len(call.namespaces()) >= MAX_NAMESPACES:
        raise QuotaExceeded(f"A resource group holds at most {MAX_NAMESPACES} namespaces.", status=403)
    settings = NamespaceSettings(call.subscription, call.group, location, tags, network)
    root = new_rule(ROOT_RULE, Right.MANAGE)
    namespace = await call.registry.ensure_namespace(call.name, root, settings)
    if not call.is_home(namespace):  # another group was faster
        raise AddressExists(_taken(call.name))
    return namespace


def _check_tls(call: Call, properties: NamespaceProperties | None) -> None:
    minimum = call.context.tls_minimum
    if properties is not None and (properties.minimum_tls_version or minimum) > minimum:
        raise Conflict(f"All namespaces of this gateway speak TLS {minimum} and newer; its setting is tls_minimum.")


def _is_taken(call: Call, name: str) -> bool:
    names = own_names(name)
    return call.context.hosts.is_reserved(None, name.lower()) or any(
        fold(each.name) == fold(name) or each.aliases.keys() & names for each in call.registry.namespaces
    )


def _taken(name: str) -> str:
    return f"The namespace name '{name}' is in use."


def _list(call: OfSubscription, skip_token: str | None) -> NamespaceList:
    namespaces, next_link = page(call, call.namespaces(), lambda namespace: fold(namespace.name), skip_token)
    return NamespaceList(value=[_view(call, namespace) for namespace in namespaces], next_link=next_link)


def _view(call: Call, namespace: Namespace) -> NamespaceView:
    return call.viewer(namespace).namespace(call.context.endpoint(namespace, call.origin).url)


def _plain(location: str) -> str:
    """`West Europe` and `westeurope` are one place."""
    return location.replace(" ", "").lower()
