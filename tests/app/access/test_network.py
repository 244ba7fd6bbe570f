"""Network rules: the first that matches counts, in one form of address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.access.network import REMEMBERED, Network
from app.namespace import IpRule, NetworkRules


def rules(*masks: str, default: str = "Deny") -> Network:
    """Masks that are allowed, or with a `!` denied."""
    found = tuple(IpRule(mask.lstrip("!"), "Deny" if mask.startswith("!") else "Allow") for mask in masks)
    return Network(NetworkRules(default_action="Deny" if default == "Deny" else "Allow", ip_rules=found))


@pytest.mark.parametrize(
    ("network", "address", "is_admitted"),
    [
        (rules("10.0.0.0/24"), "10.0.0.255", True),
        (rules("10.0.0.0/24"), "10.0.1.0", False),
        (rules("10.0.0.7"), "10.0.0.7", True),
        (rules("!10.0.0.7", "10.0.0.0/24"), "10.0.0.7", False),
        (rules("10.0.0.0/24", "!10.0.0.7"), "10.0.0.7", True),
        (rules("!10.0.0.0/8", default="Allow"), "10.1.2.3", False),
        (rules("!10.0.0.0/8", default="Allow"), "11.1.2.3", True),
        (rules("10.0.0.0/24"), "::ffff:10.0.0.7", True),
        (rules("10.0.0.0/24"), "::ffff:0a00:0007", True),
        (rules("::ffff:10.0.0.0/120"), "10.0.0.7", True),
        (rules("!10.0.0.0/24", default="Allow"), "::ffff:10.0.0.7", False),
        (rules("10.0.0.0/24"), "::10.0.0.7", False),
        (rules("2001:db8::/32"), "2001:db8::1", True),
        (rules("fe80::/10"), "fe80::1%eth0", True),
        (rules("::/0"), "10.0.0.7", False),
        (rules("0.0.0.0/0"), "::1", False),
        (rules("0.0.0.0/0"), "010.0.0.7", False),
        (rules("0.0.0.0/0"), "10.0.0.7, 1.2.3.4", False),
        (rules("0.0.0.0/0"), "", False),
        (rules("not a network", default="Allow"), "10.0.0.7", False),
        (rules("not a network", default="Allow"), "127.0.0.1", True),
        (Network(NetworkRules(public_network_access="Disabled")), "10.0.0.7", False),
        (Network(NetworkRules(public_network_access="Disabled")), "127.0.0.1", True),
        (Network(NetworkRules(public_network_access="Disabled")), "::ffff:127.0.0.1", True),
        (Network(NetworkRules(public_network_access="Disabled")), "::1", True),
        (Network(NetworkRules(public_network_access="SecuredByPerimeter")), "10.0.0.7", True),
    ],
)
def test_an_address_is_admitted_or_not(network: Network, address: str, is_admitted: bool) -> None:
    """S23."""
    assert network.admits(address) is is_admitted
    assert network.admits(address) is is_admitted, "and again, when it is remembered"


def test_where_nothing_is_said_nothing_is_judged() -> None:
    assert Network(NetworkRules()).is_open
    assert Network(NetworkRules()).admits("nonsense")
    assert rules("10.0.0.0/8", default="Allow").is_open, "allowing some of all that may come changes nothing"
    assert not rules(default="Deny").is_open


def test_what_is_remembered_is_bounded() -> None:
    network = rules("10.0.0.0/8")
    for number in range(REMEMBERED + 10):
        network.admits(f"10.0.{number // 256}.{number % 256}")
    assert len(network._decided) <= REMEMBERED


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4))
def test_an_address_and_its_ipv6_form_fare_alike(base: object, bits: int, address: object) -> None:
    network = rules(f"{base}/{bits}")
    assert network.admits(str(address)) is network.admits(f"::ffff:{address}")
