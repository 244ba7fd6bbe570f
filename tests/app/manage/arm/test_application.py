"""Who is let in to Azure's management, what every answer carries, how refusals look."""

from __future__ import annotations

import re

import httpx
import pytest
from arm_world import GROUP, NAMESPACE, SUBSCRIPTION, TOKEN, Ask, World, refusal

from app.manage.arm.versions import VERSIONS
from app.manage.body_limit import MAX_BODY_BYTES
from app.wire.azure.arm import SHAPES

OPERATIONS = "/providers/Microsoft.Relay/operations"


async def test_strangers_learn_nothing(client: httpx.AsyncClient) -> None:
    """The token is asked for before version, body and whether a thing exists."""
    for path, query in ((NAMESPACE, "2026-01-01"), (f"{GROUP}/nothing-here", "1"), (NAMESPACE, "")):
        anonymous = await client.put(path, params={"api-version": query}, headers={"Authorization": ""}, content=b"{")
        assert refusal(anonymous)[:2] == (401, "AuthenticationFailed")
        assert anonymous.headers["www-authenticate"] == 'Bearer realm="Fanway"'
        wrong = await client.put(path, params={"api-version": query}, headers={"Authorization": f"Bearer {TOKEN}x"})
        assert refusal(wrong)[:2] == (401, "InvalidAuthenticationToken")
        assert 'error="invalid_token"' in wrong.headers["www-authenticate"]
    sas = await client.get(NAMESPACE, params={"api-version": "1"}, headers={"Authorization": "SharedAccessSignature x"})
    assert refusal(sas)[0] == 401


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_version_is_served(version: str, ask: Ask) -> None:
    assert (await ask("GET", NAMESPACE, version=version)).status_code == 200


async def test_a_version_that_is_not_there_is_refused_naming_those_that_are(ask: Ask) -> None:
    status, code, message = refusal(await ask("GET", NAMESPACE, version="2015-01-01"))
    assert (status, code) == (400, "NoRegisteredProviderFound")
    assert all(version in message for version in VERSIONS)
    status, code, message = refusal(await ask("GET", f"{NAMESPACE}/networkRuleSets/default", version="2017-04-01"))
    assert (status, code) == (400, "NoRegisteredProviderFound")
    assert message.endswith("'2021-11-01, 2024-01-01, 2026-01-01'.")
    assert refusal(await ask("GET", NAMESPACE, version=""))[0] == 400


async def test_an_answer_carries_ids_and_is_not_kept(client: httpx.AsyncClient) -> None:
    asked = {
        "x-ms-correlation-request-id": "11111111-2222-3333-4444-555555555555",
        "x-ms-client-request-id": "mine",
        "x-ms-return-client-request-id": "true",
    }
    answer = await client.get(OPERATIONS, params={"API-Version": "2017-04-01"}, headers=asked)
    assert answer.status_code == 200
    assert re.fullmatch(r"[0-9a-f-]{36}_G0", answer.headers["x-ms-request-id"])
    assert answer.headers["x-ms-correlation-request-id"] == asked["x-ms-correlation-request-id"]
    assert answer.headers["x-ms-client-request-id"] == "mine"
    assert answer.headers["cache-control"] == "no-store"
    again = await client.get(OPERATIONS, params={"api-version": "2017-04-01"})
    assert again.headers["x-ms-request-id"] == again.headers["x-ms-correlation-request-id"]
    assert "x-ms-client-request-id" not in again.headers


async def test_a_change_is_audited_under_the_id_of_its_answer(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "fanway.audit")
    assert (await ask("GET", NAMESPACE)).status_code == 200
    assert (await ask("DELETE", NAMESPACE)).status_code == 409
    assert not [record for record in caplog.records if record.name == "fanway.audit"]
    answer = await ask("PUT", f"{NAMESPACE}/hybridConnections/hyco", {})
    [record] = [record for record in caplog.records if record.name == "fanway.audit"]
    assert answer.headers["x-ms-request-id"] in record.getMessage()
    assert "hybridConnections/hyco" in record.getMessage()
    assert TOKEN not in record.getMessage()


async def test_what_is_not_management_goes_elsewhere(client: httpx.AsyncClient) -> None:
    for path in ("/", "/-/api/status", f"{NAMESPACE}/", f"{NAMESPACE}/queues", "/providers/Microsoft.Relay"):
        assert (await client.get(path, params={"api-version": "2026-01-01"})).text == "other"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "InvalidRequestContent"),
        (b"", "InvalidRequestContent"),
        (b"null", "InvalidRequestContent"),
        (b"[]", "InvalidRequestContent"),
        (b'"text"', "InvalidRequestContent"),
        (b"\xff", "BadRequest"),
        (b"[" * 100_000, "BadRequest"),
        (b'{"location": NaN}', "InvalidRequestContent"),
        (b"{}", "LocationRequired"),
    ],
)
async def test_a_body_that_is_no_good_is_a_bad_request(
    content: bytes, code: str, client: httpx.AsyncClient, world: World
) -> None:
    """S41"""
    headers = {"Content-Type": "application/json"}
    answer = await client.put(
        f"{GROUP}/orders-eu", params={"api-version": "2026-01-01"}, content=content, headers=headers
    )
    assert refusal(answer)[:2] == (400, code)
    assert len(world.registry.namespaces) == 1


async def test_an_oversized_body_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.put(NAMESPACE, params={"api-version": "2026-01-01"}, content=b"x" * (MAX_BODY_BYTES + 1))
    assert refusal(answer)[:2] == (413, "RequestEntityTooLarge")


async def test_a_method_that_is_not_there_is_405(ask: Ask) -> None:
    answer = await ask("POST", NAMESPACE, {})
    assert refusal(answer)[:2] == (405, "MethodNotAllowed")
    assert answer.headers["allow"]
    assert refusal(await ask("DELETE", OPERATIONS))[0] == 405


async def test_a_fault_of_ours_is_a_bare_500(
    ask: Ask, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(name: str) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(world.registry, "find_namespace", fail)
    answer = await ask("GET", NAMESPACE)
    assert refusal(answer)[:2] == (500, "InternalServerError")
    assert "secret detail" not in answer.text
    assert answer.headers["x-ms-request-id"] in caplog.text


@pytest.mark.parametrize(
    "name", ["%2e", "%2e%2e", "a%00b", "a%0d%0ab", "%ff", "a%2F..%2Fb", "a%5Cb", "%E2%80%AE", "*", "a~~b"]
)
async def test_odd_names_are_refused_and_leave_nothing(name: str, ask: Ask, world: World) -> None:
    """W03, S47"""
    for path in (
        f"{NAMESPACE}/hybridConnections/{name}",
        f"{NAMESPACE}/wcfRelays/{name}",
        f"{NAMESPACE}/authorizationRules/{name}",
        f"{GROUP}/{name}",
        f"/subscriptions/{name}/resourceGroups/g/providers/Microsoft.Relay/namespaces/orders-eu",
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}/providers/Microsoft.Relay/namespaces/orders-eu",
    ):
        body = (
            {"location": "local", "properties": {}}
            if "authorizationRules" not in path
            else {"properties": {"rights": ["Send"]}}
        )
        assert refusal(await ask("PUT", path, body))[0] == 400, path
    assert [namespace.name for namespace in world.registry.namespaces] == ["default"]
    assert not world.namespace.relays
    assert list(world.namespace.rules) == ["root"]


async def test_every_route_is_described(client: httpx.AsyncClient) -> None:
    document = (await client.get("/-/api/arm-openapi.json", headers={"Authorization": ""})).json()
    assert {re.sub(r"{\w+}", "{}", path[1:]) for path in document["paths"]} == set(SHAPES)
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert "api-version" in [parameter["name"] for parameter in operation["parameters"]]
            assert "422" not in operation["responses"]
