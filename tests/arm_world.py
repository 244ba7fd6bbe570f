"""What Azure's management sees of a gateway: a registry without an edge; and how its refusals are read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx

from app.access.operator import Operators, StaticToken
from app.config import Arm
from app.hosts import Hosts
from app.manage.arm.endpoint import Endpoint, Ports, find_endpoint
from app.namespace import Namespace, Relay
from app.store.registry import Registry

NOW = 1700000000.5
TOKEN = "operator-token-of-the-test-world"
SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/default/providers/Microsoft.Relay/namespaces"
NAMESPACE = f"{GROUP}/default"

Ask = Callable[..., Awaitable[httpx.Response]]


class World:
    """What Azure's management sees of a gateway."""

    def __init__(self, registry: Registry, namespace: Namespace) -> None:
        self.registry, self.namespace = registry, namespace
        self.operators = Operators([StaticToken(TOKEN)])
        self.arm = Arm(page_items=3)
        self.tls_minimum = "1.2"

    @property
    def hosts(self) -> Hosts:
        return Hosts(self.registry.namespaces, is_loopback=True, primary="default")

    def counts(self, namespace: Namespace, relay: Relay) -> tuple[int, int]:
        return 2, 3

    def endpoint(self, namespace: Namespace, reached: str) -> Endpoint:
        return find_endpoint(namespace, self.hosts, Ports(8480, 8443), None, reached)


def refusal(response: httpx.Response) -> tuple[int, str, str]:
    """Status, code and message of a refusal, its shape checked; the message without its tracking id."""
    assert response.json().keys() == {"error"}
    error = response.json()["error"]
    assert error.keys() == {"code", "message"}
    tracking_id = response.headers["x-ms-request-id"]
    assert response.headers["x-ms-correlation-request-id"]
    message, found, rest = error["message"].partition(f" TrackingId:{tracking_id}, SystemTracker:")
    assert found, error
    assert ", Timestamp:20" in rest
    return response.status_code, error["code"], message
