"""uvicorn's HTTP protocol as far as it is used: what its server and its request cycle expect of a connection.

uvicorn's own `__init__` and `connection_made` are not called: they look up for each connection what never changes,
and ask the kernel for addresses that only FastAPI wants. All of that is set once, on a subclass.
"""

from __future__ import annotations

import asyncio
import logging
from email.utils import formatdate
from typing import TYPE_CHECKING, ClassVar

import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.edge.origin import server_name
from app.edge.outflow import Outflow

if TYPE_CHECKING:
    from app.edge.context import Context


class Hosted(HttpToolsProtocol):
    """A connection that uvicorn knows of. `context` is set on a subclass, the rest there by `share`."""

    context: ClassVar[Context]
    outflow: Outflow
    server_name: str | None = None  # that a TLS client asked for (RFC 6066, 3)

    @classmethod
    def share(cls, config: uvicorn.Config, server_state: ServerState) -> None:
        """Set what uvicorn's protocol has on each instance, before the first connection."""
        cls.config, cls.app, cls.loop = config, config.loaded_app, cls.context.loop
        cls.asgi_version = config.asgi_version
        cls.logger, cls.access_logger = logging.getLogger("uvicorn.error"), logging.getLogger("uvicorn.access")
        cls.server_state, cls.connections, cls.tasks = server_state, server_state.connections, server_state.tasks

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.connections.add(self)
        self.context.connections += 1
        self.transport = transport
        self.flow = FlowControl(transport)
        self.outflow = Outflow(transport)
        self.server_name = server_name(transport)

    def date(self) -> str:
        """The `Date` of an answer that has none, at most a second old."""
        for name, value in self.server_state.default_headers:
            if name == b"date":
                return value.decode()
        return formatdate(usegmt=True)
