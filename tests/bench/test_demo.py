"""The demonstration runs, and says so when a step fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import demo

ROOT = Path(__file__).parents[2]


def test_the_demonstration_shows_all_three_kinds_of_traffic() -> None:
    run = subprocess.run([sys.executable, "-m", "bench.demo"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
    for part in ("1. A SOCKET", "2. A REQUEST", "3. AN EVENT", '"matched": 60, "queued": 60', "All of it worked"):
        assert part in run.stdout
    assert run.stderr == ""


def test_a_failed_step_is_named_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail() -> None:
        raise ExceptionGroup("steps", [demo.DemoError("3 of 60 subscribers got the event")])

    monkeypatch.setattr(demo, "demonstrate", fail)
    assert demo.main() == 1
    assert "FAILED: 3 of 60 subscribers got the event" in capsys.readouterr().out
