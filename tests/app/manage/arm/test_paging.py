"""Lists in pages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadRequest
from app.manage.arm.paging import page
from app.manage.arm.places import Call


def call_of(size: int, path: str = "/list") -> Call:
    made: Any = SimpleNamespace(
        context=SimpleNamespace(arm=SimpleNamespace(page_items=size)),
        version="2026-01-01",
        origin="https://localhost:8443",
        request=SimpleNamespace(url=SimpleNamespace(path=path)),
    )
    return cast(Call, made)


def token_of(link: str) -> str:
    return parse_qs(urlsplit(link).query)["$skiptoken"][0]


@given(st.sets(st.text(st.characters(codec="utf-8"), min_size=1)), st.integers(1, 5))
def test_every_thing_comes_once_and_in_order(names: set[str], size: int) -> None:
    found: list[str] = []
    token: str | None = None
    while True:
        things, link = page(call_of(size), names, str, token)
        assert len(things) <= size
        found += things
        if link is None:
            break
        token = token_of(link)
    assert found == sorted(names)


def test_what_comes_and_goes_between_two_pages_hides_nothing() -> None:
    names = {"a", "b", "c", "d"}
    first, link = page(call_of(2), names, str, None)
    assert (first, link is not None) == (["a", "b"], True)
    names = (names | {"aa", "bb"}) - {"b"}
    assert page(call_of(3), names, str, token_of(link or "")) == (["bb", "c", "d"], None)


def test_the_link_is_absolute_and_escaped() -> None:
    _, link = page(call_of(1, "/namespaces/a b"), {"x", "y"}, str, None)
    assert link is not None
    assert link.startswith("https://localhost:8443/namespaces/a%20b?api-version=2026-01-01&$skiptoken=")


@given(st.text())
def test_a_token_is_good_or_a_bad_request(token: str) -> None:
    try:
        page(call_of(1), {"x"}, str, token)
    except BadRequest:
        return


def test_garbage_is_no_token() -> None:
    for token in ("%", "a", "_w", "é"):
        with pytest.raises(BadRequest):
            page(call_of(1), {"x"}, str, token)
