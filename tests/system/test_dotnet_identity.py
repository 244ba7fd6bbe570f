"""The .NET SDK with an identity instead of a key: the raw token of a provider, where a signature would stand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from dotnet import AuthorizationFailedException, ConnectionString, Listener, RelayException, runtime_information
from dotnet_world import DotNet, dotnet_world
from tokens import Provider, running_provider


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with running_provider() as running:
        yield running


@pytest.fixture
async def dotnet(tmp_path: Path, provider: Provider) -> AsyncIterator[DotNet]:
    async with dotnet_world(tmp_path, identity={"issuers": [{"issuer": provider.url}]}) as peers:
        yield peers


def identified(dotnet: DotNet, token: str) -> ConnectionString:
    """The entity `authenticated` with this token in place of a rule and its key."""
    return replace(dotnet.at("authenticated"), key_name="", key="", signature=token)


async def test_roles_of_azure_decide_who_listens_and_who_sends(dotnet: DotNet, provider: Provider) -> None:
    """E-identity"""
    listens = identified(dotnet, provider.token(roles=["Azure Relay Listener"]))
    sends = identified(dotnet, provider.token(roles=["Azure Relay Sender"]))
    for string in (sends, identified(dotnet, provider.token())):
        with pytest.raises(RelayException, match="Forbidden"):
            await Listener(string, dotnet.tls, tape=dotnet.tape).open()
    with pytest.raises(AuthorizationFailedException):
        await Listener(identified(dotnet, "not.a.token"), dotnet.tls, tape=dotnet.tape).open()

    listener = Listener(listens, dotnet.tls, tape=dotnet.tape)
    dotnet.listeners.append(listener)
    await listener.open()
    await listener.renew_token()
    with pytest.raises(RelayException, match="Forbidden"):
        await dotnet.connect(listens)
    sender = await dotnet.connect(sends)
    accepted = await listener.accept_connection()
    assert accepted is not None
    await sender.write(b"hello")
    assert await accepted.read() == b"hello"
    for string in (listens, sends):
        told = await runtime_information(string, dotnet.tls, tape=dotnet.tape)
        assert told["ListenerCount"] == "1"
