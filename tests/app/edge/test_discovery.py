"""The discovery feed: public endpoints that are online, for anybody; nothing else, ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus
from worlds import World, running_gateway

from app.edge.discovery import list_children, public_below
from app.edge.realm import Realm
from app.namespace import Namespace, Relay
from fanout.tick import Tick

ATOM = "{http://www.w3.org/2005/Atom}"
PUBLIC = {"isPublic": True}
RELAYS: list[dict[str, Any]] = [
    {"name": "shop", "displayName": "Shop & more", **PUBLIC},
    {"name": "Plants/Oslo/door", "profile": "http", **PUBLIC},
    {"name": "plants/oslo/pump", "profile": "netTcp", **PUBLIC},
    {"name": "plants/rome", "profile": "hybridConnection", **PUBLIC},
    {"name": "plants/hidden"},
    {"name": "secret/one"},
    {"name": "nest", **PUBLIC},
    {"name": "nest/inner/egg", **PUBLIC},
]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, relays=RELAYS) as running:
        yield running


async def read(world: World, path: str) -> dict[str, str]:
    """The feed's entries: title to link, the gateway's own address left out."""
    answer = await world.client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/atom+xml;type=feed;charset=utf-8"
    entries = ElementTree.fromstring(answer.text).findall(f"{ATOM}entry")
    links = [entry.find(f"{ATOM}link[@rel='alternate']") for entry in entries]
    hrefs = [(link.get("href") or "").replace(world.host, "HOST") for link in links if link is not None]
    return dict(zip([entry.findtext(f"{ATOM}title") or "" for entry in entries], hrefs, strict=True))


async def test_only_who_listens_is_listed(world: World) -> None:
    assert await read(world, "/") == {}
    listener = await world.listen("shop")
    assert await read(world, "/") == {"Shop & more": "http://HOST/shop"}
    await listener.socket.close()
    assert await read(world, "/") == {}


async def test_folders_are_entries_that_lead_to_their_own_feed(world: World) -> None:
    for path in ("plants/oslo/door", "plants/oslo/pump", "plants/rome"):
        await world.listen(path)
    assert await read(world, "/") == {"Plants": "http://HOST/Plants/"}
    assert await read(world, "/plants/") == {"Oslo": "http://HOST/Plants/Oslo/", "rome": "http://HOST/plants/rome"}
    assert await read(world, "/PLANTS/oslo/") == {
        "door": "http://HOST/Plants/Oslo/door",
        "pump": "sb://HOST/plants/oslo/pump",
    }


async def test_what_is_private_does_not_show(world: World) -> None:
    for path in ("plants/hidden", "secret/one"):
        await world.listen(path)
    assert await read(world, "/") == {}
    unknown = await world.client.get("/nowhere/")
    for path in ("/plants/", "/secret/"):
        answer = await world.client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (
            unknown.status_code,
            unknown.headers["content-type"],
        )


async def test_a_relays_own_path_is_relayed_and_what_is_below_it_listed_beside_it(world: World) -> None:
    nest = await world.listen("nest")
    await world.listen("nest/inner/egg")
    assert await read(world, "/") == {"nest": "http://HOST/nest", "egg": "http://HOST/nest/inner/egg"}
    for path in ("/nest/", "/nest/inner/"):
        assert (await world.client.get(path, headers=world.auth())).status_code == 200
        assert (await world.client.get(path)).status_code == 401
    assert [request["requestTarget"] for request in nest.requests] == ["/nest/", "/nest/inner/"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_the_root_takes_only_reads(world: World, method: str) -> None:
    assert (await world.client.request(method, "/")).status_code == 400


async def test_head_has_the_feeds_head(world: World) -> None:
    answer = await world.client.head("/")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 100


@given(
    st.dictionaries(
        st.lists(st.sampled_from(["a", "b", "cc"]), min_size=1, max_size=4).map("/".join),
        st.tuples(st.booleans(), st.booleans()),
        max_size=8,
    )
)
def test_who_follows_the_folders_finds_what_is_public_and_online_and_nothing_else(
    relays: dict[str, tuple[bool, bool]],
) -> None:
    namespace = Namespace("ns")
    realm = Realm(namespace, Tick(lambda callback: None), lambda: 0.0, None, None, None, is_open=False)  # type: ignore[arg-type]
    for name, (is_public, is_online) in relays.items():
        namespace.relays[name] = Relay(name, is_public=is_public)
        if is_online:
            realm.roster.add(name, name, object())  # type: ignore[arg-type]
    found, folders = [], [""]
    while folders:
        folder = folders.pop()
        public = public_below(realm, folder)
        assert public or not folder, "a folder that is listed is never empty"
        for child in list_children(realm, folder, public, "http://ns"):
            path = child.url.removeprefix("http://ns/")
            if path.endswith("/"):
                assert namespace.find(path.rstrip("/")) is None, "its path is relayed"
                folders.append(path.rstrip("/"))
            else:
                found.append(path)
    assert sorted(found) == sorted(name for name, flags in relays.items() if all(flags))


async def test_nobodys_host_has_no_feed(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, dynamic_relays=False) as world:
        await world.gateway.registry.ensure_namespace("other", next(iter(world.namespace.rules.values())))
        answer = await world.client.get("/", headers={"Host": "nobody.example"})
        assert answer.status_code == 404


async def test_the_advertised_url_is_what_is_listed(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, relays=RELAYS, advertise="https://relay.example") as world:
        await world.listen("shop")
        assert await read(world, "/") == {"Shop & more": "https://relay.example/shop"}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
async def test_a_listener_may_have_its_dynamic_relay_listed(world: World, encoding: str) -> None:
    quiet = {**world.auth(), "Fanway-Display-Name": "Quiet"}
    await world.listen("quiet", headers=quiet)
    name = "Größe".encode(encoding).decode("latin-1")
    await world.listen("mine", headers={**world.auth(), "Fanway-Discovery": "Public", "Fanway-Display-Name": name})
    assert await read(world, "/") == {"Größe": "http://HOST/mine"}
    await world.listen("mine")
    assert await read(world, "/") == {"Größe": "http://HOST/mine"}
    await world.listen("mine", headers={**world.auth(), "Fanway-Discovery": "private"})
    assert await read(world, "/") == {}


async def test_the_first_listener_that_says_nothing_is_private(world: World) -> None:
    listener = await world.listen("mine", headers={**world.auth(), "Fanway-Discovery": "public"})
    await listener.socket.close()
    await world.listen("mine")
    assert await read(world, "/") == {}


async def test_of_a_provisioned_relay_the_settings_count(world: World) -> None:
    await world.listen("plants/hidden", headers={**world.auth(), "Fanway-Discovery": "public"})
    assert await read(world, "/") == {}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("Fanway-Discovery", "maybe", "is one of private, public"),
        ("Fanway-Display-Name", "x" * 257, "at most 256"),
    ],
)
async def test_a_wish_that_is_not_understood_is_told_and_opens_nothing(
    world: World, name: str, value: str, words: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await world.listen("mine", headers={**world.auth(), name: value})
    assert (refused.value.response.status_code, words in refused.value.response.reason_phrase) == (400, True)
    assert "mine" not in world.namespace.relays
