"""The client's grammar agrees with the gateway's on every vector."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanway.address import check_address, check_pattern, encode_address, is_concrete, literal_prefix, matches
from fanway.errors import InvalidAddressError

VECTORS = Path(__file__).parents[1] / "vectors"
ADDRESSES = json.loads((VECTORS / "addresses.json").read_text())
PATTERNS = json.loads((VECTORS / "patterns.json").read_text())


@pytest.mark.parametrize("case", ADDRESSES["text"], ids=lambda c: c["text"][:40])
def test_an_address_is_judged_as_the_gateway_judges_it(case: dict[str, str]) -> None:
    if case.get("system"):
        pytest.skip("system addresses are not for publishers")
    if "address" in case:
        assert check_address(case["text"]) == case["address"]
    else:
        with pytest.raises(InvalidAddressError):
            check_address(case["text"])


@pytest.mark.parametrize("case", [c for c in ADDRESSES["raw"] if "address" in c], ids=lambda c: c["raw"][:40])
def test_an_encoded_address_decodes_to_itself(case: dict[str, str]) -> None:
    if not case.get("system"):
        assert unquote(encode_address(case["address"])) == case["address"]


@pytest.mark.parametrize("case", PATTERNS["matches"], ids=str)
def test_a_pattern_matches_as_the_vectors_say(case: dict[str, object]) -> None:
    assert matches(str(case["pattern"]), str(case["address"])) is case["matches"]


@pytest.mark.parametrize("case", [c for c in PATTERNS["raw"] if "text" in c and not c.get("system")], ids=str)
def test_a_pattern_is_understood_as_the_vectors_say(case: dict[str, object]) -> None:
    pattern = check_pattern(str(case["text"]))
    assert pattern == case["text"]
    assert is_concrete(pattern) is case["concrete"]
    assert literal_prefix(pattern) == case["prefix"]


@pytest.mark.parametrize("pattern", ["*", "**/a", "a/**/b", "a/b*", "a//b", ""])
def test_a_bad_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidAddressError):
        check_pattern(pattern)


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = check_address(text)
    except InvalidAddressError:
        return
    assert check_address(address) == address
    assert unquote(encode_address(address)) == address
