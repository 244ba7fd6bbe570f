"""Vias: where they lead, and what of them the service sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import BadRequest
from app.wire.nettcp.via import Via, parse_via

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "nmf.json").read_text())


@pytest.mark.parametrize("case", VECTORS["vias"], ids=lambda case: case["via"])
def test_a_via_names_host_and_address_and_loses_its_token(case: dict[str, Any]) -> None:
    assert parse_via(case["via"]) == Via(case["text"], case["host"], case["path"], case["query"], case["token"])
    assert parse_via(case["text"]).token is None


@pytest.mark.parametrize("via", VECTORS["broken_vias"], ids=repr)
def test_what_is_no_via_is_refused(via: str) -> None:
    with pytest.raises(BadRequest):
        parse_via(via)
