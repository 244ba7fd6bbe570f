"""Namespaces by host name."""

from __future__ import annotations

import pytest

from app.errors import UnknownHost
from app.hosts import Hosts, host_name, is_loopback
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
    assert hosts.find("127.0.0.1") is two
    assert not hosts.accepts(one, "127.0.0.1")


def test_alias_counts_as_soon_as_it_is_added() -> None:
    namespace = Namespace("default")
    hosts = Hosts([namespace], is_loopback=False)
    namespace.aliases["new.example"] = ""
    assert hosts.find("new.example") is namespace


@pytest.mark.parametrize(("host", "name"), [("A:1", "a"), ("[::1]:1", "::1"), ("a.", "a"), (" a ", "a")])
def test_host_name_drops_port_and_case(host: str, name: str) -> None:
    assert host_name(host) == name


def test_loopback_is_recognised_by_address_not_by_spelling() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.1.2.3", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "127.evil.example", "10.0.0.1")))
