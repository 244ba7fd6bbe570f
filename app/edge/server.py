"""uvicorn's server with our sockets, our drain and a clean exit.

uvicorn closes its listening sockets first on SIGTERM, so a rendezvous under way could not be accepted any
more, and raises the signal again afterwards. Here: refuse new work, let what is under way finish, tell the
clients, then close; the process exits 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Generator
from types import FrameType
from typing import NamedTuple

import uvicorn

from app.closes import DRAINING
from app.edge.context import Context
from app.edge.outflow import tune_listening
from app.edge.seam import Seam

BACKLOG = 4096
DRAIN_POLL_SECONDS = 0.01
DEADLINE_LATE_SECONDS = 0.5  # what the wheel may add to the deadline of a close that has begun
TICK_SECONDS = 1.0


class Listen(NamedTuple):
    """A bound socket, the TLS context to serve on it, if any, and what serves it: HTTP if nothing else is named."""

    socket: socket.socket
    tls: ssl.SSLContext | None
    protocol: Callable[[], asyncio.BaseProtocol] | None = None


class EdgeServer(uvicorn.Server):
    """Serves `listens` until told to exit. `handles_signals` False leaves signals to the embedding program."""

    def __init__(
        self, config: uvicorn.Config, context: Context, listens: list[Listen], *, handles_signals: bool = True
    ) -> None:
        super().__init__(config)
        self._context = context
        self._listens = listens
        self._handles_signals = handles_signals
        self._exiting = asyncio.Event()
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()
        protocol = self.config.http_protocol_class
        assert issubclass(protocol, Seam)
        protocol.share(self.config, self.server_state)
        self.servers = []
        for listen in self._listens:
            tune_listening(listen.socket)
            server = await loop.create_server(
                listen.protocol or protocol,
                sock=listen.socket,
                ssl=listen.tls,
                ssl_handshake_timeout=self._context.settings.limits.head_seconds if listen.tls else None,
                backlog=BACKLOG,
            )
            self.servers.append(server)
        self.started = True
        await self.on_tick(0)  # the Date header is there before the first answer
        self.ready.set()

    async def main_loop(self) -> None:
        """Keep the Date header true, until told to exit."""
        while not self.should_exit:
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._exiting.wait(), TICK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, close the listening sockets, tell all that is live, and wait for it to go."""
        context, deadlines = self._context, self._context.settings.deadlines
        context.is_draining = True
        await self._until(lambda: not self._is_busy(), deadlines.drain_seconds)
        for server in self.servers:
            server.close()
        for live in list(context.lives):
            live.end(DRAINING)
        for connection in list(self.server_state.connections):
            if isinstance(connection, Seam):
                connection.close()
        patience = deadlines.close_seconds + DEADLINE_LATE_SECONDS
        await self._until(lambda: not (context.connections or self.server_state.tasks), patience)
        for live in list(context.lives):
            live.abort()
        for task in list(self.server_state.tasks):
            task.cancel()
        for server in self.servers:
            await server.wait_closed()

    def exit(self) -> None:
        """Ask for the drain and the end, as SIGTERM does."""
        self.should_exit = True
        self._exiting.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._context.loop.call_soon_threadsafe(self._exiting.set)  # a signal arrives between two steps of the loop

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        if not self._handles_signals or threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def _until(self, is_done: Callable[[], bool], seconds: float) -> None:
        deadline = self._context.loop.time() + seconds
        while not (self.force_exit or is_done() or self._context.loop.time() > deadline):  # noqa: ASYNC110
            await asyncio.sleep(DRAIN_POLL_SECONDS)

    def _is_busy(self) -> bool:
        connections = self.server_state.connections
        return bool(self._context.rendezvous) or any(isinstance(c, Seam) and c.is_busy for c in connections)
