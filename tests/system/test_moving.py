"""From one gateway that is asked as Azure is, by Azure's own library, to another: what is saved there is imported here,
and unmodified clients go on with the keys they had."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from azure.core.credentials import AccessToken
from azure.mgmt.relay import RelayAPIMgmtClient
from programs import FANWAY, PATIENCE, StartNode
from worlds import KEY, KEY_NAME, World, running_gateway

TOKEN = "operator-token-of-the-test-world"
HERE = ("default", "default")  # resource group and namespace that the gateway was started with


class Credential:
    """A token that never ends."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken(TOKEN, int(time.time()) + 3600)


def flat(model: Any) -> dict[str, Any]:
    """A resource as az prints it: its properties beside its id."""
    whole = model.as_dict()
    return {**whole, **whole.pop("properties", {})}


def provision_and_save(world: World) -> tuple[list[Any], list[str]]:
    """Provision a namespace as Azure's; what its lists say, as az would print it, and the sender's two keys."""
    with RelayAPIMgmtClient(
        Credential(),
        "00000000-0000-0000-0000-000000000000",
        base_url=f"https://localhost:{world.tls_port}",
        connection_verify=str(world.ca),
        retry_total=0,
    ) as client:
        relays, others = client.hybrid_connections, client.wcf_relays
        relays.create_or_update(*HERE, "hyco", {"properties": {"requiresClientAuthorization": True}})
        relays.create_or_update(*HERE, "plants~oslo", {"properties": {"userMetadata": "in Oslo"}})
        others.create_or_update(*HERE, "billing", {"properties": {"relayType": "Http"}})
        for name, right in (("app", "Send"), ("service", "Listen")):
            rights = {"properties": {"rights": [right]}}
            relays.create_or_update_authorization_rule(*HERE, "hyco", name, rights)
        app = relays.list_keys(*HERE, "hyco", "app")
        saved = [
            flat(client.namespaces.get(*HERE)),
            [flat(each) for each in relays.list_by_namespace(*HERE)],
            [each.as_dict() for each in others.list_by_namespace(*HERE)],
            [flat(each) for each in relays.list_authorization_rules(*HERE, "hyco")],
            app.as_dict(),
            relays.list_keys(*HERE, "hyco", "service").as_dict(),
        ]
        return saved, [app.primary_key, app.secondary_key]


async def imported(world: World, saved: list[Any]) -> str:
    """What `fanway import` printed, the outputs standing one after the other in its input."""
    process = await asyncio.create_subprocess_exec(
        *(FANWAY, "import", "-", "--url", world.url, "--key-name", KEY_NAME, "--key", KEY),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate("\n".join(map(json.dumps, saved)).encode())
    assert process.returncode == 0
    return out.decode()


async def test_what_azures_library_lists_is_imported_and_clients_keep_their_keys(
    tmp_path: Path, node: StartNode
) -> None:
    settings = {"arm": {"operator_token": TOKEN}, "deadlines": {"close_seconds": 0.2}}
    async with running_gateway(tmp_path / "old", tls=True, relays=[], **settings) as old:
        saved, keys = await asyncio.to_thread(provision_and_save, old)
    async with running_gateway(tmp_path / "new", relays=[]) as new:
        printed = await imported(new, saved)
        assert printed.splitlines() == [
            "relay billing: created",
            "relay hyco: created",
            "relay plants/oslo: created",
            "rule app of hyco: created",
            "rule service of hyco: created",
            "5 changed, 0 as they should be",
        ]
        assert await imported(new, saved) == "nothing changed: 5 as they should be\n"
        service = saved[-1]["primaryKey"]
        listener = await node(
            "https_listener", uri=f"{new.ws}/$hc/hyco?sb-hc-action=listen", rule="service", keys=[service]
        )
        await listener.expect("listening")
        for key in keys:
            asked = [{"method": "GET", "path": "/x"}]
            sender = await node("https_sender", uri=f"{new.url}/hyco", rule="app", key=key, requests=asked)
            assert (await sender.expect("answered"))["status"] == 200
