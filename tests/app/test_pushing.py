"""Push subscriptions of a whole gateway: managed by the API, delivered to sinks in this process."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sinks import CONSENT, Sink, answer, hang_up, running_sink, silence
from subscribers import publish, sse
from worlds import World, running_gateway

from app.push.signature import key_of, signature_of
from app.push.target import IpAddress

RELAYS: list[dict[str, Any]] = [
    {"name": "orders", "history": {"keep": "durable"}},
    {
        "name": "ruled",
        "rules": [
            {"name": "listener", "rights": ["Listen"], "primaryKey": "listener-key"},
            {"name": "other", "rights": ["Listen"], "primaryKey": "other-key"},
            {"name": "sender", "rights": ["Send"], "primaryKey": "sender-key"},
        ],
    },
    {"name": "failed"},
]
QUICK = {"first_retry_seconds": 0.02, "most_retry_seconds": 0.05}
PLACE = "/-/api/subscriptions"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS, push=QUICK) as running:
        yield running


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with running_sink() as running:
        yield running


async def call(
    world: World,
    method: str,
    path: str = "",
    body: Any = None,
    *,
    auth: dict[str, str] | None = None,
    status: int = 200,
) -> Any:
    made = await world.client.request(method, f"{PLACE}{path}", headers=auth or world.auth(), json=body)
    assert made.status_code == status, made.text
    return made.json() if made.content else None


def wish(
    sink: str, pattern: str = "orders/**", *, settings: dict[str, Any] | None = None, **config: Any
) -> dict[str, Any]:
    return {
        "sink": sink,
        "protocol": "HTTP",
        "config": {"pattern": pattern, **config},
        "protocolsettings": settings or {},
    }


async def create(world: World, sink: Sink, pattern: str = "orders/**", **kwargs: Any) -> dict[str, Any]:
    auth = kwargs.pop("auth", None)
    made = await call(world, "POST", "", wish(sink.url, pattern, **kwargs), auth=auth, status=201)
    return made  # type: ignore[no-any-return]


async def until(world: World, id: str, holds: Any) -> dict[str, Any]:
    """The subscription as it is once something holds of its status."""
    async with asyncio.timeout(30):
        while not holds((found := await call(world, "GET", f"/{id}"))["status"]):
            continue
    return found  # type: ignore[no-any-return]


async def log_of(world: World, id: str, count: int) -> list[dict[str, Any]]:
    """The delivery log, once it has so many lines."""
    async with asyncio.timeout(30):
        while len(found := (await call(world, "GET", f"/{id}/deliveries"))["deliveries"]) < count:
            continue
    return found  # type: ignore[no-any-return]


async def test_an_event_is_published_and_pushed_and_the_log_tells_of_it(world: World, sink: Sink) -> None:
    made = await create(world, sink)
    assert made["status"]["validation"]["state"] == "granted"
    receipt = await publish(world, "orders/eu/7", "hello", Content_Type="text/plain")
    (request,) = await sink.got(1)
    headers = request.headers
    assert (request.body, headers["ce-fanwaycursor"]) == (b"hello", receipt["cursor"])
    assert headers["webhook-signature"] == signature_of(
        [key_of(made["secret"])], headers["webhook-id"], int(headers["webhook-timestamp"]), request.body
    )
    (line,) = await log_of(world, made["id"], 1)
    assert (line["cursor"], line["address"], line["attempt"]) == (receipt["cursor"], "orders/eu/7", 1)
    assert (line["status"], line["result"], line["nextAt"]) == (204, "delivered", None)
    status = (await world.client.get("/-/api/status", headers=world.auth())).json()
    assert status["counters"]["push_delivered"] == 1
    await call(world, "DELETE", f"/{made['id']}", status=204)
    await call(world, "GET", f"/{made['id']}", status=404)
    await publish(world, "orders/eu/8", "more")
    assert len(sink.received) == 1


async def test_only_the_answer_that_creates_it_holds_the_secret(
    world: World, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    """S70."""
    caplog.set_level(logging.DEBUG)
    credential = {"credentialtype": "ACCESSTOKEN", "accesstoken": "hush-token"}
    body = wish(sink.url, settings={"headers": {"X-Key": "hush-header"}}) | {"sinkcredential": credential}
    made = await call(world, "POST", "", body, status=201)
    await publish(world, "orders/1", "hello")
    await log_of(world, made["id"], 1)
    assert sink.received[0].headers["authorization"] == "Bearer hush-token"
    listed = await call(world, "GET")
    shown = json.dumps([listed, await call(world, "GET", f"/{made['id']}"), await log_of(world, made["id"], 1)])
    for text in (shown, caplog.text):
        assert made["secret"] not in text
        assert "hush" not in text
    folder = world.gateway.opened.folder
    assert {path.stat().st_mode & 0o077 for path in folder.path.iterdir() if path.is_file()} == {0}


BAD_SINKS = [
    "https://127.0.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://0x7f000001/",
    "https://2130706433/",
    "https://0177.0.0.1/",
    "https://localhost./",
    "https://localhost/",
    "https://inner.example/",
    "https://one-of-two.example/",
    "https://unknown.example/",
    "http://public.example/",
    "https://user:pass@public.example/",
    "https://public.example/#part",
    "ftp://public.example/",
    "public.example",
]


async def names(host: str, port: int) -> list[IpAddress]:
    known = {
        "localhost": "127.0.0.1 ::1",
        "inner.example": "10.1.2.3",
        "one-of-two.example": "1.1.1.1 192.168.0.1",
        "public.example": "1.1.1.1",
    }
    if host not in known:
        raise OSError(-2, "Name or service not known")
    return [ipaddress.ip_address(text) for text in known[host].split()]


@pytest.mark.parametrize("url", BAD_SINKS)
async def test_a_bad_sink_is_refused_when_it_is_registered(tmp_path: Path, url: str) -> None:
    """S60, S61: as on a public interface, with a sentence, and nothing of it stays. How the same are refused when they
    are connected to, tests/app/push/test_client.py shows."""
    strict = {"allow_http": False, "allowed_networks": []}
    async with running_gateway(tmp_path, relays=RELAYS, push=strict, resolve=names) as world:
        refused = await call(world, "POST", "", wish(url), status=400)
        assert "sink" in refused["error"]["message"].lower()
        assert (await call(world, "GET"))["subscriptions"] == []


async def test_a_name_that_rebinds_after_registration_is_refused_when_it_is_connected_to(tmp_path: Path) -> None:
    """S61."""
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[IpAddress]:
        asked.append(host)
        return [ipaddress.ip_address("1.1.1.1" if len(asked) == 1 else "127.0.0.1")]

    strict = {"allow_http": True, "allowed_networks": []}
    async with running_sink() as sink, running_gateway(tmp_path, push=strict, resolve=rebinding) as world:
        made = await call(world, "POST", "", wish(f"http://sink.example:{sink.port}/"), status=201)
        validation = made["status"]["validation"]
        assert (validation["state"], "this machine" in validation["reason"]) == ("refused", True)
        assert (len(asked), sink.connections) == (2, 0)


async def test_on_loopback_sinks_of_this_machine_are_allowed_and_no_others(world: World) -> None:
    for url in ("http://10.0.0.1/", "http://192.168.0.1/", "http://169.254.169.254/"):
        await call(world, "POST", "", wish(url), status=400)


# --- who may ---


async def test_listen_on_the_whole_pattern_is_needed_and_send_for_dead_letters(world: World, sink: Sink) -> None:
    listener = world.auth("ruled", rule="listener", key="listener-key")
    await call(world, "POST", "", wish(sink.url, "ruled/**"), auth=listener, status=201)
    await call(world, "POST", "", wish(sink.url, "ruled/**", deadLetter="ruled/dead"), auth=listener, status=403)
    sender = world.auth("ruled", rule="sender", key="sender-key")
    await call(world, "POST", "", wish(sink.url, "ruled/**"), auth=sender, status=403)
    narrow = world.auth("ruled/a", rule="listener", key="listener-key")
    assert (await world.client.post(PLACE, headers=narrow, json=wish(sink.url, "ruled/**"))).status_code in (401, 403)
    await call(world, "POST", "", wish(sink.url, "**"), status=400)
    assert (await world.client.post(PLACE, json=wish(sink.url))).status_code == 401


async def test_an_owner_sees_its_own_and_who_manages_sees_all(world: World, sink: Sink) -> None:
    listener = world.auth("ruled", rule="listener", key="listener-key")
    other = world.auth("ruled", rule="other", key="other-key")
    made = await create(world, sink, "ruled/**", auth=listener)
    root = await create(world, sink, "orders/**")

    async def seen(auth: dict[str, str] | None) -> set[str]:
        return {each["id"] for each in (await call(world, "GET", auth=auth))["subscriptions"]}

    assert await seen(listener) == {made["id"]}
    assert await seen(other) == set()
    assert await seen(None) == {made["id"], root["id"]}
    for method, path, body in (
        ("GET", "", None),
        ("PUT", "", wish(sink.url, "ruled/**")),
        ("DELETE", "", None),
        ("GET", "/deliveries", None),
        ("POST", "/validate", None),
        ("POST", "/pause", None),
        ("POST", "/replay", {"from": "start"}),
        ("POST", "/secret", {}),
    ):
        await call(world, method, f"/{made['id']}{path}", body, auth=other, status=404)
    await call(world, "GET", f"/{made['id']}", auth=listener)


async def test_a_token_that_reaches_a_part_of_it_neither_sees_nor_changes_it(world: World, sink: Sink) -> None:
    made = await create(world, sink, "ruled/**", auth=world.auth("ruled", rule="listener", key="listener-key"))
    narrow = world.auth("ruled/a", rule="listener", key="listener-key")
    assert await call(world, "GET", auth=narrow) == {"subscriptions": []}
    for method, path, body in (
        ("PUT", "", wish("http://127.0.0.1:1/", "ruled/**")),
        ("POST", "/secret", {}),
        ("POST", "/replay", {"from": "start"}),
        ("DELETE", "", None),
    ):
        await call(world, method, f"/{made['id']}{path}", body, auth=narrow, status=404)


async def test_a_rule_that_is_gone_delivers_nothing(world: World, sink: Sink) -> None:
    """S21: it is asked at each delivery."""
    made = await create(world, sink, "ruled/**", auth=world.auth("ruled", rule="listener", key="listener-key"))
    await publish(world, "ruled/a", "first")
    await sink.got(1)
    gone = await world.client.delete("/-/api/rules/listener?relay=ruled", headers=world.auth())
    assert gone.status_code == 204
    await publish(world, "ruled/a", "second")
    marker = await create(world, sink, "orders/**")
    await publish(world, "orders/a", "marker")
    await log_of(world, marker["id"], 1)
    assert [request.body for request in sink.received] == [b"first", b"marker"]
    assert made["id"] != marker["id"]


# --- what the sink does ---


async def test_a_sink_that_does_not_agree_gets_nothing_until_it_does(world: World, sink: Sink) -> None:
    """S62: and the state of its consent is shown."""
    sink.consent = answer(200)
    made = await create(world, sink)
    assert made["status"]["validation"]["state"] == "refused"
    await publish(world, "orders/1", "waits")
    refused = await call(world, "POST", f"/{made['id']}/validate")
    assert (refused["state"], "WebHook-Allowed-Origin" in refused["reason"]) == ("refused", True)
    assert sink.received == []
    sink.consent = CONSENT
    assert (await call(world, "POST", f"/{made['id']}/validate"))["state"] == "granted"
    assert (await sink.got(1))[0].body == b"waits"


async def test_what_fails_is_tried_again_and_ends_as_a_dead_letter(world: World, sink: Sink) -> None:
    sink.answers = [answer(500), hang_up, answer(500)]
    async with sse(world, "failed/**?as=cloudevent") as dead:
        await dead.block()
        made = await create(world, sink, maxDeliveries=3, deadLetter="failed/orders")
        await publish(world, "orders/1", "hello", Content_Type="text/plain")
        letter = json.loads((await dead.block()).data)
    assert letter["data"] == "hello"
    assert letter["fanwayaddress"] == "failed/orders"
    assert "orders/1" in json.dumps(letter)
    assert [request.headers["fanway-attempt"] for request in sink.received] == ["1", "2", "3"]
    lines = await log_of(world, made["id"], 3)
    assert [(line["attempt"], line["status"], line["result"]) for line in lines] == [
        (3, 500, "dead"),
        (2, None, "failed"),
        (1, 500, "failed"),
    ]
    status = (await call(world, "GET", f"/{made['id']}"))["status"]
    assert (status["delivered"], status["failed"], status["dead"]) == (0, 2, 1)


async def test_a_sink_that_is_gone_disables_the_subscription_until_it_is_resumed(world: World, sink: Sink) -> None:
    sink.answers = [answer(410), answer(204)]
    made = await create(world, sink)
    await publish(world, "orders/1", "kept")
    found = await until(world, made["id"], lambda status: not status["isEnabled"])
    assert "410" in found["status"]["stoppedBecause"]
    assert len(sink.received) == 1
    assert (await call(world, "POST", f"/{made['id']}/resume"))["status"]["isEnabled"]
    assert [request.body for request in await sink.got(2)] == [b"kept", b"kept"]


async def test_what_is_owed_while_paused_comes_after_it(world: World, sink: Sink) -> None:
    made = await create(world, sink)
    assert not (await call(world, "POST", f"/{made['id']}/pause"))["status"]["isEnabled"]
    for number in range(3):
        await publish(world, "orders/1", f"{number}")
    assert sink.received == []
    await call(world, "POST", f"/{made['id']}/resume")
    assert sorted(request.body for request in await sink.got(3)) == [b"0", b"1", b"2"]


async def test_strict_order_is_kept_through_failures(world: World, sink: Sink) -> None:
    sink.answers = [answer(204), answer(503), answer(503), answer(204)]
    await create(world, sink, order="strict")
    for number in range(5):
        await publish(world, "orders/1", f"{number}")
    assert [request.body for request in await sink.got(7)] == [b"0", b"1", b"1", b"1", b"2", b"3", b"4"]


async def test_filters_types_and_source_choose(world: World, sink: Sink) -> None:
    body = wish(sink.url) | {"types": ["made", "paid"], "source": "/shop", "filters": [{"prefix": {"subject": "eu/"}}]}
    await call(world, "POST", "", body, status=201)
    for name, type, source, subject in (
        ("a", "made", "/shop", "eu/1"),
        ("b", "lost", "/shop", "eu/1"),
        ("c", "made", "/other", "eu/1"),
        ("d", "made", "/shop", "us/1"),
        ("e", "paid", "/shop", "eu/2"),
    ):
        head = {"Ce_Type": type, "Ce_Source": source, "Ce_Subject": subject, "Ce_Id": name, "Ce_Specversion": "1.0"}
        await publish(world, "orders/1", name, **head)
    assert sorted(request.body for request in await sink.got(2)) == [b"a", b"e"]


async def test_a_replay_sends_again(world: World, sink: Sink) -> None:
    made = await create(world, sink, order="strict")
    first = await publish(world, "orders/1", "one")
    await publish(world, "orders/1", "two")
    await sink.got(2)
    await log_of(world, made["id"], 2)
    await call(world, "POST", f"/{made['id']}/replay", {"from": "start"}, status=204)
    assert [request.body for request in await sink.got(4)] == [b"one", b"two"] * 2
    await log_of(world, made["id"], 4)
    await call(world, "POST", f"/{made['id']}/replay", {"from": first["cursor"]}, status=204)
    assert (await sink.got(5))[4].body == b"two"
    await call(world, "POST", f"/{made['id']}/replay", {"from": "yesterday"}, status=400)


async def test_secrets_are_changed_without_a_gap(world: World, sink: Sink) -> None:
    made = await create(world, sink)
    old, new = made["secret"], (await call(world, "POST", f"/{made['id']}/secret", {}))["secret"]
    await publish(world, "orders/1", "both")
    await sink.got(1)
    await call(world, "DELETE", f"/{made['id']}/secret/previous", status=204)
    await publish(world, "orders/1", "new")
    for request, secrets in zip(await sink.got(2), ([new, old], [new]), strict=True):
        headers = request.headers
        assert headers["webhook-signature"] == signature_of(
            [key_of(each) for each in secrets], headers["webhook-id"], int(headers["webhook-timestamp"]), request.body
        )
    await call(world, "POST", f"/{made['id']}/secret", {"secret": "short"}, status=400)


async def test_a_subscription_is_changed_and_goes_on_where_it_stood(world: World, sink: Sink) -> None:
    made = await create(world, sink)
    await publish(world, "orders/1", "first")
    await sink.got(1)
    async with running_sink() as other:
        changed = await call(world, "PUT", f"/{made['id']}", wish(other.url, settings={"mode": "structured"}))
        assert changed["status"]["validation"]["state"] == "granted"
        await publish(world, "orders/1", "second", Content_Type="text/plain")
        (request,) = await other.got(1)
        assert json.loads(request.body)["data"] == "second"
        assert len(other.asked) == 1
    assert len(sink.received) == 1
    await call(world, "PUT", f"/{made['id']}", wish(sink.url, "ruled/**"), status=400)


async def test_what_is_pushed_is_changed_as_a_push_subscription_only(world: World, sink: Sink) -> None:
    made = await create(world, sink)
    path = f"/-/api/durables/{made['id']}?relay=orders"
    for _ in range(2):  # the second is its successor
        refused = await world.client.put(path, json={"pattern": "orders/**", "ackWait": 9}, headers=world.auth())
        assert refused.status_code == 409
        assert f"/-/api/subscriptions/{made['id']}" in refused.json()["error"]["message"]
        await call(world, "PUT", f"/{made['id']}", wish(sink.url, maxDeliveries=7))
    await publish(world, "orders/1", "still")
    await sink.got(1)


async def test_a_restart_keeps_subscriptions_and_consents_and_an_outage_of_the_sink_is_survived(
    tmp_path: Path, sink: Sink
) -> None:
    async with running_gateway(tmp_path, relays=RELAYS, push=QUICK) as world:
        made = await create(world, sink, maxDeliveries=1000)
        await publish(world, "orders/1", "0")
        await log_of(world, made["id"], 1)
    async with running_gateway(tmp_path, relays=RELAYS, push=QUICK) as world:
        sink.answers = [hang_up]
        for number in range(1, 5):
            await publish(world, "orders/1", f"{number}")
        await until(world, made["id"], lambda status: status["failed"] > 0)
        tried = len(sink.received)
        sink.answers = [answer(204)]
        await sink.until(lambda: {each.body for each in sink.received[tried:]} >= {b"1", b"2", b"3", b"4"})
        found = await until(world, made["id"], lambda status: status["delivered"] >= 4)
        assert found["status"]["validation"]["state"] == "granted"
        assert len(sink.asked) == 1  # it had agreed, and is not asked again


async def test_events_published_while_the_sink_is_down_arrive_after_a_restart_too(tmp_path: Path, sink: Sink) -> None:
    async with running_gateway(tmp_path, relays=RELAYS, push=QUICK) as world:
        made = await create(world, sink, maxDeliveries=1000)
        await publish(world, "orders/1", "0")
        await log_of(world, made["id"], 1)
        sink.answers = [hang_up]
        for number in range(1, 5):
            await publish(world, "orders/1", f"{number}")
        await until(world, made["id"], lambda status: status["failed"] > 0)
    tried = len(sink.received)
    sink.answers = [answer(204)]
    async with running_gateway(tmp_path, relays=RELAYS, push=QUICK) as world:
        await sink.until(lambda: {each.body for each in sink.received[tried:]} == {b"1", b"2", b"3", b"4"})
        await until(world, made["id"], lambda status: status["delivered"] == 4)


async def test_a_gateway_with_a_sink_that_hangs_stops_in_good_time(tmp_path: Path) -> None:
    async with running_sink(silence) as sink:
        async with running_gateway(tmp_path, relays=RELAYS, deadlines={"close_seconds": 0.1}) as world:
            await create(world, sink)
            await publish(world, "orders/1", "x")
            await sink.got(1)
        async with running_gateway(tmp_path, relays=RELAYS):
            await sink.got(2)  # it was given back, and is owed again


@pytest.mark.parametrize("is_paused", [False, True])
async def test_a_relay_takes_its_subscriptions_along(world: World, sink: Sink, is_paused: bool) -> None:
    made = await create(world, sink)
    if is_paused:
        await call(world, "POST", f"/{made['id']}/pause")
    gone: httpx.Response = await world.client.delete("/-/api/relays/orders", headers=world.auth())
    assert gone.status_code == 204
    assert (await call(world, "GET"))["subscriptions"] == []


async def test_there_are_no_more_than_the_operator_lets(tmp_path: Path, sink: Sink) -> None:
    async with running_gateway(tmp_path, relays=RELAYS, push={"subscriptions": 1}) as world:
        body, auth = wish(sink.url), world.auth()
        answers = await asyncio.gather(*(world.client.post(PLACE, headers=auth, json=body) for _ in range(5)))
        assert sorted(each.status_code for each in answers) == [201, 403, 403, 403, 403]
        refused = await world.client.post(PLACE, headers=auth, json=body)
        assert refused.json()["error"]["code"] == "QuotaExceeded"
