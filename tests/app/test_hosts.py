"""Namespaces by host name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.errors import MisdirectedRequest, UnknownHost
from app.hosts import FOUND_HEADERS, Hosts, below, host_name, is_loopback
from app.namespace import Namespace


def test_single_namespace_on_loopback_answers_to_any_host() -> None:
    namespace = Namespace("default")
    hosts = Hosts([namespace], is_loopback=True)
    for host in ("anything.example:8480", "127.0.0.1", "[::1]:8443", "", None):
        assert hosts.find(host) is namespace


def test_public_bind_answers_to_names_and_aliases_only() -> None:
    namespace = Namespace("default", {"relay.example": ""})
    hosts = Hosts([namespace], is_loopback=False, advertised="Fanway.example")
    for host in (
        "RELAY.example:443",
        "relay.example.",
        "default",
        "default.localhost:8480",
        "fanway.example",
        "localhost",
    ):
        assert hosts.find(host) is namespace
    for host in ("evil.example", "relay.example.evil", "", None):
        with pytest.raises(UnknownHost) as refused:
            hosts.find(host)
        assert refused.value.status == 404


def test_several_namespaces_are_never_a_fallback_for_each_other() -> None:
    one, two = Namespace("one", {"one.example": ""}), Namespace("two")
    hosts = Hosts([one, two], is_loopback=True)
    assert hosts.find("one.example") is one
    assert hosts.find("two.localhost:8480") is two
    with pytest.raises(UnknownHost):
        hosts.find("localhost")


def test_names_of_this_machine_stay_with_the_primary_namespace_when_others_come() -> None:
    one, two = Namespace("one"), Namespace("two")
    hosts = Hosts([two, one], is_loopback=True, advertised="relay.example", primary="one")
    for host in ("localhost:8480", "127.0.0.1", "[::1]", "relay.example", "one.localhost"):
        assert hosts.find(host) is one
    assert hosts.find("two") is two
    with pytest.raises(UnknownHost):
        hosts.find("anything.example")
    two.aliases["127.0.0.1"] = ""
    hosts.changed()
    assert hosts.find("127.0.0.1") is two
    assert not hosts.accepts(one, "127.0.0.1")


def test_what_was_looked_up_is_forgotten_when_something_changed() -> None:
    namespace = Namespace("default", {"old.example": ""})
    hosts = Hosts([namespace], is_loopback=False)
    assert hosts.find("old.example") is namespace
    namespace.aliases = {"new.example": ""}
    hosts.changed()
    assert hosts.find("new.example") is namespace
    with pytest.raises(UnknownHost):
        hosts.find("old.example")


def test_an_alias_leads_to_an_address_in_its_namespace() -> None:
    one, two = Namespace("one"), Namespace("two", {"demo.example": "shop/eu"})
    hosts = Hosts([one, two], is_loopback=False, primary="one")
    assert hosts.place("DEMO.example:443") == (two, "shop/eu")
    assert hosts.place("two") == (two, "")
    assert hosts.mount(two, "demo.example") == "shop/eu"
    assert hosts.mount(two, "two.localhost") == ""
    assert hosts.mount(one, "demo.example") is None
    assert hosts.mount(one, "nobody.example") is None


def test_names_of_the_gateway_are_reserved_for_the_primary_namespace() -> None:
    one, two = Namespace("one"), Namespace("two")
    hosts = Hosts([one, two], is_loopback=False, advertised="relay.example", primary="one")
    for name in ("relay.example", "localhost", "127.0.0.1"):
        assert hosts.is_reserved(two, name)
        assert not hosts.is_reserved(one, name)
        assert hosts.is_reserved(None, name)
    assert not hosts.is_reserved(two, "two.example")
    assert not hosts.is_reserved(None, "two.example")


def test_a_connection_made_to_one_namespace_asks_nothing_of_another() -> None:
    one, two = Namespace("one", {"one.example": "", "also-one.example": "demo"}), Namespace("two")
    hosts = Hosts([one, two], is_loopback=False, primary="one")
    for server_name, host in (("one.example", "also-one.example:443"), ("unknown.example", "two"), ("TWO", "two")):
        hosts.check_direction(server_name, host)
    for server_name, host in (("one.example", "two"), ("two.localhost", "one.example")):
        with pytest.raises(MisdirectedRequest) as refused:
            hosts.check_direction(server_name, host)
        assert refused.value.status == 421


class Counted(list[Namespace]):
    """Namespaces that count how often all of them were looked at."""

    walks = 0

    def __iter__(self) -> Iterator[Namespace]:
        self.walks += 1
        return super().__iter__()


def test_a_look_up_does_not_walk_the_namespaces() -> None:
    namespaces = Counted(Namespace(f"n{number}", {f"n{number}.example": "demo"}) for number in range(2000))
    hosts = Hosts(namespaces, is_loopback=False, primary="n0")
    hosts.find("n0")
    walks = namespaces.walks
    for number in range(2000):
        assert hosts.place(f"n{number}.example:443").namespace is namespaces[number]
        assert hosts.mount(namespaces[number], f"n{number}.localhost") == ""
        with pytest.raises(UnknownHost):
            hosts.find(f"{number}.nobody.example")
    assert namespaces.walks == walks


def test_many_host_headers_that_mean_one_namespace_take_no_room_for_ever() -> None:
    hosts = Hosts([Namespace("default")], is_loopback=True)
    for number in range(3 * FOUND_HEADERS):
        hosts.place(f"{number}.example")
    assert len(hosts._found) <= FOUND_HEADERS


@pytest.mark.parametrize(
    ("mount", "path", "meant"),
    [
        ("", "", ""),
        ("", "demo/x", "demo/x"),
        ("demo", "", "demo"),  # the whole host is what lies under the address, no more
        ("demo", "x", "demo/x"),
        ("demo", "demo", "demo"),  # as the SDKs write it
        ("demo", "Demo/x", "Demo/x"),
        ("demo", "demolition", "demo/demolition"),
        ("shop/eu", "shop", "shop/eu/shop"),
    ],
)
def test_the_audience_of_a_mapped_host_lies_under_its_address(mount: str, path: str, meant: str) -> None:
    assert below(mount, path) == meant


@pytest.mark.parametrize(("host", "name"), [("A:1", "a"), ("[::1]:1", "::1"), ("a.", "a"), (" a ", "a")])
def test_host_name_drops_port_and_case(host: str, name: str) -> None:
    assert host_name(host) == name


def test_loopback_is_recognised_by_address_not_by_spelling() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.1.2.3", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "127.evil.example", "10.0.0.1")))
