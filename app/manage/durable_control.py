"""What the API of durable subscriptions needs of the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from app.access.grant import Grant
from app.namespace import Namespace, Relay


class DurableControl(Protocol):
    """What this API needs of the gateway. Each raises `EndpointNotFound`, `ClaimMissing`."""

    def visible(self, namespace: Namespace, relay: Relay, grant: Grant) -> Sequence[dict[str, Any]]: ...

    def get(self, namespace: Namespace, relay: Relay, name: str, grant: Grant) -> dict[str, Any]: ...

    async def put(
        self, namespace: Namespace, relay: Relay, name: str, wanted: dict[str, Any], grant: Grant
    ) -> tuple[dict[str, Any], bool]: ...

    def remove(self, namespace: Namespace, relay: Relay, name: str, grant: Grant) -> None: ...

    def seek(self, namespace: Namespace, relay: Relay, name: str, to: str, grant: Grant) -> dict[str, Any]: ...
