"""`/-/api/namespaces`: what the operator of the gateway may do, and nobody who holds one namespace's key."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.access.keyring import ROOT_RULE, new_rule, root_of
from app.errors import AddressExists, BadRequest, ClaimMissing, EndpointNotFound
from app.hosts import own_names
from app.manage.callers import REFUSALS, Caller
from app.manage.namespace_shapes import NamespaceList, NamespaceShape, NamespaceView
from app.manage.shapes import KeysView
from app.namespace import Namespace, Right
from app.store.settings import NamespaceSettings

router = APIRouter(prefix="/-/api/namespaces", tags=["namespaces"], responses=REFUSALS)


class Operator(Caller):
    """A caller who may manage the whole gateway: who manages the namespace that it was started for.

    Raises Unauthorized, ClaimMissing.
    """

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        if not self.context.hosts.is_primary(self.namespace):
            self.grant()
            raise ClaimMissing("Unauthorized access. Namespaces are managed at the gateway's primary namespace.")
        self.manage_namespace()

    def named(self, name: str) -> Namespace:
        """The namespace of that name. Raises EndpointNotFound."""
        namespace = self.context.registry.find_namespace(name)
        if namespace is None:
            raise EndpointNotFound("The namespace does not exist.")
        return namespace

    def show(self, namespace: Namespace) -> NamespaceView:
        hosts = [*own_names(namespace.name), *sorted(namespace.aliases)]
        return NamespaceView.of(namespace, hosts, is_primary=self.context.hosts.is_primary(namespace))


Operating = Annotated[Operator, Depends(Operator)]


@router.get("", summary="All namespaces")
async def list_namespaces(operator: Operating) -> NamespaceList:
    namespaces = sorted(operator.context.registry.namespaces, key=lambda namespace: namespace.name.lower())
    return NamespaceList(namespaces=[operator.show(namespace) for namespace in namespaces])


@router.get("/{name}", summary="One namespace")
async def get_namespace(name: str, operator: Operating) -> NamespaceView:
    return operator.show(operator.named(name))


@router.put("/{name}", summary="Create a namespace, or change its settings")
async def put_namespace(
    name: str, operator: Operating, response: Response, body: NamespaceShape | None = None
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
async def delete_namespace(name: str, operator: Operating) -> None:
    """What lives in it ends. The primary namespace stays."""
    namespace = operator.named(name)
    if operator.context.hosts.is_primary(namespace):
        raise BadRequest("The gateway was started for this namespace; it cannot be removed.")
    await operator.context.registry.delete_namespace(namespace)


@router.get("/{name}/keys", summary="The keys that open a namespace")
async def get_root_keys(name: str, operator: Operating, response: Response) -> KeysView:
    """Those of its root rule, or of another with Manage."""
    root = root_of(operator.named(name))
    if root is None:
        raise EndpointNotFound("No rule of the namespace has Manage.")
    response.headers["Cache-Control"] = "no-store"
    return KeysView.of(root)
