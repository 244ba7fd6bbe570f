"""Ten relays and very many, each with rules of its own: what a request's way to its relay costs, and a start."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.load import LoadError, open_tcp
from bench.peers import FANWAY, Fanway, Place, Server, running
from bench.row import Line, Meter, Row, Sample, Sizes
from fanway.token import make_token

FEW, RULES = 10, 4
CONNECTIONS, PIPELINED = 4, 32  # requests of a connection that are on their way
DRAWN = 8192  # different requests; no more tokens are remembered than half of these
REFUSAL = b"HTTP/1.1 404 There are no listeners connected"


class Provisioned(Fanway):
    """The gateway with a data folder in which everything is provisioned already."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.began_at = 0.0

    def command(self, place: Place) -> list[str]:
        shutil.copytree(self._data, place.folder / "data")
        self.began_at = time.perf_counter()
        return _serve(place.folder / "data")


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    counts = (min(FEW, sizes.relays), sizes.relays)
    tokens = ("a token of the namespace", "tokens of their rules, each new")
    asked = {(count, kind): Line(f"{count:,} relays, {kind}") for kind in tokens for count in counts}
    started = {count: Line(f"start with {count:,} relays, {RULES} rules each") for count in counts}
    for kind in tokens:
        asked[counts[1], kind].base = asked[counts[0], kind].setting
    for count, line in started.items():
        line.unit, line.is_more_better, line.praise = "ms to serve", False, "fast"
        line.base = started[counts[0]].setting if count != counts[0] else ""
    with contextlib.ExitStack() as stack:
        peers = {count: stack.enter_context(_provisioned(count)) for count in counts}
        for _ in range(sizes.rounds):
            for count, peer in peers.items():
                with running(peer, core) as server:
                    elapsed = time.perf_counter() - peer.began_at
                    started[count].add(server, Sample(elapsed * 1000, server.cpu_seconds() / elapsed, 0.0))
        servers = {count: stack.enter_context(running(peer, core)) for count, peer in peers.items()}
        requests = {(count, kind): _requests(servers[count], count, kind == tokens[0]) for count, kind in asked}
        for _ in range(sizes.rounds):
            for (count, kind), line in asked.items():
                line.add(servers[count], _round(servers[count], sizes, requests[count, kind]))
    return [*asked.values(), *started.values()]


@contextlib.contextmanager
def _provisioned(count: int) -> Iterator[Provisioned]:
    """A gateway to be started on a data folder with so many relays. Raises LoadError."""
    with tempfile.TemporaryDirectory(prefix="fanway-bench-") as name:
        folder = Path(name)
        rules = [{"name": f"rule-{n}", "rights": ["Send"], "primaryKey": _key(n)} for n in range(RULES)]
        relays = [{"name": _name(n), "profile": "hybridConnection", "rules": rules} for n in range(count)]
        (folder / "relays.json").write_text(json.dumps({"relays": relays}))
        command = [*_serve(folder / "data"), "--relays", str(folder / "relays.json")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            is_ready = process.stdout.readline()
            process.terminate()
        if not is_ready:
            raise LoadError(f"{count} relays could not be provisioned; the errors are above")
        yield Provisioned(folder / "data")


def _serve(data: Path) -> list[str]:
    program = str(Path(sys.executable).with_name("fanway"))
    options = ["--listen", "127.0.0.1:0", "--no-tls", "--json", "--log-level", "warning"]
    return [program, "serve", *options, "--data", str(data)]


def _name(number: int) -> str:
    return f"site-{number // 100}/relay-{number}"


def _key(number: int) -> str:
    return f"the key of rule {number}, which is as long as one that the gateway makes"


def _requests(server: Server, count: int, by_namespace: bool) -> list[bytes]:
    """Different ones, each at an address that nobody asked for before, so that nothing of it is remembered."""
    chance, requests, expires_at = random.Random(7), [], int(time.time()) + 3600
    for number in range(DRAWN):
        name = _name(chance.randrange(count))
        token = server.headers["ServiceBusAuthorization"]
        if not by_namespace:
            rule = number % RULES
            token = make_token(f"http://127.0.0.1/{name}", f"rule-{rule}", _key(rule), expires_at + number)
        head = f"GET /{name}/{number} HTTP/1.1\r\nHost: 127.0.0.1\r\nServiceBusAuthorization: {token}\r\n\r\n"
        requests.append(head.encode())
    return requests


def _round(server: Server, sizes: Sizes, requests: Sequence[bytes]) -> Sample:
    """Every answer is checked to be the one that a relay without listeners gives."""
    batches = [b"".join(requests[at : at + PIPELINED]) for at in range(0, len(requests), PIPELINED)]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(open_tcp(server.port)) for _ in range(CONNECTIONS)]
        meter = Meter(server, sizes)
        turn = 0

        def play(seconds: float) -> int:
            nonlocal turn
            answered, end_at = 0, time.perf_counter() + seconds
            while time.perf_counter() < end_at:
                for client in clients:
                    client.sendall(batches[turn % len(batches)])
                    turn += 1
                answered += sum(map(_answers, clients))
            return answered

        play(sizes.warm_seconds)
        meter.begin()
        answered = play(sizes.seconds)
        meter.end()
        return meter.rate(answered)


def _answers(client: socket.socket) -> int:
    """Read the answers to one batch."""
    data = b""
    while data.count(b"</Error>") < PIPELINED:
        more = client.recv(1 << 16)
        if not more:
            raise LoadError("the gateway closed a connection")
        data += more
    if data.count(REFUSAL) != PIPELINED:
        raise LoadError(f"a request was answered wrongly: {data[:200]!r}")
    return PIPELINED


ROW = Row(
    name="relays",
    title="Relays: finding a request's relay and verifying its token, and starting, with 10 relays and with 10,000",
    unit="requests/s",
    proves="That neither the number of relays nor that of their rules slows down a request. Each asks at an address "
    "that was not asked for before, at a relay drawn at random, and is answered that nobody listens there. With tokens "
    "of the relays' own rules each is a new one, whose signature is verified. A start reads everything into memory.",
    leaves_out="Relaying itself (the row `requests` has it), tokens and addresses that come again and are remembered, "
    "the first start, which writes what is provisioned. The time to serve begins with the process, so that most of the "
    "smaller one is Python's.",
    peers=(FANWAY,),
    measure=measure,
)
