"""Kills a gateway that takes durable publishes, again and again, and looks whether all that it acknowledged is there.

    python tests/crash.py --rounds 100 [--seed N]

In each round several connections publish numbered events to durable relays, some asking for receipts, some not, while
others subscribe; at a random moment the gateway gets SIGKILL. After the restart everything is read from the start: each
acknowledged event must be in its place, and so must each that somebody received; no place is given twice or left out;
what one connection sent comes in its order. The rounds share a data folder, so the last one reads them all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app.access.sas import make_token

ROOT = Path(__file__).parents[1]
RELAYS = ("crash", "other")
PUBLISHERS = 6
WINDOW = 32  # publishes that one connection has under way
PATIENCE = 120

Place = tuple[str, int]
"""A relay and an offset."""


class Broken(Exception):
    """The gateway broke its promise."""


class Ledger:
    """What was promised: which event is where."""

    def __init__(self) -> None:
        self.epochs: dict[str, str] = {}
        self.acknowledged: dict[Place, str] = {}
        self.received: dict[Place, str] = {}
        self.grown = asyncio.Event()  # something was acknowledged

    def note(self, kept: dict[Place, str], relay: str, cursor: str, payload: str) -> None:
        epoch, _, offset = cursor.partition(":")
        if self.epochs.setdefault(relay, epoch) != epoch:
            raise Broken(f"{relay} has another epoch than before: {epoch} instead of {self.epochs[relay]}")
        if kept.setdefault((relay, int(offset)), payload) != payload:
            raise Broken(f"{relay}:{offset} was {kept[relay, int(offset)]!r} and is {payload!r}")

    def check(self, relay: str, events: list[str]) -> None:
        """Compare with all events of a relay, in order."""
        for name, kept in (("acknowledged", self.acknowledged), ("received", self.received)):
            for (of, offset), payload in kept.items():
                if of == relay and (offset > len(events) or events[offset - 1] != payload):
                    found = repr(events[offset - 1]) if offset <= len(events) else "nothing"
                    raise Broken(f"{payload!r} was {name} as {relay}:{offset}, where there is {found}")
        if len(set(events)) != len(events):
            raise Broken(f"{relay} holds an event twice")
        numbers: dict[str, int] = {}
        for payload in events:
            whose, _, number = payload.rpartition(" ")
            if int(number) <= numbers.get(whose, -1):
                raise Broken(f"{relay}: {payload!r} comes behind {numbers[whose]}")
            numbers[whose] = int(number)


class Gateway:
    """A gateway in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], url: str, data: Path) -> None:
        self.process = process
        self.url = url
        stored = json.loads((data / "connection.json").read_bytes())
        token = make_token(f"{url}/", stored["key_name"], stored["key"], int(time.time()) + 86_400)
        self.headers = {"ServiceBusAuthorization": token}

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[ClientConnection]:
        url = self.url.replace("http:", "ws:") + "/-/events"
        async with connect(url, additional_headers=self.headers, subprotocols=["fanway.v1"], max_size=None) as socket:
            await socket.recv()
            yield socket


def start(folder: Path) -> subprocess.Popen[str]:
    provision = folder / "relays.json"
    history = {"keep": "durable", "events": 10_000_000}
    provision.write_text(json.dumps({"relays": [{"name": name, "history": history} for name in RELAYS]}))
    options = ["--listen", "127.0.0.1:0", "--no-tls", "--json", "--log-level", "error", "--relays", str(provision)]
    command = [sys.executable, "-m", "fanway", "serve", *options, "--data", str(folder / "data")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True)


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Gateway]:
    """It is killed at the end."""
    with start(folder) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(await asyncio.to_thread(process.stdout.readline))
            yield Gateway(process, ready["url"], folder / "data")
        finally:
            process.kill()


async def read_all(gateway: Gateway, relay: str, ledger: Ledger) -> list[str]:
    """All events of a relay from the start, by a subscription that ends where it becomes live."""
    events: list[str] = []
    async with gateway.session() as socket:
        await socket.send(json.dumps({"t": "pub", "r": 1, "address": f"{relay}/end"}) + f"\nend {random.random()} 0")
        head = int(json.loads(await socket.recv())["cursor"].partition(":")[2])
        await socket.send(json.dumps({"t": "sub", "r": 2, "sub": 1, "pattern": f"{relay}/**", "from": "start"}))
        while len(events) < head:
            header, _, payload = str(await socket.recv()).partition("\n")
            message = json.loads(header)
            if message["t"] == "gap":
                raise Broken(f"{relay}: a gap is told: {header}")
            if "a" not in message:
                continue
            ledger.note({}, relay, message["c"], payload)
            if message["c"].partition(":")[2] != str(len(events) + 1):
                raise Broken(f"{relay}: {message['c']} comes after {len(events)} events")
            events.append(payload)
    return events


async def publish(gateway: Gateway, name: str, asks: bool, chance: random.Random, ledger: Ledger) -> None:
    """Publish until the gateway is gone."""
    relay = chance.choice(RELAYS)
    sent = answered = 0
    with contextlib.suppress(ConnectionClosed, OSError):
        async with gateway.session() as socket:
            while True:
                while sent - answered < WINDOW:
                    header = {"t": "pub", "address": f"{relay}/{sent % 3}", **({"r": sent} if asks else {})}
                    await socket.send(f"{json.dumps(header)}\n{name} {sent}")
                    sent += 1
                if not asks:
                    answered = sent
                    await asyncio.sleep(0.001)
                    continue
                answer = json.loads(await socket.recv())
                if answer["t"] != "ok" or answer["r"] != answered:
                    raise Broken(f"{name}: publish {answered} was answered {answer}")
                ledger.note(ledger.acknowledged, relay, answer["cursor"], f"{name} {answered}")
                ledger.grown.set()
                answered += 1


async def subscribe(gateway: Gateway, relay: str, ledger: Ledger) -> None:
    """Note what comes until the gateway is gone."""
    with contextlib.suppress(ConnectionClosed, OSError):
        async with gateway.session() as socket:
            await socket.send(json.dumps({"t": "sub", "r": 1, "sub": 1, "pattern": f"{relay}/**"}))
            while True:
                header, _, payload = str(await socket.recv()).partition("\n")
                message = json.loads(header)
                if "a" in message:
                    ledger.note(ledger.received, relay, message["c"], payload)


async def crash(folder: Path, rounds: int, seed: int) -> Ledger:
    """So many rounds. Raises Broken."""
    chance, ledger = random.Random(seed), Ledger()
    for number in range(rounds + 1):
        async with asyncio.timeout(PATIENCE), running(folder) as gateway:
            for relay in RELAYS:
                ledger.check(relay, await read_all(gateway, relay, ledger))
            if number == rounds:
                break
            work = [
                asyncio.ensure_future(publish(gateway, f"{number}.{each}", each % 3 < 2, chance, ledger))
                for each in range(PUBLISHERS)
            ]
            work += [asyncio.ensure_future(subscribe(gateway, relay, ledger)) for relay in RELAYS]
            ledger.grown.clear()
            await asyncio.wait([asyncio.ensure_future(ledger.grown.wait()), *work], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(chance.uniform(0, 0.4))
            gateway.process.kill()
            await asyncio.gather(*work)
    return ledger


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    print(f"{arguments.rounds} rounds, seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            ledger = asyncio.run(crash(Path(folder), arguments.rounds, arguments.seed))
        except Broken as error:
            sys.exit(f"BROKEN: {error}")
    print(f"acknowledged {len(ledger.acknowledged)}, received {len(ledger.received)}: all there, in their places")


if __name__ == "__main__":
    main()
