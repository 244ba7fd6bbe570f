"""Calls of the gateway's management API, `/-/api`."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import httpx

from fanway.channel import dial, innermost, unreachable
from fanway.connect import Gateway
from fanway.errors import ConnectionLostError, RelayTimeoutError, from_answer


class Management:
    """One connection to the API, for as many calls as are needed. Use it as a context manager."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._client = httpx.Client(verify=gateway.tls() or True, trust_env=not gateway.is_loopback, timeout=30)
        self._client.event_hooks = {"request": [dial]}

    def __enter__(self) -> Management:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def call(self, method: str, path: str, body: Any = None, query: dict[str, str] | None = None) -> Any:
        """One request to `/-/api/{path}`; the decoded JSON answer, None where there is none. Raises RelayError."""
        gateway = self._gateway
        headers = {"ServiceBusAuthorization": gateway.token()}
        url = f"{gateway.url}/-/api/{path}"
        try:
            answer = self._client.request(method, url, json=body, params=query, headers=headers)
        except httpx.TimeoutException:
            raise RelayTimeoutError(f"{gateway.url} did not answer in time.") from None
        except httpx.RequestError as error:
            raise unreachable(gateway.url, innermost(error)) from None
        if answer.is_error:
            raise from_answer(answer.status_code, answer.reason_phrase, answer.content)
        try:
            return answer.json() if answer.content else None
        except ValueError:
            raise ConnectionLostError(f"{gateway.url} answered something that is not JSON.") from None


def items_of(answer: Any, name: str) -> list[dict[str, Any]]:
    """A list answer, bare or under its name."""
    items = answer.get(name, answer.get("value")) if isinstance(answer, dict) else answer
    if not isinstance(items, list):
        raise ConnectionLostError("The gateway's answer is not a list.")
    return items
