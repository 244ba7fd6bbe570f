"""docs/settings.md says what the settings say."""

from __future__ import annotations

from pathlib import Path

from app.config import fields, render_reference


def test_settings_reference_is_current() -> None:
    """To renew it: python -c "from app.config import render_reference as r; print(r(), end='')" > docs/settings.md"""
    assert (Path(__file__).parents[2] / "docs" / "settings.md").read_text("utf-8") == render_reference()


def test_every_setting_has_a_text() -> None:
    assert not [path for path, field in fields() if not field.description]
