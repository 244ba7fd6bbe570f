"""Atom management: what Azure's SDKs and tools send, and what they are answered."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from worlds import KEY, KEY_NAME, World, running_gateway

from app.namespace import Profile
from app.wire.azure.atom import ATOM, MAX_BODY_BYTES
from app.wire.azure.description import CONNECT

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "vectors/atom.json").read_text())
TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ?")
TRACKING = re.compile(r"TrackingId:[0-9a-f-]{36}_G\d+")


def entry_of(inside: str, kind: str = "HybridConnectionDescription", namespace: str = CONNECT) -> str:
    instance = 'xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'
    content = f'<{kind} xmlns="{namespace}" {instance}>{inside}</{kind}>'
    return f'<entry xmlns="{ATOM}"><content type="application/xml">{content}</content></entry>'


def rules_of(*names: str, right: str = "Send", keys: str = "") -> str:
    rules = (
        f"<AuthorizationRule><Rights><AccessRights>{right}</AccessRights></Rights><KeyName>{name}</KeyName>{keys}"
        "</AuthorizationRule>"
        for name in names
    )
    return f"<AuthorizationRules>{''.join(rules)}</AuthorizationRules>"


async def manage(
    world: World, method: str, target: str, body: str | bytes = "", token: str | None = None, **headers: str
) -> httpx.Response:
    marks = {"X-PROCESS-AT": "ServiceBus", "Authorization": world.token() if token is None else token}
    kind = {"Content-Type": "application/atom+xml"} if body else {}
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    return await world.client.request(method, target, content=body, headers={**marks, **kind, **extra})


def detail(answer: httpx.Response) -> str:
    """The words of a refusal, which says its own status."""
    error = ElementTree.fromstring(answer.text)
    assert error.findtext("Code") == str(answer.status_code)
    text = error.findtext("Detail") or ""
    assert TRACKING.search(text)
    assert answer.headers["trackingid"] in text
    return text


@pytest.mark.parametrize("conversation", VECTORS, ids=lambda conversation: conversation["name"])
async def test_conversation_goes_as_written(world: World, conversation: dict[str, Any]) -> None:
    wire = await world.raw()

    def token(match: re.Match[str]) -> str:
        _, rule, key = [*match.group(1).split(":"), None, None][:3]
        return world.token(rule=rule if key else KEY_NAME, key=key or ("not-the-key" if rule else KEY))

    for exchange in conversation["exchanges"]:
        request, expected = exchange["request"], exchange["response"]
        headers = [re.sub(r"\{(token[^}]*)\}", token, line) for line in request["headers"]]
        body = request["body"].encode()
        lines = [request["line"], f"Host: {world.host}", *headers, f"Content-Length: {len(body)}", "", ""]
        await wire.send("\r\n".join(lines).encode() + body)
        status, head, answer = await wire.answer()
        text = TRACKING.sub("TrackingId:{id}", TIME.sub("{time}", answer.decode())).replace(world.host, "{host}")
        text = text.replace("<name>127.0.0.1</name>", "<name>{name}</name>").replace(">127.0.0.1<", ">{name}<")
        kind = re.search(r"\r\ncontent-type: ([^\r]*)", head, re.IGNORECASE)
        assert (status, kind and kind.group(1), text) == (
            expected["status"],
            expected["type"],
            expected["body"].replace("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        )


async def test_runtime_information_counts_listeners_and_is_not_relayed(world: World) -> None:
    """C11"""
    listener = await world.listen("hyco")
    answer = await manage(world, "GET", "/hyco?api-version=2016-07")
    assert "<ListenerCount>1</ListenerCount>" in answer.text
    assert listener.requests == []
    assert "via" not in answer.headers


def as_dotnet_reads(text: str) -> dict[str, str]:
    """What .NET's data-contract reader finds: it goes through its members in their order, once. What it does not know
    is passed over, what comes later than its place in the order is lost."""
    [description] = ElementTree.fromstring(text).iter(f"{{{CONNECT}}}HybridConnectionDescription")
    found, at = {}, 0
    members = ["CreatedAt", "UpdatedAt", "RequiresClientAuthorization", "UserMetadata", "ListenerCount"]
    for element in description:
        name = element.tag.removeprefix(f"{{{CONNECT}}}")
        if name in members[at:]:
            at = members.index(name) + 1
            found[name] = element.text or ""
    return found


@pytest.mark.parametrize("path", ["hyco", "ruled"])
async def test_dotnets_reader_finds_every_member_with_rules_and_without(world: World, path: str) -> None:
    await world.listen(path)
    answer = await manage(world, "GET", f"/{path}?api-version=2016-07")
    assert ("AuthorizationRules" in answer.text) is (path == "ruled")
    found = as_dotnet_reads(answer.text)
    assert len(found) == 5
    assert (found["ListenerCount"], found["RequiresClientAuthorization"]) == ("1", "true")


async def test_api_version_alone_makes_no_management_call(world: World) -> None:
    listener = await world.listen("hyco")
    for method in ("GET", "PUT", "DELETE"):
        headers = {"Content-Type": "application/atom+xml", **world.auth()}
        answer = await world.client.request(method, "/hyco?api-version=2016-07", headers=headers, content=entry_of(""))
        assert answer.status_code == 200
    assert [request["method"] for request in listener.requests] == ["GET", "PUT", "DELETE"]
    assert "hyco" in world.namespace.relays


@pytest.mark.parametrize(
    ("path", "rule", "status"),
    [("hyco/below", None, 404), ("ruled", "sender", 200), ("ruled", "listener", 200), ("hyco", "sender", 401)],
)
async def test_any_right_at_an_entity_suffices_to_read_it(
    world: World, path: str, rule: str | None, status: int
) -> None:
    token = world.token(path, rule=rule, key=f"{rule}-key") if rule else None
    answer = await manage(world, "GET", f"/{path}", token=token)
    assert answer.status_code == status
    assert "PrimaryKey" not in answer.text


async def test_keys_are_shown_to_who_manages_and_to_nobody_else(world: World) -> None:
    shown = await manage(world, "GET", "/ruled")
    assert "<PrimaryKey>listener-key</PrimaryKey>" in shown.text
    assert shown.headers["cache-control"] == "no-store"
    hidden = await manage(world, "GET", "/ruled", token=world.token("ruled", rule="sender", key="sender-key"))
    assert "AuthorizationRules" not in hidden.text


async def test_keys_that_came_with_a_relay_are_good_at_once(world: World) -> None:
    keys = "<PrimaryKey>first+key=</PrimaryKey><SecondaryKey>second</SecondaryKey>"
    answer = await manage(world, "PUT", "/made", entry_of(rules_of("both", right="Manage", keys=keys)))
    assert answer.status_code == 201
    listener = await world.listen("made", headers=world.auth("made", rule="both", key="first+key="))
    asked = await world.client.get("/made", headers=world.auth("made", rule="both", key="second"))
    assert (asked.status_code, len(listener.requests)) == (200, 1)


async def test_keys_that_did_not_come_are_made(world: World) -> None:
    answer = await manage(world, "PUT", "/made", entry_of(rules_of("sender")))
    entry = ElementTree.fromstring(answer.text)
    keys = [next(entry.iter(f"{{{CONNECT}}}{name}")).text for name in ("PrimaryKey", "SecondaryKey")]
    rule = world.namespace.relays["made"].rules["sender"]
    assert keys == [rule.primary_key, rule.secondary_key]
    assert all(key and len(key) == 44 for key in keys)


async def test_an_update_without_rules_keeps_them_and_one_with_rules_replaces_them(world: World) -> None:
    kept = await manage(world, "PUT", "/ruled", entry_of("<UserMetadata>m</UserMetadata>"), If_Match="*")
    assert (kept.status_code, sorted(world.namespace.relays["ruled"].rules)) == (200, ["listener", "sender"])
    listener = await world.listen("ruled", headers=world.auth("ruled", rule="listener", key="listener-key"))
    await manage(world, "PUT", "/ruled", entry_of(rules_of("sender")), If_Match="*")
    assert [rule.primary_key for rule in world.namespace.relays["ruled"].rules.values()] == ["sender-key"]
    assert (await listener.closed())[0] == 1008


async def test_an_update_leaves_what_is_not_azures(tmp_path: Path) -> None:
    relays = [{"name": "kept", "history": {"events": 7}, "isPublic": True, "userMetadata": "old"}]
    async with running_gateway(tmp_path, relays=relays) as world:
        listener = await world.listen("kept")
        body = entry_of("<RequiresClientAuthorization>false</RequiresClientAuthorization>")
        assert (await manage(world, "PUT", "/KEPT/", body, If_Match="*")).status_code == 200
        relay = world.namespace.relays["kept"]
        assert (relay.profile, relay.history.events, relay.is_public) == (Profile.NATIVE, 7, True)
        assert (relay.requires_client_authorization, relay.user_metadata) == (False, "")
        assert (await world.client.get("/kept")).status_code == 200
        assert len(listener.requests) == 1


async def test_an_update_needs_something_to_update(world: World) -> None:
    answer = await manage(world, "PUT", "/nowhere", entry_of(""), If_Match="*")
    assert (answer.status_code, "Endpoint does not exist." in detail(answer)) == (404, True)
    assert "nowhere" not in world.namespace.relays


async def test_a_dynamic_relay_is_shown_and_can_be_provisioned(world: World) -> None:
    await world.listen("fleeting")
    assert (await manage(world, "GET", "/fleeting")).status_code == 200
    made = await manage(world, "PUT", "/fleeting", entry_of(""))
    assert (made.status_code, world.namespace.relays["fleeting"].is_dynamic) == (201, False)


async def test_of_many_that_create_the_same_at_once_one_succeeds(world: World) -> None:
    answers = await asyncio.gather(*(manage(world, "PUT", "/race", entry_of("")) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 7]


@pytest.mark.parametrize("kind", ["NetTcp", "Http", "1", "2"])
async def test_a_wcf_relay_is_provisioned_by_its_type(world: World, kind: str) -> None:
    answer = await manage(world, "PUT", "/wcf", entry_of(f"<RelayType>{kind}</RelayType>", "RelayDescription"))
    assert answer.status_code == 201
    expected = Profile.NET_TCP if kind in ("NetTcp", "1") else Profile.HTTP
    assert world.namespace.relays["wcf"].profile is expected


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("", 400, "not well-formed XML"),
        ("<entry>", 400, "not well-formed XML"),
        (entry_of("", "QueueDescription"), 400, "HybridConnectionDescription or RelayDescription"),
        (entry_of("", namespace="urn:x"), 400, "namespace"),
        (entry_of("<RequiresClientAuthorization>2</RequiresClientAuthorization>"), 400, "true or false"),
        (entry_of("<RelayType>NetEvent</RelayType>", "RelayDescription"), 400, "with their first listener"),
        (entry_of("<RelayType>None</RelayType>", "RelayDescription"), 400, "only NetTcp and Http"),
        (entry_of(f"<UserMetadata>{'m' * 1025}</UserMetadata>"), 400, "1024"),
        (entry_of(rules_of("a b")), 400, "rule's name"),
        (entry_of(rules_of("one", "ONE")), 400, "named twice"),
        (entry_of(rules_of("one", keys=f"<PrimaryKey>{'k' * 257}</PrimaryKey>")), 400, "1 to 256"),
        (entry_of(rules_of("one", keys="<PrimaryKey/>")), 400, "1 to 256"),
        (entry_of(rules_of(*(f"rule{number}" for number in range(13)))), 403, "at most 12"),
        ("<!DOCTYPE x [<!ENTITY a 'aaaa'>]>" + entry_of("<UserMetadata>&a;</UserMetadata>"), 400, "document type"),
        ("x" * (MAX_BODY_BYTES + 1), 413, "at most 262144 bytes"),
    ],
)
async def test_what_is_malformed_is_told_and_leaves_nothing(world: World, body: str, status: int, words: str) -> None:
    answer = await manage(world, "PUT", "/made", body)
    assert (answer.status_code, words in detail(answer)) == (status, True)
    assert "made" not in world.namespace.relays
    again = await manage(world, "PUT", "/made", entry_of(""))
    assert again.status_code == 201


async def test_a_damaged_entry_is_refused_in_words_or_makes_the_whole(world: World) -> None:
    chance = random.Random(7)
    whole = entry_of(
        "<UserMetadata>note</UserMetadata>" + rules_of("one", "two"), "HybridConnectionDescription"
    ).encode()
    for number in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        answer = await manage(world, "PUT", f"/made{number}", bytes(damaged))
        relay = world.namespace.relays.get(f"made{number}")
        if answer.status_code == 201:
            assert relay is not None
            assert answer.text.count("<AuthorizationRule ") == len(relay.rules)
        else:
            assert (answer.status_code, relay, bool(detail(answer))) == (400, None, True)


@pytest.mark.parametrize(
    ("method", "target", "status", "words"),
    [
        ("PUT", "/a%20b", 400, "segments of letters"),
        ("PUT", "/-", 400, "'-'"),
        ("PUT", "/", 405, "GET only"),
        ("PUT", "/$Resources/Relays", 405, "GET only"),
        ("POST", "/hyco", 405, "GET, PUT and DELETE"),
        ("GET", "/hyco?api-version=2020-01", 400, "2016-07 and 2017-04"),
        ("GET", "/$Resources/Queues", 404, "/$Resources/HybridConnections"),
        ("GET", "/$Resources/Relays?$top=-1", 400, "$top should be a number"),
        ("GET", "/$Resources/Relays?$skip=x", 400, "$skip should be a number"),
        ("GET", "/$Resources/Relays?$inlinecount=some", 400, "allpages"),
    ],
)
async def test_what_cannot_be_done_is_told(world: World, method: str, target: str, status: int, words: str) -> None:
    answer = await manage(world, method, target, entry_of("") if method == "PUT" else "")
    assert (answer.status_code, words in detail(answer)) == (status, True)


async def test_a_body_may_come_in_chunks_and_wait_to_be_asked_for(world: World) -> None:
    wire = await world.raw()
    head = f"PUT /made HTTP/1.1\r\nHost: {world.host}\r\nX-PROCESS-AT: ServiceBus\r\nAuthorization: {world.token()}\r\n"
    await wire.send(head + "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert (await wire.head()).startswith("HTTP/1.1 100")
    body = entry_of("<UserMetadata>in pieces</UserMetadata>").encode()
    for piece in (body[:100], body[100:]):
        await wire.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    await wire.send(b"0\r\n\r\n")
    assert (await wire.answer())[0] == 201
    assert world.namespace.relays["made"].user_metadata == "in pieces"


async def test_who_leaves_in_the_middle_of_a_body_makes_nothing_and_is_no_fault(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    wire = await world.raw()
    head = f"PUT /made HTTP/1.1\r\nHost: {world.host}\r\nX-PROCESS-AT: ServiceBus\r\nAuthorization: {world.token()}\r\n"
    await wire.send(head + "Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n")
    assert (await wire.head()).startswith("HTTP/1.1 100")
    await wire.send(b"<entry>")
    wire.abort()
    assert (await manage(world, "GET", "/made")).status_code == 404
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_relay_that_listeners_made_is_shown_for_what_it_is(world: World) -> None:
    await world.listen("news/today", headers={**world.auth(), "Fanway-Relay-Profile": "netEvent"})
    shown = await manage(world, "GET", "/news/today?api-version=2016-07")
    [description] = ElementTree.fromstring(shown.text).iter(f"{{{CONNECT}}}RelayDescription")
    told = {element.tag.removeprefix(f"{{{CONNECT}}}"): element.text for element in description}
    assert (told["RelayType"], told["IsDynamic"], told["ListenerCount"]) == ("NetEvent", "true", "1")
    assert "<RelayType>NetEvent</RelayType>" in (await manage(world, "GET", "/$Resources/Relays")).text


async def test_changes_are_audited_with_who_made_them(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fanway.audit")
    await manage(world, "PUT", "/made", entry_of(rules_of("own", right="Manage", keys="<PrimaryKey>k</PrimaryKey>")))
    await manage(world, "GET", "/made")
    await manage(world, "PUT", "/made", entry_of(""))
    await manage(world, "DELETE", "/made", token=world.token("made", rule="own", key="k"))
    lines = [record.getMessage() for record in caplog.records if record.name == "fanway.audit"]
    assert [line.partition(" at ")[0].partition(": ")[2] for line in lines] == ["PUT /made: 201", "DELETE /made: 200"]
    assert [KEY_NAME.lower() in line.lower() for line in lines] == [True, False]
    assert "own" in lines[1].partition(": ")[0]


async def test_only_the_star_is_matched(world: World) -> None:
    assert "should be '*'" in detail(await manage(world, "PUT", "/hyco", entry_of(""), If_Match='"1"'))


@pytest.mark.parametrize(("method", "target"), [("PUT", "/new"), ("DELETE", "/ruled"), ("GET", "/$Resources/Relays")])
async def test_managing_takes_manage(world: World, method: str, target: str) -> None:
    token = world.token("ruled", rule="sender", key="sender-key")
    answer = await manage(world, method, target, entry_of(""), token)
    assert answer.status_code in (401, 403)
    assert {"hyco", "open", "shop", "orders", "ruled"} == set(world.namespace.relays)


async def test_a_deleted_relay_closes_what_lives_on_it(world: World) -> None:
    listener = await world.listen("hyco")
    answer = await manage(world, "DELETE", "/hyco?api-version=2016-07")
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await listener.closed())[0] == 1001


async def test_lists_come_in_pages(tmp_path: Path) -> None:
    relays = [{"name": f"relay{number}", "profile": "hybridConnection"} for number in range(5)]
    async with running_gateway(tmp_path, relays=[*relays, {"name": "wcf", "profile": "http"}]) as world:
        target: str | None = "/$Resources/HybridConnections?$top=2&$inlinecount=allpages&api-version=2017-04"
        pages = []
        while target is not None:
            answer = await manage(world, "GET", target)
            assert answer.headers["content-type"] == "application/atom+xml;type=feed;charset=utf-8"
            feed = ElementTree.fromstring(answer.text)
            pages.append([entry.findtext(f"{{{ATOM}}}title") for entry in feed.iter(f"{{{ATOM}}}entry")])
            links = {link.get("rel"): link.get("href") for link in feed.findall(f"{{{ATOM}}}link")}
            following = links.get("next")
            target = following
        assert pages == [["relay0", "relay1"], ["relay2", "relay3"], ["relay4"]]
        [entry] = ElementTree.fromstring((await manage(world, "GET", "/%24resources/relays")).text).iter(
            f"{{{ATOM}}}entry"
        )
        assert entry.findtext(f"{{{ATOM}}}title") == "wcf"
        link = entry.find(f"{{{ATOM}}}link")
        assert link is not None
        assert link.get("href") == f"{world.url}/wcf?api-version=2017-04"


async def test_the_root_with_the_header_lists_everything(world: World) -> None:
    feed = ElementTree.fromstring((await manage(world, "GET", "/?$inlinecount=allpages&api-version=2016-07")).text)
    assert feed.findtext(f"{{{CONNECT}}}count") == "5"


async def test_a_token_of_one_relay_lists_that_relay(world: World) -> None:
    await manage(world, "PUT", "/own", entry_of(rules_of("own", right="Manage", keys="<PrimaryKey>k</PrimaryKey>")))
    answer = await manage(world, "GET", "/$Resources/HybridConnections", token=world.token("own", rule="own", key="k"))
    assert [
        entry.findtext(f"{{{ATOM}}}title") for entry in ElementTree.fromstring(answer.text).iter(f"{{{ATOM}}}entry")
    ] == ["own"]


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("PUT", {"Content-Type": "application/atom+xml"}, 201),
        ("PUT", {"Content-Type": "application/xml"}, 201),
        ("GET", {}, 404),
        ("DELETE", {}, 404),
    ],
)
async def test_older_tools_manage_without_the_header_where_nothing_is(
    world: World, method: str, headers: dict[str, str], status: int
) -> None:
    answer = await world.client.request(
        method,
        "/older?api-version=2016-07",
        content=entry_of("") if method == "PUT" else "",
        headers={"Authorization": world.token(), **headers},
    )
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("method", "target", "token"),
    [
        ("POST", "/older?api-version=2016-07", {}),
        ("GET", "/older?version=2016-07", {}),
        ("GET", "/older?api-version=2016-07", {"rule": "sender", "key": "sender-key"}),
        ("GET", "/older?api-version=2016-07", None),
    ],
)
async def test_what_does_not_look_like_an_older_tool_is_a_request_for_nobody(
    world: World, method: str, target: str, token: dict[str, str] | None
) -> None:
    headers = {} if token is None else {"Authorization": world.token("ruled", **token)}
    answer = await world.client.request(method, target, headers=headers)
    assert answer.status_code in (401, 404)


async def test_lists_need_no_header(world: World) -> None:
    answer = await world.client.get("/$Resources/HybridConnections", headers={"Authorization": world.token()})
    assert (answer.status_code, answer.text.count("<entry>")) == (200, 5)


async def test_a_fault_of_ours_shows_no_trace(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> tuple[int, int]:
        raise RuntimeError("secret words")

    monkeypatch.setattr(world.gateway, "counts", fail)
    answer = await manage(world, "GET", "/hyco")
    assert (answer.status_code, "secret words" in answer.text) == (500, False)
    assert "tracking id" in detail(answer)
