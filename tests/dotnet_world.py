"""A gateway as the suite of Azure's SDK for .NET wants its namespace, and the peers of one test."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotnet import ConnectionString, Listener, RequestHandler, Stream, create_connection
from dotnet_wire import HttpClient
from transcripts import Tape
from worlds import KEY, KEY_NAME, World, running_gateway

RELAYS: list[dict[str, Any]] = [
    {"name": "authenticated", "profile": "hybridConnection"},
    {"name": "unauthenticated", "profile": "hybridConnection", "requiresClientAuthorization": False},
]


@dataclass
class DotNet:
    """A namespace with the two entities that the suite wants, and peers that go with the test."""

    world: World
    tls: ssl.SSLContext
    string: ConnectionString
    tape: Tape = field(default_factory=Tape)
    listeners: list[Listener] = field(default_factory=list)

    def at(self, entity: str, *, sends: bool = False) -> ConnectionString:
        """The connection string for an entity; senders of the open one have no key."""
        if sends and entity == "unauthenticated":
            return ConnectionString(self.string.host, self.string.port, entity)
        return self.string.at(entity)

    async def listen(self, entity: str, handler: RequestHandler | None = None) -> Listener:
        listener = Listener(self.at(entity), self.tls, tape=self.tape)
        listener.request_handler = handler
        self.listeners.append(listener)
        await listener.open()
        return listener

    async def connect(self, string: ConnectionString, **options: Any) -> Stream:
        return await create_connection(string, self.tls, tape=self.tape, **options)

    def http(self, entity: str) -> tuple[HttpClient, list[tuple[str, str]]]:
        """An HTTP client, and the headers with which it may ask at an entity."""
        client = HttpClient(self.string.host, self.string.port or 443, self.tls, self.tape)
        token = self.at(entity, sends=True).token(minutes=60)
        return client, [("ServiceBusAuthorization", token)] if token else []

    async def pair(self, entity: str = "authenticated") -> tuple[Listener, Stream, Stream]:
        """A listener, a sender's stream and the listener's end of it."""
        listener = await self.listen(entity)
        sender = await self.connect(self.at(entity, sends=True))
        accepted = await listener.accept_connection()
        assert accepted is not None
        return listener, sender, accepted


@contextlib.asynccontextmanager
async def dotnet_world(data: Path, **settings: Any) -> AsyncIterator[DotNet]:
    """TLS alone is used; entities come into being by provisioning only, as in Azure."""
    async with running_gateway(data, relays=RELAYS, tls=True, dynamic_relays=False, **settings) as world:
        string = f"Endpoint=sb://localhost:{world.tls_port}/;SharedAccessKeyName={KEY_NAME};SharedAccessKey={KEY}"
        peers = DotNet(world, world.tls(), ConnectionString.parse(string))
        try:
            yield peers
        finally:
            for listener in peers.listeners:
                await listener.kill()
            peers.tape.hang_up()


async def check_meeting(listens: ConnectionString, sends: ConnectionString, tls: ssl.SSLContext) -> None:
    """A listener and a sender come together by these, and a message passes."""
    tape = Tape()
    listener = Listener(listens, tls, tape=tape)
    await listener.open()
    sender = await create_connection(sends, tls, tape=tape)
    accepted = await listener.accept_connection()
    assert accepted is not None
    await sender.write(b"hello")
    assert await accepted.read() == b"hello"
    await listener.kill()
    tape.hang_up()
