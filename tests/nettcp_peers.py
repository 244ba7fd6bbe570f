"""A `net.tcp` client and a `net.tcp` service, written from the published framing: what NetTcpBinding's do on the wire.

The service does what WCF's does with a session: it compares the via with its own address, answers an upgrade, the
preamble, every message, and the End record. TLS is upgraded to in the middle of the stream, as `application/ssl-tls`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

from worlds import World

from app.wire.nettcp.faults import ENDPOINT_NOT_FOUND, UPGRADE_INVALID
from app.wire.nettcp.records import Kind, Mode, Record, RecordReader, encode_record

PATIENCE = 20
READ_BYTES = 65536
END = Record(Kind.END)
TLS = "application/ssl-tls"
BINARY_SESSION = 8


def preamble(via: str, mode: int = Mode.DUPLEX, encoding: int = BINARY_SESSION, end: bool = True) -> bytes:
    """What a client says first."""
    records = [
        Record(Kind.VERSION, (1, 0)),
        Record(Kind.MODE, int(mode)),
        Record(Kind.VIA, via),
        Record(Kind.KNOWN_ENCODING, encoding),
        *([Record(Kind.PREAMBLE_END)] if end else []),
    ]
    return b"".join(map(encode_record, records))


class Peer:
    """One end of a connection on which records are spoken, later perhaps inside TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._records = RecordReader(64 << 20)
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    async def send(self, *records: Record) -> None:
        await self.write(b"".join(map(encode_record, records)))

    async def write(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self) -> Record | None:
        """The next record; None when the other side has ended its direction."""
        async with asyncio.timeout(PATIENCE):
            while (record := self._records.next()) is None:
                data = await self._read()
                if not data:
                    assert not self._records.rest(), "the stream ends within a record"
                    return None
                self._records.feed(data)
        return record

    async def secure(self, context: ssl.SSLContext, name: str | None = None) -> None:
        """Shake hands in the middle of the stream; a server has no `name` to check."""
        self._incoming.write(self._records.rest())  # a client may have sent on already
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=name is None, server_hostname=name)
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    await self._flush()
                    data = await self.reader.read(READ_BYTES)
                    assert data, "the stream ends within the handshake"
                    self._incoming.write(data)
                else:
                    await self._flush()
                    return

    async def rest(self) -> bytes:
        """Everything until the end; raises ConnectionResetError at a reset."""
        async with asyncio.timeout(PATIENCE):
            return self._records.rest() + await self.reader.read(-1)

    def end(self) -> None:
        """No more comes from here: a FIN."""
        self.writer.write_eof()

    def abort(self) -> None:
        """A reset."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    def drop(self) -> None:
        """Whatever state it is in."""
        self.writer.transport.abort()

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            self.writer.write(data)
            await self.writer.drain()

    async def _read(self) -> bytes:
        if self._tls is None:
            return await self.reader.read(READ_BYTES)
        while True:
            try:
                return self._tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                data = await self.reader.read(READ_BYTES)
                if not data:
                    return b""
                self._incoming.write(data)


class Client(Peer):
    """A client of the gateway's door."""

    @classmethod
    async def connect(cls, world: World, port: int | None = None, tls: ssl.SSLContext | None = None) -> Client:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port or world.nettcp_port, ssl=tls, server_hostname="localhost" if tls else None
        )
        client = cls(reader, writer)
        world.cleanup.callback(client.drop)  # holds the writer, which must not be collected while it is open
        return client

    @classmethod
    async def session(cls, world: World, via: str, mode: int = Mode.DUPLEX) -> Client:
        """A session that the service has acknowledged."""
        client = await cls.connect(world)
        await client.write(preamble(via, mode))
        assert await client.receive() == Record(Kind.PREAMBLE_ACK)
        return client

    async def call(self, message: bytes) -> Record | None:
        """Send a sized message; the record that comes back."""
        await self.send(Record(Kind.SIZED_ENVELOPE, message))
        return await self.receive()

    async def fault(self) -> str:
        """The fault that comes next, after which the connection ends."""
        record = await self.receive()
        assert record is not None
        assert record.kind is Kind.FAULT, record
        assert await self.rest() == b""
        assert isinstance(record.value, str)
        return record.value.rpartition("/")[2]

    async def close(self) -> None:
        """End the session as WCF's clients do; then the connection ends, so no pool takes it up again."""
        await self.send(END)
        assert await self.receive() == END
        assert await self.receive() is None


OnSession = Callable[["Service", Peer], Awaitable[None]]


class Service:
    """A service at `net.tcp://127.0.0.1:PORT/PATH` which echoes messages with its name in front."""

    def __init__(
        self, path: str, name: str = "", tls: ssl.SSLContext | None = None, on: OnSession | None = None
    ) -> None:
        self.path, self.name, self.tls = path, name.encode(), tls
        self.on = on or Service.echo
        self.vias: list[str] = []
        self.received: list[Record] = []
        self.ends: list[str] = []
        self.ended = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"net.tcp://127.0.0.1:{self.port}/{self.path}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Service]:
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            peer = Peer(reader, writer)
            try:
                if await self._open(peer):
                    await self.on(self, peer)
                self.ends.append("end")
            except ConnectionError as error:
                self.ends.append(type(error).__name__)
            finally:
                self.ended.set()
                writer.close()
                tasks.discard(task)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=READ_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, peer: Peer) -> bool:
        """Read the preamble as a service does; whether it was acknowledged."""
        while record := await peer.receive():
            self.received.append(record)
            if record.kind is Kind.VIA:
                assert isinstance(record.value, str)
                self.vias.append(record.value)
                if urlsplit(record.value).path.strip("/") != self.path:
                    await peer.send(Record(Kind.FAULT, ENDPOINT_NOT_FOUND))
                    return False
            elif record.kind is Kind.UPGRADE_REQUEST:
                if record.value != TLS or self.tls is None:
                    await peer.send(Record(Kind.FAULT, UPGRADE_INVALID))
                    return False
                await peer.send(Record(Kind.UPGRADE_RESPONSE))
                await peer.secure(self.tls)
            elif record.kind is Kind.PREAMBLE_END:
                await peer.send(Record(Kind.PREAMBLE_ACK))
                return True
        return False

    async def echo(self, peer: Peer) -> None:
        """Answer every message with itself, End with End."""
        while record := await peer.receive():
            if record.kind is Kind.SIZED_ENVELOPE:
                assert isinstance(record.value, bytes)
                await peer.send(Record(Kind.SIZED_ENVELOPE, self.name + record.value))
            else:
                await peer.send(record)
