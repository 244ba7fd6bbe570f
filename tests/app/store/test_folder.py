"""The data folder keeps its secrets."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from app.store.folder import DataFolder, write_secret


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folder_and_files_are_the_owners_only(tmp_path: Path) -> None:
    """S70: 0700 and 0600, whatever the umask."""
    folder = DataFolder(tmp_path / "deep" / "data")
    folder.create()
    folder.root_key()
    folder.write_connection({"url": "http://127.0.0.1:1", "key": "k"})
    assert mode(folder.path) == 0o700
    assert [mode(file) for file in sorted(folder.path.iterdir())] == [0o600, 0o600]
    assert json.loads(folder.connection_file.read_text())["key"] == "k"


def test_root_key_is_generated_once(tmp_path: Path) -> None:
    """S69: a random key at the first start, the same one ever after."""
    folder = DataFolder(tmp_path)
    key = folder.root_key()
    assert len(key) == 44
    assert folder.root_key() == key
    folder.replace_root_key("other")
    assert folder.root_key() == "other"


def test_secret_is_replaced_whole_and_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_secret(path, b"new")
    assert (path.read_bytes(), mode(path)) == (b"new", 0o600)
    with pytest.raises(FileExistsError):
        write_secret(path, b"newer", replace=False)
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


def test_the_operators_token_is_made_once_or_chosen(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    made = folder.operator_token()
    assert folder.operator_token() == made
    assert mode(folder.operator_token_file) == 0o600
    assert folder.operator_token("chosen-by-the-operator") == "chosen-by-the-operator"
    assert folder.operator_token() == "chosen-by-the-operator"
