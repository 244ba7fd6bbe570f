"""The OpenAPI documents are true: schemathesis makes calls out of them, good and bad, against a whole gateway."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
import uvloop
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import positive_data_acceptance
from worlds import World, running_gateway

from app.manage.api import create_api
from app.manage.arm.application import create_arm
from app.wire.azure.arm import is_arm
from fanout.address import PLAIN_ADDRESS

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
OPERATOR = "operator-token-of-the-test-world"
BOUNDED = settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


schemathesis.openapi.format(
    "address", st.from_regex(PLAIN_ADDRESS, fullmatch=True).filter(lambda text: len(text) <= 512)
)
schemathesis.openapi.format("ip-network", st.ip_addresses().map(str))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gateway on a loop of its own, since schemathesis waits for its answers."""
    started, done = threading.Event(), asyncio.Event()
    made: list[World] = []

    async def serve() -> None:
        hyco, soap = {"name": "hyco", "profile": "hybridConnection"}, {"name": "soap", "profile": "http"}
        arm = {"operator_token": OPERATOR, "page_items": 2}
        data = tmp_path_factory.mktemp("gateway")
        async with running_gateway(data, relays=[{"name": "shop"}, hyco, soap], arm=arm) as world:
            made.append(world)
            started.set()
            await done.wait()

    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(20)
    yield made[0]
    loop.call_soon_threadsafe(done.set)
    thread.join()
    loop.close()


class _Nothing:
    """Stands for a gateway where only the routes are wanted."""

    emulator = None


ours = schemathesis.openapi.from_dict(create_api(cast(Any, _Nothing())).openapi())
azure = schemathesis.openapi.from_dict(create_arm(cast(Any, _Nothing())).openapi())


def is_wrong(case: schemathesis.Case, part: ParameterLocation) -> bool:
    """Whether that part of a case is not as described, on purpose."""
    assert case.meta is not None
    component = case.meta.components.get(part)
    return component is not None and not component.mode.is_positive


def settled(case: schemathesis.Case, **names: str) -> None:
    """Lead a case to what is there, unless its path is wrong."""
    if not is_wrong(case, ParameterLocation.PATH):
        case.path_parameters.update({name: value for name, value in names.items() if name in case.path_parameters})


@ours.parametrize()
@BOUNDED
def test_our_management_is_as_described(case: schemathesis.Case, world: World) -> None:
    # No schema says which URL may be a sink, what a filter is, and what a JSON Schema: such calls may be refused.
    holds_schema = isinstance(case.body, dict) and bool(case.body.get("eventSchema"))
    excluded = [positive_data_acceptance] if case.path == "/-/api/subscriptions" or holds_schema else []
    case.call_and_validate(base_url=world.url, headers=world.auth(), excluded_checks=excluded)


@azure.exclude(path_regex="namespaceName").parametrize()
@BOUNDED
def test_azures_management_is_as_described(case: schemathesis.Case, world: World) -> None:
    check_of_azure(case, world)


@azure.include(path_regex="namespaceName").parametrize()
@BOUNDED
def test_azures_management_of_a_namespace_is_as_described(case: schemathesis.Case, world: World) -> None:
    settled(case, subscriptionId=SUBSCRIPTION, resourceGroupName="default", namespaceName="default")
    if "/wcfRelays/" in case.path:
        settled(case, relayName="soap")
    elif "authorizationRules" in case.path:
        settled(case, relayName="hyco")
    check_of_azure(case, world)


def check_of_azure(case: schemathesis.Case, world: World) -> None:
    request = requests.Request(**case.as_transport_kwargs(base_url=world.url)).prepare()
    target = urlsplit(request.url or "")
    assume(is_arm(target.path, target.query))  # else it is a relayed request, and no affair of management
    bearer = {} if is_wrong(case, ParameterLocation.HEADER) else {"Authorization": f"Bearer {OPERATOR}"}
    case.call_and_validate(base_url=world.url, headers=bearer)
