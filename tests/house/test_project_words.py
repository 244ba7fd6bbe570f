"""The project speaks of itself alone: no paths of somebody's machine, no package registries, in any file."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MACHINE_PATH = re.compile(r"(?<![\w.$}])/(?:work|root|home|Users)/[\w.-]+")
REGISTRY = re.compile(
    r"\b(?:pypi\.org|pythonhosted\.org|registry\.[\w-]+\.\w+|npmjs\.(?:org|com)|[\w-]*(?:artifactory|nexus|devpi)[\w-]*\.\w+)"
    r"|--(?:extra-)?index-url|\"resolved\": \"https?:",
    re.IGNORECASE,
)
ELSEWHERE = re.compile(r"\.\./shared|\bref §|\bissue #?\d+\b", re.IGNORECASE)


def files() -> list[Path]:
    """What git holds or would take, but this file."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return [ROOT / name for name in names if name and ROOT / name != Path(__file__) and (ROOT / name).is_file()]


@pytest.mark.parametrize("words", [MACHINE_PATH, REGISTRY, ELSEWHERE], ids=["paths", "registries", "elsewhere"])
def test_no_file_speaks_of(words: re.Pattern[str]) -> None:
    found = []
    for path in files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if match := words.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match.group()}")
    assert found == []
