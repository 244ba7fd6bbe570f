"""Preambles: read until it is known where the session leads, and not one byte more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import FramingError
from app.wire.nettcp.preamble import Preamble, PreambleReader
from app.wire.nettcp.records import Kind

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "nmf.json").read_text())


def check(preamble: Preamble | None, case: dict[str, Any]) -> None:
    assert preamble is not None
    kind, value = case["encoding"]
    assert (preamble.minor_version, preamble.mode, preamble.via) == (case["minor"], case["mode"], case["via"])
    assert preamble.encoding == (Kind[kind], value)


@pytest.mark.parametrize("case", VECTORS["preambles"], ids=lambda case: case["name"])
def test_a_preamble_is_understood_and_the_rest_is_left_alone(case: dict[str, Any]) -> None:
    preamble = PreambleReader().feed(bytes.fromhex(case["hex"]))
    check(preamble, case)
    assert preamble is not None
    assert preamble.rest.hex() == case["rest"]


@pytest.mark.parametrize("case", VECTORS["preambles"], ids=lambda case: case["name"])
def test_a_preamble_is_known_by_the_first_byte_that_follows_it(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    known = len(data) - len(case["rest"]) // 2 + (1 if case["mode"] < 3 else 0)
    reader = PreambleReader()
    for at in range(known - 1):
        assert reader.feed(data[at : at + 1]) is None
    preamble = reader.feed(data[known - 1 : known])
    check(preamble, case)
    assert preamble is not None
    assert data.endswith(preamble.rest + data[known:])


@pytest.mark.parametrize("case", VECTORS["preambles"], ids=lambda case: case["name"])
def test_only_the_via_changes_in_the_preamble_that_goes_on(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    preamble = PreambleReader().feed(data)
    assert preamble is not None
    assert preamble.encode(preamble.via) == data
    other = PreambleReader().feed(preamble.encode("net.tcp://other/place"))
    assert other == preamble._replace(via="net.tcp://other/place")


@pytest.mark.parametrize("case", VECTORS["broken_preambles"], ids=lambda case: case["name"])
def test_a_broken_preamble_is_refused_with_its_fault_however_it_comes(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    for step in (len(data), 1):
        with pytest.raises(FramingError) as refused:
            read(data, step)
        assert refused.value.fault.rpartition("/")[2] == case["fault"]


def read(data: bytes, step: int) -> None:
    """Feed a preamble that must not become known."""
    reader = PreambleReader()
    for at in range(0, len(data), step):
        assert reader.feed(data[at : at + step]) is None
