"""What a listener states of its relay, in headers or in the query."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequest
from app.namespace import Profile
from app.wire.azure.terms import NOTHING_STATED, PROFILES, StatedTerms, parse_terms

HC = "sb-hc-action=listen"


def test_the_profiles_are_those_that_relays_have() -> None:
    assert tuple(profile.value for profile in Profile) == PROFILES


def test_nothing_is_stated_by_silence() -> None:
    assert parse_terms([("Host", "x")], "") == NOTHING_STATED
    assert parse_terms([("Host", "x")], f"{HC}&sb-hc-id=1&profile=http") == NOTHING_STATED


@pytest.mark.parametrize(
    ("headers", "query", "terms"),
    [
        ([("fanway-relay-profile", "NetEvent")], HC, StatedTerms("netEvent")),
        ([], f"{HC}&SB-HC-Profile=http", StatedTerms("http")),
        ([("Fanway-Client-Authorization", "none")], HC, StatedTerms(None, False)),
        ([("Fanway-Client-Authorization", "RelayAccessToken")], HC, StatedTerms(None, True)),
        ([("Fanway-Transport-Security", "required")], HC, StatedTerms(None, None, True)),
        ([], f"{HC}&sb-hc-transport-security=none", StatedTerms(None, None, False)),
        ([("Fanway-Discovery", "public")], HC, StatedTerms(is_public=True)),
        ([("Fanway-Display-Name", "A b")], HC, StatedTerms(display_name="A b")),
        ([], f"{HC}&sb-hc-display-name=%E2%82%AC+1", StatedTerms(display_name="\u20ac 1")),
        ([("Fanway-Relay-Profile", " netTcp ")], f"{HC}&sb-hc-profile=netTcp", StatedTerms("netTcp")),
    ],
)  # fmt: skip
def test_terms_are_read(headers: list[tuple[str, str]], query: str, terms: StatedTerms) -> None:
    assert parse_terms(headers, query) == terms


@pytest.mark.parametrize(
    ("headers", "query", "why"),
    [
        ([("Fanway-Relay-Profile", "udp")], HC, "one of native, hybridConnection, http, netTcp, netOneway, netEvent"),
        ([("Fanway-Client-Authorization", "")], HC, "none, required"),
        ([("Fanway-Transport-Security", "tls")], HC, "none, required"),
        ([("Fanway-Relay-Profile", "http")], f"{HC}&sb-hc-profile=netTcp", "said twice"),
        ([("Fanway-Relay-Profile", "http"), ("Fanway-Relay-Profile", "netTcp")], HC, "said twice"),
        ([("Fanway-Display-Name", "x" * 257)], HC, "display name"),
        ([], f"{HC}&sb-hc-display-name=a%0Ab", "display name"),
    ],
)
def test_what_means_nothing_is_refused(headers: list[tuple[str, str]], query: str, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        parse_terms(headers, query)


@given(st.lists(st.tuples(st.sampled_from(["Fanway-Relay-Profile", "Fanway-Display-Name", "X"]), st.text())), st.text())
def test_any_text_gives_terms_or_a_refusal(headers: list[tuple[str, str]], query: str) -> None:
    try:
        terms = parse_terms(headers, HC + "&" + query)
    except BadRequest:
        return
    assert terms.profile is None or terms.profile in PROFILES
