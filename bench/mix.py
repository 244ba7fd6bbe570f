"""A realistic mix: several transports, patterns, and subscribers whose permission does not reach what is published."""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bench.fanout import SETTLE_SECONDS
from bench.generator.library import Times
from bench.load import BINARY, NO_MASK, TEXT, LoadError, client_frame, open_stream, open_websocket, read_message
from bench.order import check_spread
from bench.peers import RELAY, Fanway, NaiveFastAPI, Peer, Place, Server
from bench.rivals import Nats
from bench.row import Line, Meter, Row, Sizes, side_by_side
from bench.traffic import STAMP, Outcome, Pace, Supply, run_traffic
from fanway.token import make_token

FLOORS, ROOMS = 5, 10  # of each floor: 50 addresses
RATE = 10.0  # events a second at each address
WINDOW = 1000  # events in flight, of all addresses, when it goes as fast as it can
SPANS = 3  # rounds at the fixed rate are so many times as long as others: percentiles need many events
EVENT_BYTES = 1024
OUTSIDE, OUTSIDE_KEY = "outside", "b3V0c2lkZQ=="
ROOM = f"{RELAY}/rooms"
PAYLOAD = re.compile(rb'\{"n":\d{6},[^}]*\}')
SHARES = {0.5: "p50", 0.99: "p99", 0.999: "p99.9"}


class Transport(Enum):
    """How a subscriber is connected."""

    SOCKET = 70  # of a hundred
    STREAM = 20
    SESSION = 10


@dataclass(frozen=True, slots=True)
class Member:
    """A subscriber: of one address, of a floor's pattern, or (floor None) of all, to which its permission does not
    reach."""

    transport: Transport
    floor: int | None
    room: int | None

    @property
    def reach(self) -> list[int]:
        """The numbers of the addresses of which it gets events."""
        if self.floor is None:
            return []
        return [self.floor * ROOMS + room for room in range(ROOMS) if self.room in (None, room)]


def members(count: int) -> list[Member]:
    """A half on one address each, a quarter on patterns, a quarter outside; every transport has its part of each."""
    chance = random.Random(7)
    transports = [kind for kind in Transport for _ in range(count * kind.value // 100)]
    chance.shuffle(transports)
    found = []
    for number, kind in enumerate(transports):
        place, floor = number // 4, number // 4 % FLOORS
        found.append(
            [
                Member(kind, floor, place // FLOORS % ROOMS),
                Member(kind, floor, (place // FLOORS + ROOMS // 2) % ROOMS),
                Member(kind, floor, None),
                Member(kind, None, None),
            ][number % 4]
        )
    return found


class Mixer(Peer):
    """How such members are connected to a server, and who publishes to all addresses."""

    def join(self, server: Server, member: Member) -> socket.socket:
        """A subscriber."""
        raise NotImplementedError

    def open_teller(self, server: Server) -> socket.socket:
        """The publisher."""
        return self.open_wide_publisher(server)

    def told(self, floor: int, room: int, payload: bytes) -> bytes:
        """What the publisher sends, with a mask of zeros."""
        raise NotImplementedError

    def check_refusal(self, server: Server) -> None:
        """That those outside are refused where they ask for what they may not have. Raises LoadError."""


class FanwayMixer(Fanway, Mixer):
    """The rooms are a relay of their own below the other, so that neither a pattern nor a rule of that one reaches
    them; those outside have a rule of that one."""

    about = f"{Fanway.about}; in `mix` with a relay below another"

    def command(self, place: Place) -> list[str]:
        command = super().command(place)
        rule = {"name": OUTSIDE, "rights": ["Listen"], "primaryKey": OUTSIDE_KEY}
        relays = [{"name": RELAY, "rules": [rule]}, {"name": ROOM}]
        Path(command[command.index("--relays") + 1]).write_text(json.dumps({"relays": relays}))
        return command

    def join(self, server: Server, member: Member) -> socket.socket:
        room = "*" if member.room is None else f"r{member.room}"
        pattern = f"{RELAY}/**" if member.floor is None else f"{ROOM}/f{member.floor}/{room}"
        headers = self._outside(server) if member.floor is None else server.headers
        if member.transport is Transport.STREAM:
            return open_stream(server.port, f"/-/events/{pattern}?as=data", headers)
        if member.transport is Transport.SOCKET:
            return open_websocket(server.port, f"/-/events/{pattern}", headers)
        session = open_websocket(server.port, "/-/events", {**headers, "Sec-WebSocket-Protocol": "fanway.v1"})
        session.sendall(client_frame(TEXT, b'{"t":"sub","r":1,"sub":1,"pattern":"%b"}' % pattern.encode()))
        while not (said := read_message(session)[1]).startswith(b'{"t":"ok"'):
            if not said.startswith(b'{"t":"hi"'):
                raise LoadError(f"Fanway refused a subscription: {said.decode()}")
        return session

    def told(self, floor: int, room: int, payload: bytes) -> bytes:
        head = f'{{"t":"pub","address":"{ROOM}/f{floor}/r{room}"}}\n'
        return client_frame(TEXT, head.encode() + payload, NO_MASK)

    def check_refusal(self, server: Server) -> None:
        try:
            open_stream(server.port, f"/-/events/{ROOM}/**", self._outside(server)).close()
        except LoadError:
            return
        raise LoadError("Fanway let somebody subscribe who may not")

    def _outside(self, server: Server) -> dict[str, str]:
        resource, expires_at = f"http://127.0.0.1:{server.port}/{RELAY}", int(time.time()) + 3600
        return {"ServiceBusAuthorization": make_token(resource, OUTSIDE, OUTSIDE_KEY, expires_at)}


class NatsMixer(Nats, Mixer):
    """All are WebSockets. Those outside may subscribe to all but the rooms; what matches is filtered as it comes."""

    about = f"{Nats.about}; in `mix` with users and their permissions"

    def version(self) -> str | None:
        return None  # said already

    def command(self, place: Place) -> list[str]:
        command = super().command(place)
        rule = f'subscribe: {{ allow: ["{RELAY}.>"], deny: ["{RELAY}.rooms.>"] }}'
        with (place.folder / "nats.conf").open("a") as config:
            config.write(
                'authorization { users: [ {user: "in", password: "in"}, '
                f'{{user: "out", password: "out", permissions: {{ {rule} }} }} ] }}\n'
            )
        return command

    def join(self, server: Server, member: Member) -> socket.socket:
        if member.floor is None:
            return self._open(server, "out", b"SUB %b.> 1\r\n" % RELAY.encode())
        room = "*" if member.room is None else f"r{member.room}"
        return self._open(server, "in", f"SUB {RELAY}.rooms.f{member.floor}.{room} 1\r\n".encode())

    def open_teller(self, server: Server) -> socket.socket:
        return self._open(server, "in", b"")

    def told(self, floor: int, room: int, payload: bytes) -> bytes:
        command = b"PUB %b.rooms.f%d.r%d %d\r\n%b\r\n" % (RELAY.encode(), floor, room, len(payload), payload)
        return client_frame(BINARY, command, NO_MASK)

    def _open(self, server: Server, user: str, command: bytes) -> socket.socket:
        sock = open_websocket(server.port, "/")
        hello = b'CONNECT {"verbose":false,"pedantic":false,"user":"%b","pass":"%b"}\r\n'
        sock.sendall(client_frame(BINARY, hello % (user.encode(), user.encode()) + command + b"PING\r\n"))
        said = b""
        while not said.endswith(b"PONG\r\n"):
            said += read_message(sock)[1]
            if b"-ERR" in said:
                raise LoadError(f"NATS refused a subscription: {said.decode()}")
        return sock


class FastAPIMixer(NaiveFastAPI, Mixer):
    """A pattern is a list of addresses, a session a WebSocket; those outside wait for what nobody publishes."""

    about = f"{NaiveFastAPI.about}; in `mix` with lists of addresses"

    def join(self, server: Server, member: Member) -> socket.socket:
        names = ",".join(f"a{address:02}" for address in member.reach) or OUTSIDE
        if member.transport is Transport.STREAM:
            return open_stream(server.port, f"/events/{names}")
        return open_websocket(server.port, f"/subscribe/{names}")

    def told(self, floor: int, room: int, payload: bytes) -> bytes:
        return client_frame(TEXT, b"a%02d %b" % (floor * ROOMS + room, payload), NO_MASK)


PEERS: tuple[Mixer, ...] = (FanwayMixer(), NatsMixer(), FastAPIMixer())


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    crowd, steady = members(sizes.scale), f"{RATE:.0f} events/s at each address"
    delays = {
        share: Line(f"{name} at {steady}", unit="µs", is_more_better=False, praise="short")
        for share, name in SHARES.items()
    }
    fastest = Line(f"{WINDOW} in flight")
    with side_by_side(PEERS, [*delays.values(), fastest], core) as servers:
        for server in servers:
            _verify(server, crowd)
        for _ in range(sizes.rounds):
            for server in servers:
                with _connected(server, crowd) as (publisher, sockets):
                    times = Times(sizes.warm_seconds, SPANS * sizes.seconds)
                    pace = Pace(rate=RATE * FLOORS * ROOMS)
                    outcome, meter = _run(server, publisher, sockets, crowd, pace, times, sizes)
                    for share, line in delays.items():
                        line.add(server, meter.sample(outcome.delays[share]))
                    outcome, meter = _run(server, publisher, sockets, crowd, Pace(window=WINDOW), sizes.times, sizes)
                    fastest.add(server, meter.rate(outcome.deliveries))
    return [*delays.values(), fastest]


@contextlib.contextmanager
def _connected(server: Server, crowd: list[Member]) -> Iterator[tuple[socket.socket, list[socket.socket]]]:
    """The publisher and the members' sockets."""
    peer = server.peer
    assert isinstance(peer, Mixer)
    with contextlib.ExitStack() as stack:
        publisher = stack.enter_context(peer.open_teller(server))
        sockets = [stack.enter_context(peer.join(server, member)) for member in crowd]
        time.sleep(SETTLE_SECONDS)
        yield publisher, sockets


def _payload(number: int, last: bytes) -> bytes:
    """A JSON object of 1 KiB."""
    head, tail = b'{"n":%06d,"room":"lecture hall","state":"' % number, b'","mark":"%b"}' % last
    return head + b"." * (EVENT_BYTES - len(head) - len(tail)) + tail


def _verify(server: Server, crowd: list[Member]) -> None:
    """One event of each address: every byte of what comes compared, and that nothing comes to those outside."""
    peer = server.peer
    assert isinstance(peer, Mixer)
    peer.check_refusal(server)
    payloads = [_payload(number, b"-") for number in range(FLOORS * ROOMS)]
    frames = [peer.told(*divmod(number, ROOMS), payload) for number, payload in enumerate(payloads)]
    with _connected(server, crowd) as (publisher, sockets):
        due = [[payloads[address] for address in member.reach] for member in crowd]
        check_spread(peer.name, publisher, frames, list(zip(sockets, due, strict=True)), PAYLOAD)


def _run(
    server: Server,
    publisher: socket.socket,
    sockets: list[socket.socket],
    crowd: list[Member],
    pace: Pace,
    times: Times,
    sizes: Sizes,
) -> tuple[Outcome, Meter]:
    """Every delivery is checked: that it may come, and is the next one of its address."""
    peer, meter = server.peer, Meter(server, sizes)
    assert isinstance(peer, Mixer)
    addresses = list(range(FLOORS * ROOMS))
    random.Random(7).shuffle(addresses)
    reach = [member.reach for member in crowd]
    frames = [peer.told(*divmod(address, ROOMS), _payload(0, STAMP)) for address in addresses]
    supply = Supply(frames, addresses, [sum(address in some for some in reach) for address in addresses])
    try:
        return run_traffic(publisher, sockets, supply, pace, times, meter, reach=reach, shares=tuple(SHARES)), meter
    except LoadError as error:
        raise LoadError(f"{peer.name}: {error}") from error


ROW = Row(
    name="mix",
    title="A mix: 1 KiB events at 50 addresses, 1,000 subscribers of several kinds",
    unit="deliveries/s",
    proves="That nothing of the kind is a path of its own that is slow: 70 % of the subscribers are bare WebSockets, "
    "20 % take server-sent events, 10 % are sessions; a half of them is on one address each, a quarter on patterns of "
    "ten addresses. The last quarter has a pattern that by its text matches every address, and a permission that does "
    "not reach them: nothing came there. Every delivery was checked: that it may come, and is the next of its address.",
    leaves_out="TLS, publishing from many connections. Those outside hold a rule and a pattern of the relay above the "
    "one of the 50 addresses: Fanway asks for permission when it subscribes somebody and never lets a pattern reach "
    "into another relay, so they cost nothing later. NATS has them as users with a denied subject and filters as "
    "it delivers; it knows WebSockets only. FastAPI has no permissions, and lists of addresses for patterns.",
    peers=PEERS,
    measure=measure,
)
