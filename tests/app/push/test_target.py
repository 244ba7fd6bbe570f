"""Sinks that may be named, and addresses that may be connected to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequest
from app.push.target import Reach, SinkRefused, Target, literal, parse_networks, parse_target

PUBLIC = Reach()
LOCAL = Reach(parse_networks(["127.0.0.0/8", "::1"]), allows_http=True)


@pytest.mark.parametrize(
    ("url", "parts", "shown"),
    [
        ("https://example.com/hook?a=b", ("https", "example.com", 443, "/hook?a=b"), "https://example.com/hook?a=b"),
        ("HTTPS://Example.COM.", ("https", "example.com", 443, "/"), "https://example.com/"),
        ("https://example.com?x", ("https", "example.com", 443, "/?x"), "https://example.com/?x"),
        ("http://localhost:3000/a/../b", ("http", "localhost", 3000, "/a/../b"), "http://localhost:3000/a/../b"),
        ("https://[2606:4700::1]:8443/", ("https", "2606:4700::1", 8443, "/"), "https://[2606:4700::1]:8443/"),
        ("https://192.0.2.7:443/x", ("https", "192.0.2.7", 443, "/x"), "https://192.0.2.7/x"),
        ("https://xn--bcher-kva.example/%C3%BC", ("https", "xn--bcher-kva.example", 443, "/%C3%BC"), ""),
    ],
)
def test_a_sink_is_taken_apart_once(url: str, parts: tuple[str, str, int, str], shown: str) -> None:
    target = parse_target(url, LOCAL)
    assert target == Target(*parts)  # type: ignore[arg-type]
    assert str(target) == (shown or url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://example.com/", "push.allow_http"),
        ("ftp://example.com/", "https://"),
        ("example.com/hook", "https://"),
        ("//example.com", "https://"),
        ("https:///path", "names a host"),
        ("https://", "names a host"),
        ("https://user:secret@example.com/", "sinkcredential"),
        ("https://example.com@127.0.0.1/", "sinkcredential"),
        ("https://example.com/#part", "fragment"),
        ("https://example.com#@evil.example/", "fragment"),
        ("https://example.com:0/", "port"),
        ("https://example.com:65536/", "port"),
        ("https://example.com:80a/", "names a host"),
        ("https://example.com:/", "names a host"),
        ("https://exa mple.com/", "blanks"),
        ("https://example.com\\@evil.example/", "backslashes"),
        ("https://bücher.example/", "xn--"),
        ("https://example.com/\r\nX: y", "blanks"),
        ("https://-a.example/", "host name"),
        ("https://a..b/", "host name"),
        ("https://" + "a" * 64 + ".example/", "host name"),
        ("https://" + "a." * 130 + "example/", "host name"),
        ("https://example.com/" + "a" * 2048, "at most"),
        ("https://0x7f000001/", "four decimal numbers"),
        ("https://2130706433/", "four decimal numbers"),
        ("https://0177.0.0.1/", "four decimal numbers"),
        ("https://127.1/", "four decimal numbers"),
        ("https://127.0.0.0x1/", "four decimal numbers"),
        ("https://example.0x7f/", "four decimal numbers"),
        ("https://1.2.3.4.5/", "four decimal numbers"),
        ("https://[::1%25lo]/", "IPv6"),
        ("https://[fe80::1%lo]/", "IPv6"),
        ("https://[::g]/", "IPv6"),
        ("https://[127.0.0.1]/", "IPv6"),
        ("https://[::1/", "names a host"),
    ],
)
def test_a_sink_that_is_none_is_refused_with_a_sentence(url: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says) as refused:
        parse_target(url, PUBLIC)
    assert "secret" not in refused.value.message


BAD = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::10.0.0.1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a00:1::",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "4000::1",
]


@pytest.mark.parametrize("text", BAD)
def test_an_address_that_is_not_public_is_refused(text: str) -> None:
    """S60: whichever way it is spelled or wrapped."""
    with pytest.raises(SinkRefused, match=r"push\.allowed_networks"):
        PUBLIC.check("host.example", [ipaddress.ip_address(text)])


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1", "64:ff9b::8.8.8.8"]
)
def test_a_public_address_is_good(text: str) -> None:
    PUBLIC.check("host.example", [ipaddress.ip_address(text)])


def test_one_bad_address_among_good_ones_is_enough_and_none_at_all_too() -> None:
    """S61: the connection could go to any of them."""
    with pytest.raises(SinkRefused, match=r"host\.example.*private"):
        PUBLIC.check("host.example", [ipaddress.ip_address("1.1.1.1"), ipaddress.ip_address("10.0.0.1")])
    with pytest.raises(SinkRefused, match="no address"):
        PUBLIC.check("host.example", [])


def test_a_network_that_is_allowed_is_allowed_in_each_spelling_and_no_other_is() -> None:
    reach = Reach(parse_networks(["10.0.0.0/8", "fd00::/8"]))
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::7"):
        reach.check("host.example", [ipaddress.ip_address(text)])
    for text in ("127.0.0.1", "192.168.0.1", "fc00::7"):
        with pytest.raises(SinkRefused):
            reach.check("host.example", [ipaddress.ip_address(text)])


@given(st.ip_addresses())
def test_what_the_standard_library_calls_not_global_is_never_good(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """S60."""
    try:
        PUBLIC.check("host.example", [address])
    except SinkRefused:
        return
    assert address.is_global
    assert not address.is_multicast
    assert not address.is_loopback
    assert not address.is_link_local


@given(st.text(max_size=60))
def test_a_host_is_refused_or_taken_as_it_will_be_connected_to(text: str) -> None:
    try:
        target = parse_target(f"https://{text}", PUBLIC)
    except BadRequest:
        return
    assert parse_target(str(target), PUBLIC) == target
    assert literal(target.host) is not None or target.host.isascii()
