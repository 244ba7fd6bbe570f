"""What the OpenAPI documents say of names is what the registry takes."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import BadRequest
from app.manage.names import relay_pattern
from app.store.settings import check_relay_name
from fanout.address import MAX_ADDRESS_BYTES
from fanout.errors import FanoutError

OURS = re.compile(relay_pattern("[A-Za-z0-9._~-]", "/"))
AZURES = re.compile(relay_pattern("[A-Za-z0-9._-]", "[~/]"))


def is_taken(name: str) -> bool:
    try:
        check_relay_name(name)
    except (BadRequest, FanoutError):
        return False
    return True


@given(st.text("aZ0._~-/", max_size=12) | st.text(max_size=5))
@example("-")
@example("-/a")
@example("a/-")
@example("..a")
@example("a/..")
@example("x" * 128)
@example("x" * 129)
@example("/".join("a" * 32))
@example("/".join("a" * 33))
def test_a_documented_name_is_a_relays_and_every_other_is_refused(name: str) -> None:
    fits = bool(OURS.fullmatch(name)) and len(name) <= MAX_ADDRESS_BYTES
    assert fits == is_taken(name)
    if "~" not in name:
        assert fits == (bool(AZURES.fullmatch(name)) and len(name) <= MAX_ADDRESS_BYTES)
