"""Header lists as commands carry them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.wire.azure.headers import is_relayable, joined, named_in_connection

NAMES = st.sampled_from(["A", "a", "X-One", "x-one", "X_One", "Cookie", "cookie", "Connection", "bad name", ""])
VALUES = st.text(st.characters(max_codepoint=0x101), max_size=8)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=12))
def test_joined_names_are_unique_ignoring_case_and_all_is_relayable(headers: list[tuple[str, str]]) -> None:
    result = joined(headers)
    assert len({name.lower() for name in result}) == len(result)
    assert all(is_relayable(name, value) for name, value in result.items())
    assert set(result) <= {name for name, _ in headers}


def test_joined_leaves_out_what_the_caller_drops_in_any_case() -> None:
    assert joined([("Secret", "1"), ("SECRET", "2"), ("Kept", "3")], frozenset({"secret"})) == {"Kept": "3"}


@pytest.mark.parametrize("name", ["Sec_WebSocket_Key", "Content_Length", "Proxy_Authorization"])
def test_underscore_names_that_shadow_are_dropped(name: str) -> None:
    """S48."""
    assert joined([("Sec-WebSocket-Key", "k"), (name, "evil")]) == {"Sec-WebSocket-Key": "k"}


def test_names_in_connection_belong_to_the_hop_but_never_host_or_via() -> None:
    """S48."""
    named = named_in_connection([("Connection", "close, X-One"), ("CONNECTION", " x-two ,Host,via,")])
    assert named == {"close", "x-one", "x-two"}
