"""Azure's SDK for Java itself, unmodified, as listener and as sender, where Maven could fetch it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from programs import JAVA_SDK, require_java, running
from worlds import KEY, KEY_NAME, running_gateway


@pytest.fixture(scope="module")
def classes() -> str:
    return require_java(JAVA_SDK)


async def test_unmodified_sdk_for_java_listens_connects_and_asks(
    classes: str, java_trust: Callable[[Path], Awaitable[list[str]]], tmp_path: Path
) -> None:
    async with running_gateway(tmp_path, relays=[{"name": "hyco", "profile": "hybridConnection"}], tls=True) as world:
        assert world.ca is not None
        endpoint = f"sb://localhost:{world.tls_port}/"
        command = ["java", *await java_trust(world.ca), "-cp", classes, "Sdk", endpoint, "hyco", KEY_NAME, KEY]
        async with running(*command) as sdk:
            assert await sdk.line() == {"event": "online", "is": True}
            assert await sdk.line() == {"event": "echoed", "same": True}
            assert await sdk.line() == {"event": "closed", "accepted": False, "online": True}
            assert await sdk.line() == {"event": "refused", "status": 400}
            for received in (0, 104_000):
                answer = {"event": "answered", "status": 202, "reason": "OK", "same": True, "received": received}
                assert await sdk.line() == answer
            assert await sdk.line() == {"event": "offline", "times": 1, "error": False}
