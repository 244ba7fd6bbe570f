"""What all commands share: where the gateway is, and text from the network made safe for a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import CancelledError
from functools import wraps
from typing import Any, TypeVar

import click

from fanway.connect import resolve

F = TypeVar("F", bound=Callable[..., Any])

# C0 and C1 controls, DEL, line and paragraph separators, and the marks that reorder or hide text.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_OPTIONS = (
    click.option("--url", metavar="URL", help="The gateway: http://…, https://… or sb://…"),
    click.option("--key-name", metavar="NAME", help="The rule whose key signs."),
    click.option("--key", metavar="KEY", help="Its key (better: FANWAY_KEY; others can read command lines)."),
    click.option("--token", metavar="TOKEN", help="A ready token instead of a key."),
    click.option("--connection-string", metavar="TEXT", help="Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=…"),
    click.option(
        "--data", "folder", metavar="DIR", help="The gateway's data folder (default: ./.fanway, FANWAY_DATA)."
    ),
    click.option("--namespace", metavar="NAME", help="One of the namespaces of the data folder's gateway."),
)


instance_option = click.option(
    "--instance", metavar="NAME", help="The one listener of this name, where several listen."
)


def gateway_options(command: F) -> F:
    """Add --url, --key-name, --key, --token, --connection-string, --data and --namespace; the command gets a Gateway
    first."""

    @wraps(command)
    def call(
        *args: Any,
        url: str | None,
        key_name: str | None,
        key: str | None,
        token: str | None,
        connection_string: str | None,
        folder: str | None,
        namespace: str | None,
        **options: Any,
    ) -> Any:
        if namespace and (url or connection_string):
            raise click.UsageError("--namespace chooses at the gateway of the data folder; a URL's host says its own.")
        gateway = resolve(
            url,
            key_name=key_name,
            key=key,
            token=token,
            connection_string=connection_string,
            data=folder,
            namespace=namespace,
        )
        return command(gateway, *args, **options)

    wrapped: Any = call
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a command's asynchronous part. SIGTERM ends it in good order, as Ctrl-C does, and then the process."""
    is_terminated = False

    async def stoppable() -> Any:
        task = asyncio.current_task()
        assert task is not None

        def terminate() -> None:
            nonlocal is_terminated
            is_terminated = True
            task.cancel()

        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # Windows; not the main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
        return await work

    try:
        return asyncio.run(stoppable())
    finally:
        if is_terminated:
            signal.raise_signal(signal.SIGTERM)  # whose handler ended with the loop: our parent sees what it was


def safe(text: str, keep: str = "") -> str:
    """`text` with control characters, escape sequences and direction marks written out, but for those in `keep`."""

    def written(match: re.Match[str]) -> str:
        found = match.group()
        return found if found in keep else found.encode("unicode_escape", "surrogatepass").decode()

    return _UNSAFE.sub(written, text)


def say(text: str) -> None:
    """One line on standard error, safe for a terminal."""
    click.echo(safe(text), err=True)


def write_body(data: bytes, end: str = "\n") -> None:
    """A body on standard output: as it is into a pipe or file, made safe on a terminal."""
    out = sys.stdout.buffer
    if sys.stdout.isatty():
        out.write(safe(data.decode("utf-8", "replace"), keep="\n\t").encode("utf-8", "replace"))
        if end and not data.endswith(b"\n"):
            out.write(end.encode())
    else:
        out.write(data)
    out.flush()


def _unbuffered(source: Any) -> Callable[[int], bytes]:
    """How to read what is there. A thread that waits inside a buffered reader aborts Python at its end."""
    try:
        descriptor = source.fileno()
    except (AttributeError, OSError):
        return source.read1  # type: ignore[no-any-return]
    return lambda size: os.read(descriptor, size)


class StandardInput:
    """Standard input as a stream, be it a terminal, a pipe or a file.

    A daemon thread reads, a few pieces ahead at most, so that nothing waits for it at the end.
    """

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(maxsize=4)
        loop = asyncio.get_running_loop()
        take = _unbuffered(sys.stdin.buffer)

        def read() -> None:
            try:
                piece = None
                while piece != b"":
                    piece = take(64 * 1024)
                    asyncio.run_coroutine_threadsafe(self._pieces.put(piece), loop).result()
            except (RuntimeError, OSError, ValueError, CancelledError):
                pass  # the loop has ended

        threading.Thread(target=read, daemon=True).start()

    async def pieces(self) -> AsyncIterator[bytes]:
        """What comes, as it comes."""
        while piece := await self._pieces.get():
            yield piece

    async def lines(self) -> AsyncIterator[bytes]:
        """Lines without their ends; the last one need not have one."""
        rest = b""
        async for piece in self.pieces():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r")
        if rest:
            yield rest

    async def read(self) -> bytes:
        """All of it."""
        return b"".join([piece async for piece in self.pieces()])
