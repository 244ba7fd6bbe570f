"""What one can be allowed to do, as Azure's management lists it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends

from app.manage.arm.places import Call
from app.manage.arm.route import ArmRoute
from app.manage.arm.views import OperationDisplay, OperationList, OperationView

PROVIDER = "Fanway"

_KINDS = {
    "namespaces": "namespace",
    "namespaces/hybridConnections": "hybrid connection",
    "namespaces/wcfRelays": "WCF relay",
    "namespaces/authorizationRules": "rule of a namespace",
    "namespaces/hybridConnections/authorizationRules": "rule of a hybrid connection",
    "namespaces/wcfRelays/authorizationRules": "rule of a WCF relay",
}
_DATA = {"listen": "Listen", "send": "Send"}

router = APIRouter(tags=["operations"], route_class=ArmRoute)


@router.get("/providers/Microsoft.Relay/operations", summary="All operations of this provider")
async def list_operations(call: Annotated[Call, Depends()]) -> OperationList:
    return OperationList(value=[_view(*each) for each in _operations()])


def _operations() -> Iterator[tuple[str, str, str, bool]]:
    """Each as name, resource, what it does, and whether it is the data plane's."""
    yield "checkNameAvailability/action", "namespace", "Ask whether a name is free", False
    for kind, noun in _KINDS.items():
        for verb, text in (("read", "Read"), ("write", "Create or change"), ("delete", "Delete")):
            yield f"{kind}/{verb}", noun, f"{text} a {noun}", False
        if kind.endswith("authorizationRules"):
            yield f"{kind}/listkeys/action", noun, f"Read the keys of a {noun}", False
            yield f"{kind}/regenerateKeys/action", noun, f"Renew a key of a {noun}", False
    for verb in ("read", "write"):
        yield f"namespaces/networkRuleSets/{verb}", "network rules", f"{verb.capitalize()} network rules", False
    for name, text in _DATA.items():
        yield f"namespaces/messages/{name}/action", "relay", f"{text} on a relay", True


def _view(name: str, resource: str, operation: str, is_data_action: bool) -> OperationView:
    display = OperationDisplay(provider=PROVIDER, resource=resource, operation=operation)
    return OperationView(name=f"Microsoft.Relay/{name}", is_data_action=is_data_action, display=display)
