"""`/-/api/namespaces`: what the operator of the gateway may do, and nobody who holds one namespace's key."""

from __future__ import annotations

import contextlib
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.access.keyring import ROOT_RULE, new_rule, root_of
from app.access.operator import bearer_of
from app.errors import AddressExists, BadRequest, ClaimMissing, EndpointNotFound, Unauthorized
from app.manage.callers import REFUSALS, TAKEN, Caller
from app.manage.names import HostName, NamespaceName
from app.manage.namespace_shapes import NamespaceList, NamespaceShape, NamespaceView
from app.manage.shapes import AliasShape, AliasView, KeysView
from app.namespace import Namespace, Right
from app.store.settings import NamespaceSettings

router = APIRouter(prefix="/-/api/namespaces", tags=["namespaces"], responses=REFUSALS)


class Operator(Caller):
    """A caller who may manage the whole gateway."""

    def named(self, name: str) -> Namespace:
        """The namespace of that name. Raises EndpointNotFound."""
        namespace = self.context.registry.find_namespace(name)
        if namespace is None:
            raise EndpointNotFound("The namespace does not exist.")
        return namespace

    def show(self, namespace: Namespace) -> NamespaceView:
        return NamespaceView.of(namespace, is_primary=self.context.hosts.is_primary(namespace))


async def find_operator(request: Request) -> Operator:
    """Who holds the operator's bearer token, on any host; or who manages the gateway's primary namespace.

    Raises UnknownHost, Unauthorized, ClaimMissing.
    """
    operator = Operator(request)
    authorization = request.headers.get("authorization", "")
    if authorization.lower().startswith("bearer "):
        with contextlib.suppress(Unauthorized):  # it may be another kind of token
            await operator.context.operators.verify(bearer_of(authorization))
            return operator
    if not operator.context.hosts.is_primary(operator.namespace):
        operator.grant()
        raise ClaimMissing("Unauthorized access. Namespaces are managed at the gateway's primary namespace.")
    operator.manage_namespace()
    return operator


Operating = Annotated[Operator, Depends(find_operator)]


@router.get("", summary="All namespaces")
async def list_namespaces(operator: Operating) -> NamespaceList:
    namespaces = sorted(operator.context.registry.namespaces, key=lambda namespace: namespace.name.lower())
    return NamespaceList(namespaces=[operator.show(namespace) for namespace in namespaces])


@router.get("/{name}", summary="One namespace")
async def get_namespace(name: NamespaceName, operator: Operating) -> NamespaceView:
    return operator.show(operator.named(name))


@router.put(
    "/{name}",
    summary="Create a namespace, or change its settings",
    responses={201: {"model": NamespaceView, "description": "It is new."}, 409: TAKEN},
)
async def put_namespace(
    name: NamespaceName, operator: Operating, response: Response, body: NamespaceShape | None = None
) -> NamespaceView:
    """201 when it is new: then it has a rule `RootManageSharedAccessKey` with fresh keys, and nothing else."""
    registry, body = operator.context.registry, body or NamespaceShape()
    namespace = registry.find_namespace(name)
    if namespace is None:
        if operator.context.hosts.is_reserved(None, name.lower()):
            raise AddressExists("This host name is the gateway's own.")
        response.status_code = 201
        root = new_rule(ROOT_RULE, Right.MANAGE)
        return operator.show(await registry.ensure_namespace(name, root, body.over(NamespaceSettings())))
    return operator.show(await registry.put_namespace(namespace, body.over(NamespaceSettings.of(namespace))))


@router.delete("/{name}", status_code=204, summary="Remove a namespace with everything in it")
async def delete_namespace(name: NamespaceName, operator: Operating) -> None:
    """What lives in it ends. The primary namespace stays."""
    namespace = operator.named(name)
    if operator.context.hosts.is_primary(namespace):
        raise BadRequest("The gateway was started for this namespace; it cannot be removed.")
    await operator.context.registry.delete_namespace(namespace)


@router.get("/{name}/keys", summary="The keys that open a namespace")
async def get_root_keys(name: NamespaceName, operator: Operating, response: Response) -> KeysView:
    """Those of its root rule, or of another with Manage."""
    root = root_of(operator.named(name))
    if root is None:
        raise EndpointNotFound("No rule of the namespace has Manage.")
    response.headers["Cache-Control"] = "no-store"
    return KeysView.of(root)


@router.put(
    "/{name}/aliases/{host}",
    summary="Let a namespace answer to another host name",
    responses={201: {"model": AliasView, "description": "It is new."}, 409: TAKEN},
)
async def put_alias(
    name: NamespaceName, host: HostName, operator: Operating, response: Response, body: AliasShape | None = None
) -> AliasView:
    """201 when it is new. Names of the gateway itself may be given away too."""
    namespace, host = operator.named(name), host.lower()
    if host not in namespace.aliases:
        response.status_code = 201
    address = body.address if body is not None else ""
    await operator.context.registry.put_alias(namespace, host, address)
    return AliasView(host=host, address=address)


@router.delete("/{name}/aliases/{host}", status_code=204, summary="Take a host name away from a namespace")
async def delete_alias(name: NamespaceName, host: HostName, operator: Operating) -> None:
    await operator.context.registry.delete_alias(operator.named(name), host)
