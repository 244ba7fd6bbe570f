"""docs/settings.md says what the settings say."""

from __future__ import annotations

from pathlib import Path

from app.config import fields
from app.reference import render_reference


def test_settings_reference_is_current() -> None:
    """To renew it: python docs/generate.py"""
    assert (Path(__file__).parents[2] / "docs" / "settings.md").read_text("utf-8") == render_reference()


def test_every_setting_has_a_text() -> None:
    assert not [path for path, field in fields() if not field.description]
