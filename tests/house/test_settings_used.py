"""A setting that nothing reads is a promise that nobody keeps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.config import fields

ROOT = Path(__file__).parents[2]
SOURCES = {path: path.read_text("utf-8") for path in (ROOT / "app").rglob("*.py")}
OWN = SOURCES[ROOT / "app/config.py"]


@pytest.mark.parametrize("path", [path for path, _ in fields()])
def test_every_setting_is_read_somewhere(path: str) -> None:
    name = path.rpartition(".")[2]
    readers = [file.name for file, text in SOURCES.items() if re.search(rf"\.{name}\b", text)]
    assert readers, f"nothing reads {path}"
