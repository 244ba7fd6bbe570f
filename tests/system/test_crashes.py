"""A gateway that is killed, as `make soak` does a hundred times."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from crash import crash


@pytest.mark.timeout(300)
async def test_after_kill_nine_all_that_was_acknowledged_is_there(tmp_path: Path) -> None:
    """R05: in order and in its place, and so is whatever a subscriber got."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    ledger = await crash(tmp_path, 3, seed)
    assert ledger.acknowledged
