"""A pusher with a source of the test's own and a sink in this process."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from sinks import CONSENT, Received, Sink, answer, endless, hang_up, running_sink, silence

from app.push.client import SinkClient
from app.push.consent import Surroundings, ask_consent
from app.push.log import DeliveryLog
from app.push.pusher import Owed, Pusher
from app.push.retry import Backoff
from app.push.settings import Credential, PushSettings, Validation
from app.push.signature import key_of, signature_of
from app.push.target import IpAddress, Reach, parse_networks, parse_target
from app.wire.native.webhook import Mode
from fanout.event import Event

LOCAL = Reach(parse_networks(["127.0.0.0/8"]), allows_http=True)
EPOCH = "5f0c92ab"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
GRANTED = Validation("granted")


@dataclass
class Parcel:
    """An event that is owed, and how it was settled."""

    event: Event
    source: Shelf
    epoch: str = EPOCH
    attempt: int = 1
    is_permitted: bool = True

    def ack(self) -> None:
        self.source.settled.append((self.event.offset, "ack"))
        self.source.told()

    def nack(self, delay_seconds: float, reason: str) -> bool:
        is_last = self.attempt >= self.source.most
        self.source.settled.append((self.event.offset, "dead" if is_last else "nack"))
        self.source.reasons.append(reason)
        self.source.delays.append(delay_seconds)
        if not is_last:
            self.source.put(replace(self, attempt=self.attempt + 1))
        self.source.told()
        return not is_last

    def reject(self, reason: str) -> None:
        self.source.settled.append((self.event.offset, "reject"))
        self.source.reasons.append(reason)
        self.source.told()

    def give_back(self) -> None:
        self.source.returned.append(self.event.offset)
        if self.is_permitted:
            self.source.put(self)


@dataclass
class Shelf:
    """A source that holds parcels until they are taken."""

    most: int = 5
    settled: list[tuple[int, str]] = field(default_factory=list)
    returned: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    _waiting: list[Owed] = field(default_factory=list)
    _watchers: list[asyncio.Event] = field(default_factory=list)

    def put(self, parcel: Owed) -> None:
        self._waiting.append(parcel)
        self.told()

    def told(self) -> None:
        for watcher in self._watchers:
            watcher.set()

    async def _until(self, holds: Callable[[], bool]) -> None:
        watcher = asyncio.Event()
        self._watchers.append(watcher)
        while not holds():
            await watcher.wait()
            watcher.clear()
        self._watchers.remove(watcher)

    async def take(self, most: int) -> list[Owed]:
        await self._until(lambda: bool(self._waiting))
        self._waiting.sort(key=lambda owed: owed.event.offset)
        taken, self._waiting = self._waiting[:most], self._waiting[most:]
        return taken

    async def until_returned(self, count: int) -> None:
        async with asyncio.timeout(30):
            await self._until(lambda: len(self.returned) >= count)

    async def until_settled(self, count: int) -> list[tuple[int, str]]:
        async with asyncio.timeout(30):
            await self._until(lambda: len(self.settled) >= count)
        return self.settled


@dataclass
class Opened:
    """The source of one worker."""

    shelf: Shelf
    most: int

    async def take(self) -> list[Owed]:
        return await self.shelf.take(self.most)

    def close(self) -> None:
        pass


@dataclass
class Pushed:
    """A pusher at work, and what it has told."""

    pusher: Pusher
    client: SinkClient
    settings: PushSettings
    around: Surroundings
    shelf: Shelf
    log: DeliveryLog
    validations: list[Validation]
    counters: Counter[str]
    gone: list[bool]

    def owe(self, *offsets: int, payload: bytes = b"x") -> None:
        for offset in offsets:
            self.shelf.put(Parcel(event(offset, payload), self.shelf))


def event(offset: int, payload: bytes = b"x") -> Event:
    return Event(
        f"orders/{offset}",
        offset,
        f"id-{offset}",
        payload,
        True,
        "text/plain",
        "made",
        received_at=1.0,
        attributes={"subject": "ü%"},
    )


async def nowhere(host: str, port: int) -> list[IpAddress]:
    return [ipaddress.ip_address("127.0.0.1")]


@asynccontextmanager
async def pushing(
    sink: Sink,
    *,
    validation: Validation = GRANTED,
    concurrency: int = 4,
    seconds: float = 30.0,
    backoff: Backoff = Backoff(0.001, 0.002),  # noqa: B008 - frozen
    most: int = 5,
    **settings: object,
) -> AsyncIterator[Pushed]:
    counters: Counter[str] = Counter()
    validations: list[Validation] = []
    gone: list[bool] = []

    async def keep(found: Validation) -> None:
        validations.append(found)

    shelf, log = Shelf(most), DeliveryLog()
    around = Surroundings(
        origin="relay.example",
        agent="Fanway/test",
        clock=time.time,
        monotonic=time.monotonic,
        chance=lambda: 0.5,
        new_tracking_id=lambda: "tracking",
        count=lambda result: counters.update([result]),
        backoff=backoff,
        concurrency=concurrency,
    )
    client = SinkClient(
        parse_target(sink.url, LOCAL),
        LOCAL,
        nowhere,
        ssl.create_default_context(),
        connect_seconds=seconds,
        total_seconds=seconds,
    )
    chosen = replace(
        PushSettings("abc", "orders", "orders/**", sink.url, (SECRET,), validation=validation),
        **settings,  # type: ignore[arg-type]
    )
    pusher = Pusher(
        chosen,
        lambda most: Opened(shelf, most),
        client,
        around,
        log,
        on_validation=keep,
        on_gone=lambda: gone.append(True),
    )
    pusher.start()
    try:
        yield Pushed(pusher, client, chosen, around, shelf, log, validations, counters, gone)
    finally:
        await pusher.stop()


def check_signature(request: Received, *secrets: str) -> None:
    headers = request.headers
    wanted = signature_of(
        [key_of(secret) for secret in secrets], headers["webhook-id"], int(headers["webhook-timestamp"]), request.body
    )
    assert headers["webhook-signature"] == wanted


async def test_an_event_is_posted_signed_in_binary_mode_and_acknowledged_by_its_2xx() -> None:
    async with running_sink() as sink, pushing(sink) as pushed:
        pushed.owe(7)
        assert await pushed.shelf.until_settled(1) == [(7, "ack")]
        (request,) = sink.received
        headers = request.headers
        check_signature(request, SECRET)
        assert (request.method, request.path, request.body) == ("POST", "/hook", b"x")
        assert headers["content-type"] == "text/plain"
        assert (headers["ce-id"], headers["ce-type"], headers["ce-source"]) == ("id-7", "made", "/orders/7")
        assert headers["ce-subject"] == "%C3%BC%25"
        assert headers["ce-fanwaycursor"] == f"{EPOCH}:7"
        assert headers["webhook-id"] == f"abc_{EPOCH}_7"
        assert headers["webhook-request-origin"] == "relay.example"
        assert (headers["user-agent"], headers["trackingid"], headers["fanway-attempt"]) == (
            "Fanway/test",
            "tracking",
            "1",
        )
        (attempt,) = pushed.log
        assert (attempt.cursor, attempt.status, attempt.result, attempt.next_at) == (
            f"{EPOCH}:7",
            204,
            "delivered",
            None,
        )
        assert pushed.counters == {"delivered": 1}


async def test_an_event_is_posted_whole_in_structured_mode() -> None:
    async with running_sink() as sink, pushing(sink, mode=Mode.STRUCTURED) as pushed:
        pushed.owe(7)
        (request,) = await sink.got(1)
        assert request.headers["content-type"] == "application/cloudevents+json"
        assert not [name for name in request.headers if name.startswith("ce-")]
        envelope = json.loads(request.body)
        assert (envelope["id"], envelope["data"], envelope["fanwayaddress"]) == ("id-7", "x", "orders/7")


async def test_events_that_wait_travel_together_in_batch_mode() -> None:
    async with running_sink() as sink, pushing(sink, mode=Mode.BATCH, concurrency=1) as pushed:
        pushed.owe(1, 2, 3)
        (request,) = await sink.got(1)
        assert request.headers["content-type"] == "application/cloudevents-batch+json"
        assert [each["id"] for each in json.loads(request.body)] == ["id-1", "id-2", "id-3"]
        assert request.headers["webhook-id"] == f"abc_{EPOCH}_1_3"
        assert await pushed.shelf.until_settled(3) == [(1, "ack"), (2, "ack"), (3, "ack")]


async def test_a_batch_that_is_refused_is_tried_event_by_event() -> None:
    """One bad event takes no other with it to the dead letters."""
    answers = answer(422), answer(204), answer(422), answer(204)
    async with running_sink(*answers) as sink, pushing(sink, mode=Mode.BATCH, concurrency=1) as pushed:
        pushed.owe(1, 2, 3)
        settled = await pushed.shelf.until_settled(6)
        assert settled == [(1, "nack"), (2, "nack"), (3, "nack"), (1, "ack"), (2, "reject"), (3, "ack")]


async def test_of_a_batch_nothing_more_is_tried_once_the_sink_has_failed() -> None:
    """What was tried before goes alone, and the rest of it waits for the sink without losing an attempt."""
    async with running_sink(answer(503)) as sink:
        async with pushing(sink, mode=Mode.BATCH, concurrency=1, backoff=Backoff(60, 60)) as pushed:
            for offset in (1, 2, 3):
                pushed.shelf.put(Parcel(event(offset), pushed.shelf, attempt=2))
            assert await pushed.shelf.until_settled(1) == [(1, "nack")]
            await pushed.shelf.until_returned(2)
            assert pushed.shelf.returned == [2, 3]


async def test_headers_and_credentials_of_the_subscription_go_along() -> None:
    credential = Credential("PLAIN", "me", "pass")
    async with running_sink() as sink, pushing(sink, headers=(("X-Key", "k"),), credential=credential) as pushed:
        pushed.owe(1)
        (request,) = await sink.got(1)
        assert (request.headers["x-key"], request.headers["authorization"]) == ("k", "Basic bWU6cGFzcw==")
    assert Credential("ACCESSTOKEN", "Bearer", "tok").header == "Bearer tok"


async def test_two_secrets_sign_both_while_they_are_changed() -> None:
    other = "whsec_" + "A" * 32
    async with running_sink() as sink, pushing(sink, secrets=(other, SECRET)) as pushed:
        pushed.owe(1)
        check_signature((await sink.got(1))[0], other, SECRET)


# --- consent ---


async def test_nothing_is_sent_before_the_sink_has_agreed() -> None:
    """S62: it is asked by OPTIONS, and what it said is kept."""
    async with running_sink() as sink, pushing(sink, validation=Validation()) as pushed:
        pushed.owe(1)
        await sink.got(1)
        (asked,) = sink.asked
        assert (asked.path, asked.headers["webhook-request-origin"]) == ("/hook", "relay.example")
        assert "webhook-request-rate" not in asked.headers
        assert [each.state for each in pushed.validations] == ["granted"]


@pytest.mark.parametrize(
    "consent",
    [
        answer(200),
        answer(405),
        answer(200, "WebHook-Allowed-Origin: other.example"),
        answer(200, "WebHook-Allowed-Origin: *", "WebHook-Allowed-Rate: 0"),
        answer(200, "Allow: POST", "Access-Control-Allow-Origin: *"),
        answer(
            302,
            "Location: /",
        ),
    ],
)
async def test_a_sink_that_never_agreed_gets_nothing(consent: bytes) -> None:
    """S62."""
    async with running_sink() as sink:
        sink.consent = consent
        async with pushing(sink, validation=Validation()) as pushed:
            pushed.owe(1)
            await sink.until(lambda: len(sink.asked) >= 1)
            validation = await ask_consent(pushed.client, pushed.settings, pushed.around)
            assert (validation.state, bool(validation.reason)) == ("refused", True)
            assert (sink.received, pushed.shelf.settled) == ([], [])


async def test_a_refusal_that_is_known_asks_no_more() -> None:
    async with running_sink() as sink, pushing(sink, validation=Validation("refused")) as pushed:
        pushed.owe(1)
        await pushed.pusher.stop()
        assert (sink.asked, sink.received) == ([], [])


async def test_a_sink_that_cannot_be_asked_is_asked_again() -> None:
    async with running_sink() as sink:
        sink.consent = hang_up
        async with pushing(sink, validation=Validation()) as pushed:
            pushed.owe(1)
            await sink.until(lambda: len(sink.asked) >= 2)
            assert sink.received == []
            sink.consent = CONSENT
            await sink.got(1)
            states = [each.state for each in pushed.validations]
            assert (states[0], states[-1]) == ("pending", "granted")


async def test_the_rate_that_the_sink_allows_is_kept() -> None:
    """How requests are spaced by it, the test of `Pace` says; a low rate lets no two of them run at once."""
    async with running_sink() as sink:
        sink.consent = answer(200, "WebHook-Allowed-Origin: relay.example", "WebHook-Allowed-Rate: 100")
        async with pushing(sink, validation=Validation(), rate=6000) as pushed:
            pushed.owe(1, 2)
            await sink.got(2)
            assert sink.most_open == 1
            assert sink.asked[0].headers["webhook-request-rate"] == "6000"
            assert pushed.validations[-1].rate == 100


async def test_what_its_owner_may_not_receive_any_more_when_its_turn_comes_is_given_back() -> None:
    """S21."""
    async with running_sink() as sink, pushing(sink) as pushed:
        pushed.shelf.put(Parcel(event(1), pushed.shelf, is_permitted=False))
        pushed.owe(2)
        assert await pushed.shelf.until_settled(1) == [(2, "ack")]
        assert (pushed.shelf.returned, len(sink.received)) == ([1], 1)


# --- failures ---


@pytest.mark.parametrize(
    "failure", [answer(503), answer(302, "Location: /"), answer(404), hang_up], ids=["503", "302", "404", "lost"]
)
async def test_a_failure_is_tried_again_after_its_delay(failure: bytes) -> None:
    async with running_sink(failure, answer(200)) as sink, pushing(sink) as pushed:
        pushed.owe(1)
        assert await pushed.shelf.until_settled(2) == [(1, "nack"), (1, "ack")]
        assert [each.headers["fanway-attempt"] for each in sink.received] == ["1", "2"]
        assert len({each.headers["webhook-id"] for each in sink.received}) == 1
        newest, oldest = pushed.log
        assert (newest.result, oldest.result, oldest.next_at is not None) == ("delivered", "failed", True)
        assert pushed.counters == {"failed": 1, "delivered": 1}


async def test_in_strict_order_nothing_overtakes_what_failed() -> None:
    answers = answer(204), answer(503), answer(404), answer(204)
    async with running_sink(*answers) as sink, pushing(sink, order="strict") as pushed:
        pushed.owe(1, 2, 3, 4)
        assert [what for what in await pushed.shelf.until_settled(6) if what[1] == "ack"] == [
            (1, "ack"),
            (2, "ack"),
            (3, "ack"),
            (4, "ack"),
        ]
        assert [each.headers["ce-id"] for each in sink.received] == ["id-1", "id-2", "id-2", "id-2", "id-3", "id-4"]


async def test_the_last_attempt_ends_it() -> None:
    async with running_sink(answer(500)) as sink, pushing(sink, most=3) as pushed:
        pushed.owe(1)
        assert await pushed.shelf.until_settled(3) == [(1, "nack"), (1, "nack"), (1, "dead")]
        assert pushed.shelf.reasons[-1] == "The sink answered 500."
        assert pushed.counters == {"failed": 2, "dead": 1}


async def test_what_the_sink_refuses_is_ended_at_once() -> None:
    async with running_sink(answer(400), answer(204)) as sink, pushing(sink, concurrency=1) as pushed:
        pushed.owe(1, 2)
        assert await pushed.shelf.until_settled(2) == [(1, "reject"), (2, "ack")]


async def test_retry_after_is_waited_for() -> None:
    async with running_sink(answer(429, "Retry-After: 120")) as sink, pushing(sink, concurrency=1) as pushed:
        pushed.owe(1, 2)
        await pushed.shelf.until_settled(1)
        assert pushed.shelf.delays == [120]
        await asyncio.sleep(0)
        assert len(sink.received) == 1  # nothing else is sent meanwhile


async def test_a_retired_sink_gets_nothing_more_and_loses_nothing() -> None:
    async with running_sink(answer(410)) as sink, pushing(sink, concurrency=1) as pushed:
        pushed.owe(1, 2)
        await pushed.shelf.until_returned(1)
        assert (pushed.shelf.returned, pushed.shelf.settled) == ([1], [])
        assert (pushed.gone, len(sink.received)) == ([True], 1)


async def test_no_more_run_at_once_than_the_operator_lets() -> None:
    release = asyncio.Event()

    async def wait(request: Received, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(answer(204))

    async with running_sink(wait) as sink, pushing(sink, concurrency=3) as pushed:
        pushed.owe(*range(1, 9))
        await sink.got(3)
        release.set()
        await pushed.shelf.until_settled(8)
        assert sink.most_open == 3


async def test_a_sink_that_hangs_delays_no_other() -> None:
    """S63."""
    huge = endless(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536)
    async with running_sink(silence) as slow, running_sink(huge) as mad, running_sink() as quick:
        async with pushing(slow) as one, pushing(mad, most=1000) as two, pushing(quick) as three:
            for pushed in (one, two, three):
                pushed.owe(*range(1, 51))
            assert len(await three.shelf.until_settled(50)) == 50
            assert one.shelf.settled == []
            assert {what for _, what in two.shelf.settled} <= {"nack"}


async def test_what_is_under_way_is_finished_or_given_back_at_the_end() -> None:
    release = asyncio.Event()

    async def wait(request: Received, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(answer(204))

    async with running_sink(wait, silence) as sink, pushing(sink, concurrency=2) as pushed:
        pushed.owe(1, 2, 3)
        await sink.got(2)
        stopping = asyncio.ensure_future(pushed.pusher.stop(grace_seconds=0.2))
        await asyncio.sleep(0)
        release.set()
        await stopping
        assert (pushed.shelf.settled, pushed.shelf.returned) == ([(1, "ack")], [2])
