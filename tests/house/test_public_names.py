"""What others may build on: the names of the SDK and the modules of the engine. To change one is a decision."""

from __future__ import annotations

import ast
import pkgutil
from pathlib import Path

import pytest

import fanout
import fanway

ROOT = Path(__file__).parents[2]
SDK = [
    "Answer",
    "Asking",
    "AuthorizationFailedError",
    "ConfigurationError",
    "ConnectionClosedError",
    "ConnectionLostError",
    "ConnectionState",
    "EndpointAlreadyExistsError",
    "EndpointNotFoundError",
    "Event",
    "InvalidAddressError",
    "ListenerAnswer",
    "QuotaExceededError",
    "Receipt",
    "Relay",
    "RelayError",
    "RelayTimeoutError",
    "Request",
    "Response",
    "ServerBusyError",
    "Socket",
    "Subscription",
    "Summary",
    "Ticket",
    "UnknownDeliveryError",
    "connect",
]
ENGINE = {
    "address",
    "census",
    "errors",
    "event",
    "filters",
    "history",
    "log",
    "members",
    "shared",
    "plan",
    "retained",
    "roster",
    "router",
    "sieve",
    "subscription",
    "tick",
    "trie",
}
MODULES = [
    path
    for folder in ("app", "fanout", "clients/python/fanway")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.stat().st_size
]


def test_the_sdk_offers_these_names() -> None:
    assert fanway.__all__ == SDK
    assert [name for name in SDK if not hasattr(fanway, name)] == []


def test_the_engine_has_these_modules() -> None:
    assert {module.name for module in pkgutil.iter_modules(fanout.__path__)} == ENGINE


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])
def test_a_module_says_what_it_is_and_is_read_in_one_sitting(path: Path) -> None:
    text = path.read_text("utf-8")
    assert ast.get_docstring(ast.parse(text)), path
    assert len(text.splitlines()) <= 400
