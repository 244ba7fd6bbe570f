"""Finding the few subscribers of an address among very many patterns, a part of them with wildcards."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from bench.fanout import PAYLOAD
from bench.load import NO_MASK, TEXT, LoadError, client_frame, open_tcp, read_exactly, read_message
from bench.order import NUMBERED, check_spread, numbered
from bench.peers import RELAY, Fanway, Peer, Place, Server
from bench.rivals import MQTT_ACCEPTED, MQTT_CONNECT, NATS_HELLO, Mosquitto, Nats, mqtt, mqtt_text
from bench.row import Line, Meter, Row, Sizes, side_by_side
from bench.traffic import NAME, NOBODY, STAMP, Pace, Supply, run_traffic

EACH = 100  # patterns of a group, the segment after the relay
CONCRETE, MIDDLE = 70, 85  # of these, up to so many have no wildcard, then `*` in the middle; the others end in `**`
HELD = 1000  # patterns on a connection
MATCHED = 0.35  # of the events
EVENTS, SEEN_ADDRESSES, CHECKED_EVENTS = 8192, 500, 400
WINDOW = 2000
STAMPED = PAYLOAD[: 64 - len(STAMP)] + STAMP  # 64 bytes


@dataclass(frozen=True, slots=True)
class Draw:
    """An address to publish to, and the number of the one pattern that matches it, if one does."""

    address: str
    pattern: int | None
    is_new: bool  # NAME in it is to be another one each time


class Holder(Peer):
    """How connections that hold many patterns are opened at a server, and who publishes to any address."""

    def hold(self, server: Server, patterns: Sequence[str]) -> socket.socket:
        """One connection that subscribes to all of these."""
        raise NotImplementedError

    def open_teller(self, server: Server) -> socket.socket:
        """The publisher."""
        raise NotImplementedError

    def told(self, address: str, payload: bytes) -> bytes:
        """What the publisher sends."""
        raise NotImplementedError

    def show_life(self, sock: socket.socket) -> None:
        """To be called between rounds: a connection that holds patterns is long silent."""


class FanwaySessions(Fanway, Holder):
    about = f"{Fanway.about}; in `match` on sessions"

    def hold(self, server: Server, patterns: Sequence[str]) -> socket.socket:
        sock = self.open_wide_publisher(server)
        subs = (f'{{"t":"sub","r":{n},"sub":{n},"pattern":"{text}"}}' for n, text in enumerate(patterns))
        sock.sendall(b"".join([client_frame(TEXT, sub.encode(), NO_MASK) for sub in subs]))
        for _ in patterns:
            answer = read_message(sock)[1]
            if not answer.startswith(b'{"t":"ok"'):
                raise LoadError(f"Fanway refused a subscription: {answer.decode()}")
        return sock

    def open_teller(self, server: Server) -> socket.socket:
        return self.open_wide_publisher(server)

    def told(self, address: str, payload: bytes) -> bytes:
        return client_frame(TEXT, f'{{"t":"pub","address":"{address}"}}\n'.encode() + payload, NO_MASK)

    def show_life(self, sock: socket.socket) -> None:
        sock.sendall(bytes((0x8A, 0x80)) + NO_MASK)  # a Pong (RFC 6455, 5.5.3)


class PlainNats(Nats, Holder):
    name = "NATS TCP"
    about = "the same on its plain TCP port"
    is_framed = False

    def version(self) -> str | None:
        return None  # said already

    def command(self, place: Place) -> list[str]:
        config = place.folder / "nats.conf"
        config.write_text(f'host: "127.0.0.1"\nport: {place.port}\nping_interval: "10m"\nwrite_deadline: "60s"\n')
        return [self.path() or self.program, "-c", str(config)]

    def hold(self, server: Server, patterns: Sequence[str]) -> socket.socket:
        subjects = (_subject(text).replace("**", ">") for text in patterns)
        lines = b"".join([b"SUB %b %d\r\n" % (subject.encode(), n) for n, subject in enumerate(subjects)])
        sock = open_tcp(server.port)
        while read_exactly(sock, 1) != b"\n":  # INFO
            pass
        sock.sendall(NATS_HELLO + lines + b"PING\r\n")
        if read_exactly(sock, 6) != b"PONG\r\n":
            raise LoadError("NATS refused a subscription")
        return sock

    def open_teller(self, server: Server) -> socket.socket:
        return self.hold(server, [])

    def told(self, address: str, payload: bytes) -> bytes:
        return b"PUB %b %d\r\n%b\r\n" % (_subject(address).encode(), len(payload), payload)


class PlainMosquitto(Mosquitto, Holder):
    name = "mosquitto TCP"
    about = "the same over plain TCP"
    is_framed = False

    def version(self) -> str | None:
        return None  # said already

    def command(self, place: Place) -> list[str]:
        command = super().command(place)
        config = place.folder / "mosquitto.conf"
        config.write_text(config.read_text().replace("protocol websockets\n", "protocol mqtt\n"))
        return command

    def hold(self, server: Server, patterns: Sequence[str]) -> socket.socket:
        topics = [text.replace("**", "#").replace("*", "+") for text in patterns]
        packets = [mqtt(0x82, b"\x00\x01" + mqtt_text(topic) + b"\x00") for topic in topics]
        sock = open_tcp(server.port)
        sock.sendall(MQTT_CONNECT + b"".join(packets))
        expected = MQTT_ACCEPTED + b"\x90\x03\x00\x01\x00" * len(topics)
        if read_exactly(sock, len(expected)) != expected:
            raise LoadError("mosquitto refused a subscription")
        return sock

    def open_teller(self, server: Server) -> socket.socket:
        return self.hold(server, [])

    def told(self, address: str, payload: bytes) -> bytes:
        return mqtt(0x30, mqtt_text(address) + payload)


PEERS: tuple[Holder, ...] = (FanwaySessions(), PlainNats(), PlainMosquitto())


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    texts = patterns(sizes.scale)
    unseen = draws(sizes.scale, EVENTS, is_new=True)
    seen = random.Random(7).choices(draws(sizes.scale, SEEN_ADDRESSES, is_new=False), k=EVENTS)
    settings = {"not seen before": unseen, "seen before": seen}
    lines = {setting: Line(f"addresses {setting}") for setting in settings}
    with contextlib.ExitStack() as stack:
        servers = stack.enter_context(side_by_side(PEERS, lines.values(), core))
        crowds = [_Crowd(server, texts, stack) for server in servers]
        for crowd in crowds:
            crowd.verify(seen[:CHECKED_EVENTS])
        for _ in range(sizes.rounds):
            for setting, line in lines.items():
                for crowd in crowds:
                    crowd.measure(settings[setting], sizes, line)
    return list(lines.values())


class _Crowd:
    """A server with its connections, which stay: to subscribe takes longer than a round."""

    def __init__(self, server: Server, texts: Sequence[str], stack: contextlib.ExitStack) -> None:
        assert isinstance(server.peer, Holder)
        self._server, self._peer = server, server.peer
        self._teller = stack.enter_context(self._peer.open_teller(server))
        self._count = -(-len(texts) // HELD)
        self._sockets = [
            stack.enter_context(self._peer.hold(server, texts[number :: self._count])) for number in range(self._count)
        ]
        self._next_name = 0

    def verify(self, draws: Sequence[Draw]) -> None:
        """Every byte of what some events become is compared."""
        payloads = [numbered(number) for number in range(len(draws))]
        due: list[list[bytes]] = [[] for _ in self._sockets]
        for draw, payload in zip(draws, payloads, strict=True):
            if draw.pattern is not None:
                due[draw.pattern % self._count].append(payload)
        frames = [self._peer.told(draw.address, payload) for draw, payload in zip(draws, payloads, strict=True)]
        check_spread(self._peer.name, self._teller, frames, list(zip(self._sockets, due, strict=True)), NUMBERED)

    def measure(self, draws: Sequence[Draw], sizes: Sizes, line: Line) -> None:
        """One round; every delivery is checked to come to the right connection, in order."""
        for sock in self._sockets:
            self._peer.show_life(sock)
        supply = Supply(
            [self._peer.told(draw.address, STAMPED) for draw in draws],
            [NOBODY if draw.pattern is None else draw.pattern % self._count for draw in draws],
            [draw.pattern is not None for draw in draws],
            [draw.is_new for draw in draws],
        )
        meter, reach = Meter(self._server, sizes), [[number] for number in range(self._count)]
        try:
            outcome = run_traffic(
                self._teller,
                self._sockets,
                supply,
                Pace(window=WINDOW),
                sizes.times,
                meter,
                reach=reach,
                first_name=self._next_name,
            )
        except LoadError as error:
            raise LoadError(f"{self._peer.name}, {line.setting}: {error}") from error
        self._next_name = outcome.next_name
        line.add(self._server, meter.rate(outcome.events))


def patterns(groups: int) -> list[str]:
    """A hundred of each group; no address is matched by two of them."""
    texts = []
    for group in range(groups):
        for place in range(EACH):
            segments = f"m{place:02}/k{place:02}" if place < CONCRETE else f"*/k{place:02}"
            texts.append(f"{RELAY}/g{group:03}/{segments if place < MIDDLE else f't{place:02}/**'}")
    return texts


def draws(groups: int, count: int, *, is_new: bool) -> list[Draw]:
    """Addresses to publish to; the same for every server."""
    chance = random.Random(7)
    return [_draw(chance, groups, is_new=is_new) for _ in range(count)]


def _draw(chance: random.Random, groups: int, *, is_new: bool) -> Draw:
    """An address of two kinds, or three when it may be one that a pattern without wildcard names."""
    group = chance.randrange(groups)
    is_matched = chance.random() < MATCHED
    place = chance.randrange(CONCRETE if is_new else 0, EACH) if is_matched else chance.randrange(MIDDLE)
    name = NAME.decode() if is_new else f"{chance.randrange(1 << 32):08x}"
    if is_matched and place < CONCRETE:
        rest = f"m{place:02}/k{place:02}"
    elif is_matched:
        rest = f"n{name}/k{place:02}" if place < MIDDLE else f"t{place:02}/n{name}"
    else:
        rest = f"n{name}/k{place % CONCRETE:02}" if chance.random() < 0.5 else f"t{place:02}/n{name}"
    pattern = group * EACH + place if is_matched else None
    return Draw(f"{RELAY}/g{group:03}/{rest}", pattern, is_new)


def _subject(address: str) -> str:
    return address.replace("/", ".")


ROW = Row(
    name="match",
    title="Matching: 100,000 patterns, 30 % of them with wildcards, 0.35 deliveries an event",
    unit="events/s",
    proves="What an event costs before anybody gets it: to be read, and to find its few subscribers. Half of the "
    "patterns with wildcards have `*` in the middle, half end in `**`; they are held by 100 connections, in Fanway by "
    "sessions. The first line publishes to another address each time, the second to 500 again and again. Each delivery "
    "was checked: that it came to the one connection whose pattern matches, as the next one.",
    leaves_out="Patterns that overlap, WebSockets for the others: NATS and mosquitto speak over plain TCP, Fanway "
    "reads frames and JSON. The memory of 100,000 patterns.",
    peers=PEERS,
    measure=measure,
)
