"""What senders see of a web application behind a listener, and how its own words about that are put right."""

from __future__ import annotations

import pytest

from fanway.exchange import Headers
from fanway.public import PublicSide, cut_address

TARGET = "http://localhost:3000"


@pytest.mark.parametrize(
    ("target", "address", "rest"),
    [
        ("/shop/price?x=1", "shop", "/price?x=1"),
        ("/shop", "shop", "/"),
        ("/shop/", "shop", "/"),
        ("/Shop?x", "shop", "/?x"),
        ("/shop-admin/x", "shop", "/shop-admin/x"),
        ("/a%20b/c//d%2F", "a b", "/c//d%2F"),
        ("/a/b/c", "a/b", "/c"),
    ],
)
def test_the_address_is_cut_off_by_whole_segments(target: str, address: str, rest: str) -> None:
    assert cut_address(target, address) == rest


@pytest.mark.parametrize(
    ("address", "mount", "prefix", "local", "public"),
    [
        ("demo", "", "/demo", "/x?y=1", "/demo/x?y=1"),
        ("demo", "", "/demo", "/", "/demo/"),
        ("demo", "", "/demo", "/demo/x", "/demo/x"),  # an application that knows its prefix
        ("demo", "", "/demo", "/demo", "/demo"),
        ("demo", "", "/demo", "/demolition", "/demo/demolition"),
        ("demo", "demo", "", "/x", "/x"),
        ("demo", "Demo", "", "/demo/x", "/demo/x"),
        ("demo/shop", "demo", "/shop", "/x", "/shop/x"),
        ("demo", "demo/shop", "", "/shop/x", "/x"),  # the host leads into the application
        ("grüße", "", "/gr%C3%BC%C3%9Fe", "/", "/gr%C3%BC%C3%9Fe/"),
    ],
)
def test_paths_are_told_as_senders_see_them(address: str, mount: str, prefix: str, local: str, public: str) -> None:
    side = PublicSide(address, "relay.example", mount)
    assert (side.prefix, side.path(local)) == (prefix, public)


@pytest.mark.parametrize(
    ("location", "seen", "seen_on_its_own_host"),
    [
        ("/x?a=/b#c", "/demo/x?a=/b#c", "/x?a=/b#c"),
        ("x/y", "x/y", "x/y"),
        ("?page=2", "?page=2", "?page=2"),
        ("http://localhost:3000/x", "/demo/x", "/x"),
        ("http://127.0.0.1:3000", "/demo/", "/"),
        ("//localhost:3000/x?y", "/demo/x?y", "/x?y"),
        ("http://localhost:3001/x", "http://localhost:3001/x", "http://localhost:3001/x"),
        ("https://relay.example/x", "https://relay.example/demo/x", "https://relay.example/x"),
        ("https://elsewhere.example/x", "https://elsewhere.example/x", "https://elsewhere.example/x"),
        ("http://[broken/x", "http://[broken/x", "http://[broken/x"),
        ("mailto:x@y.example", "mailto:x@y.example", "mailto:x@y.example"),
    ],
)
def test_a_redirect_leads_where_the_sender_can_go(location: str, seen: str, seen_on_its_own_host: str) -> None:
    assert PublicSide("demo", "relay.example").location(location, TARGET) == seen
    assert PublicSide("demo", "relay.example", "demo").location(location, TARGET) == seen_on_its_own_host


def test_a_target_below_a_path_of_its_server_is_cut_off_too() -> None:
    side = PublicSide("demo", "relay.example")
    assert side.location("http://localhost:3000/base/x", f"{TARGET}/base") == "/demo/x"
    assert side.location("http://localhost:3000/basement", f"{TARGET}/base") == "/demo/basement"


@pytest.mark.parametrize(
    ("cookie", "seen"),
    [
        ("a=1; Path=/; HttpOnly", "a=1; Path=/demo; HttpOnly"),
        ("a=1;path=/x", "a=1;path=/demo/x"),
        ("a=1; Path=/demo", "a=1; Path=/demo"),
        ("a=1; Path=", "a=1; Path="),
        ("a=/; Domain=localhost; Secure", "a=/; Secure"),
        ("a=1; Domain=.relay.example", "a=1; Domain=.relay.example"),
        ("__Host-a=1; Path=/; Secure", "__Host-a=1; Path=/; Secure"),
        (
            "a=1; Expires=Wed, 1 Jan 2030; Path=/",
            "a=1; Expires=Wed, 1 Jan 2030; Path=/demo",
        ),
    ],
)
def test_a_cookie_has_a_path_that_the_browser_sends_it_to(cookie: str, seen: str) -> None:
    assert PublicSide("demo", "relay.example").cookie(cookie, TARGET) == seen


def test_the_application_learns_where_it_is_seen_and_nothing_from_the_sender() -> None:
    headers = Headers(
        {
            "Host": "demo.example:8443",
            "Fanway-Mount": "demo",
            "x-forwarded-prefix": "/forged",
            "X-Forwarded-Host": "forged.example",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-For": "192.0.2.9",
            "X_Forwarded_Prefix": "/forged",
            "x_forwarded-proto": "http",
        }
    )
    side = PublicSide.of(headers, "demo/shop")
    assert side.forwarded(headers, "192.0.2.1:50123") == {
        "Host": "demo.example:8443",
        "X-Forwarded-Host": "demo.example:8443",
        "X-Forwarded-Prefix": "/shop",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "192.0.2.9, 192.0.2.1",
    }
    assert "X-Forwarded-Prefix" not in PublicSide.of(headers, "demo").forwarded(headers, "")
    assert PublicSide.of(Headers(), "demo").forwarded({}, "[::1]:1") == {
        "X-Forwarded-Prefix": "/demo",
        "X-Forwarded-For": "::1",
    }
