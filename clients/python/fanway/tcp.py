"""Raw TCP over a relayed socket, and two sockets joined: half-close kept, loss passed on as loss."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fanway.errors import RelayError
from fanway.socket import READ_BYTES, Socket, reset
from fanway.socket_wire import BINARY, Fragment


async def join_stream(
    socket: Socket,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    alter: Callable[[bytes], bytes] | None = None,
) -> None:
    """Pump bytes until both directions have ended. End of file is a Close frame and the other way round.

    A lost socket resets the stream; a reset stream aborts the socket. `alter` makes of each piece that comes from the
    socket what is written to the stream.
    """

    async def outward() -> None:
        while data := await reader.read(READ_BYTES):
            await socket.send_fragment(Fragment(BINARY, data, True))
        await socket.close_send()

    async def inward() -> None:
        async for fragment in socket.fragments():
            writer.write(alter(fragment.data) if alter else fragment.data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    try:
        await _both(outward(), inward())
    except (RelayError, OSError, asyncio.CancelledError) as error:
        socket.abort()
        reset(writer)
        if isinstance(error, asyncio.CancelledError):
            raise
        return
    writer.close()
    await socket.close()


async def join_sockets(one: Socket, other: Socket) -> None:
    """Pass messages between two WebSockets: type, boundaries and close codes as sent."""
    try:
        await _both(_pass_on(one, other), _pass_on(other, one))
    except (RelayError, OSError, asyncio.CancelledError) as error:
        one.abort()
        other.abort()
        if isinstance(error, asyncio.CancelledError):
            raise
        return
    await one.close()
    await other.close()


async def _pass_on(source: Socket, target: Socket) -> None:
    is_first = True
    async for fragment in source.fragments():
        await target.send_fragment(fragment, is_first)
        is_first = fragment.is_final
    await target.close_send(source.close_code or 1005, source.close_reason)


async def _both(one: Coroutine[Any, Any, None], other: Coroutine[Any, Any, None]) -> None:
    """Run two directions to their end; the first failure (or a cancellation) stops both."""
    tasks = [asyncio.ensure_future(one), asyncio.ensure_future(other)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
