"""Operators of the whole gateway by OpenID Connect, at Azure's management API."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tokens import OTHER_RSA_KEY, Provider, running_provider
from worlds import World, running_gateway

MANAGEMENT = "https://management.azure.com/"
URL = "/subscriptions/00000000-0000-0000-0000-000000000000/providers/Microsoft.Relay/namespaces?api-version=2021-11-01"


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with running_provider() as running:
        yield running


@pytest.fixture
async def world(tmp_path: Path, provider: Provider) -> AsyncIterator[World]:
    issuer = {"issuer": provider.url, "operators": [{"claim": "groups", "value": "gateway-operators"}]}
    async with running_gateway(tmp_path, identity={"issuers": [issuer]}) as running:
        yield running


async def status(world: World, token: str) -> int:
    answer = await world.client.get(URL, headers={"Authorization": f"Bearer {token}"})
    return answer.status_code


async def test_who_holds_the_claim_may_manage_the_gateway(world: World, provider: Provider) -> None:
    """The first call waits for the keys."""
    token = provider.token(aud=MANAGEMENT, groups=["staff", "gateway-operators"])
    assert await status(world, token) == 200
    assert await status(world, world.gateway.opened.operator_token) == 200


async def test_what_an_operator_changes_is_in_the_audit_log(
    world: World, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fanway.audit")
    path = URL.partition("?")[0].replace("/providers", "/resourceGroups/group/providers")
    headers = {"Authorization": f"Bearer {world.gateway.opened.operator_token}"}
    answer = await world.client.put(
        f"{path}/tenant-one?api-version=2021-11-01", headers=headers, json={"location": "local"}
    )
    assert answer.status_code in (200, 201), answer.text
    [line] = [record.getMessage() for record in caplog.records if record.name == "fanway.audit"]
    assert line.startswith(f"operator: PUT {path}/tenant-one: ")
    assert answer.headers["trackingid"] in line


async def test_nobody_else_may(world: World, provider: Provider) -> None:
    held = {"aud": MANAGEMENT, "groups": ["gateway-operators"]}
    now = int(world.clock())
    for token in (
        provider.token(**{**held, "groups": ["staff"]}),
        provider.token(**{**held, "groups": []}),
        provider.token(aud="https://relay.azure.net/", roles=["Azure Relay Owner"], groups=["gateway-operators"]),
        provider.token(**held, key=OTHER_RSA_KEY),
        provider.token(**{**held, "exp": now - 1}),
        provider.token(**{**held, "iss": "https://other.example"}),
        "a.b.c",
        "nonsense",
    ):
        assert await status(world, token) == 401


async def test_an_operator_has_no_rights_on_the_data_plane_by_that(world: World, provider: Provider) -> None:
    token = provider.token(aud=MANAGEMENT, groups=["gateway-operators"])
    answer = await world.client.post("/-/events/orders/a", content=b"x", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
