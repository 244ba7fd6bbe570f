"""The documentation says what the code says: generated pages, links, names, dependencies, versions."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from app.closes import CLOSES
from app.config import fields, load_settings, variable
from app.errors import RelayError
from app.provision import read_provision

ROOT = Path(__file__).parents[2]
GENERATOR: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "generate.py"))
PAGES = [
    path
    for path in sorted(ROOT.rglob("*.md"))
    if not {".venv", "node_modules", ".pytest_cache"} & set(path.relative_to(ROOT).parts)
]
FOLDERS = ("app", "bench", "clients", "docs", "fanout", "migrations", "tests")
CLIENT_VARIABLES = {"URL", "KEY", "KEY_NAME", "TOKEN", "CA", "CONNECTION_STRING", "CONFIG", "COMMAND", "DEBUG"}


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as code hosts make them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def of(pages: list[Path]) -> Any:
    return pytest.mark.parametrize("page", pages, ids=[str(page.relative_to(ROOT)) for page in pages])


@of(list(GENERATOR["documents"]()))
def test_a_page_made_from_the_code_is_current(page: Path) -> None:
    """To renew it: .venv/bin/python docs/generate.py"""
    assert page.read_text("utf-8") == GENERATOR["documents"]()[page]


def test_every_error_and_every_end_has_its_line() -> None:
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    codes = {kind.code for kind in GENERATOR["_errors"](RelayError)} - {"NotFound", "RendezvousFailed"}  # bases
    assert [name for name in (*sorted(codes), *CLOSES) if f"`{name}`" not in page] == []


def test_every_command_shows_an_example() -> None:
    assert [name for name, command in GENERATOR["commands"]() if f"fanway {name}" not in (command.help or "")] == []


def test_every_line_of_the_checklist_has_a_test() -> None:
    assert sorted(set(GENERATOR["checklist"]()) - set(GENERATOR["tests_by_id"](GENERATOR["CHECKLIST_ID"]))) == []


def test_every_id_that_a_test_carries_is_a_line_of_the_checklist() -> None:
    assert sorted(set(GENERATOR["tests_by_id"](GENERATOR["CHECKLIST_ID"])) - set(GENERATOR["checklist"]())) == []


def test_every_row_of_azure_compatibility_has_a_test() -> None:
    rows = {identity for sentences in GENERATOR["azure"]().values() for identity in sentences}
    assert sorted(rows ^ set(GENERATOR["tests_by_id"](GENERATOR["AZURE_ID"]))) == []


@of(PAGES)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?:", target):
            continue
        path, _, fragment = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page}: {target}"
        if fragment:
            assert fragment in anchors(there), f"{page}: {target}"


@of(PAGES)
def test_files_that_are_named_exist(page: Path) -> None:
    for name in re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`", page.read_text("utf-8")):
        if name != "app/store/migrations":  # only in the wheel
            assert (ROOT / name).exists(), f"{page}: {name}"


@of(PAGES)
def test_variables_and_targets_that_are_named_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    variables = {variable(path) for path, _ in fields()} | {f"FANWAY_{name}" for name in CLIENT_VARIABLES}
    assert set(re.findall(r"\bFANWAY_[A-Z][A-Z_]*[A-Z]\b", text)) <= variables
    targets = set(re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)) <= targets


@pytest.mark.parametrize("folder", [*FOLDERS, "clients/python"])
def test_every_folder_says_what_lives_in_it(folder: str) -> None:
    if folder != "clients":
        text = (ROOT / folder / "README.md").read_text("utf-8")
        assert "here to begin reading" in text
        assert len(text.splitlines()) < 60


def test_the_table_of_dependencies_is_complete() -> None:
    gateway, client = (tomllib.loads((ROOT / f / "pyproject.toml").read_text("utf-8")) for f in (".", "clients/python"))
    project = gateway["project"]
    wanted = {(name, "gateway") for name in map(package, project["dependencies"])}
    named = {name for name, _ in wanted}
    wanted |= {(name, "client") for name in map(package, client["project"]["dependencies"]) if name not in named}
    wanted |= {(package(each), "build") for each in project["optional-dependencies"]["build"]}
    wanted |= {(package(each), "tests") for each in project["optional-dependencies"]["dev"]}
    _, _, table = (ROOT / "README.md").read_text("utf-8").partition("## Dependencies")
    rows = re.findall(r"^\| ([\w-]+) \| (\w+) \| (.+) \|$", table, re.MULTILINE)
    assert {(name, where) for name, where, _ in rows if name != "Package"} == wanted
    assert all(reason.strip() for _, _, reason in rows)


def package(requirement: str) -> str:
    """The name in a requirement such as `uvloop>=0.21; sys_platform != 'win32'`."""
    return re.split(r"[^\w-]", requirement)[0]


def test_the_changelog_tells_of_this_version() -> None:
    versions = {
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text("utf-8"))["project"]["version"]
        for folder in (".", "clients/python")
    }
    assert len(versions) == 1
    assert re.search(
        rf"^## {re.escape(versions.pop())} - \d{{4}}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )


def test_provisioning_files_that_are_shown_are_sound(tmp_path: Path) -> None:
    shown = [
        text
        for page in (ROOT / "README.md", ROOT / "docs" / "operations.md")
        for text in re.findall(r"^```toml\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    ]
    assert len(shown) >= 2
    for text in shown:
        (tmp_path / "relays.toml").write_text(text, "utf-8")
        if text.startswith(("[[identity", "[identity")):
            identity = load_settings(file=tmp_path / "relays.toml").identity
            assert identity.signers or identity.certificates
            continue
        assert read_provision(tmp_path / "relays.toml").relays


def test_settings_files_that_are_shown_are_sound(tmp_path: Path) -> None:
    pages = [page.read_text("utf-8") for page in (ROOT / "docs").glob("*.md")]
    shown = [
        text for page in pages for text in re.findall(r"^```toml settings\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    ]
    assert len(shown) >= 2
    for text in shown:
        (tmp_path / "settings.toml").write_text(text, "utf-8")
        assert load_settings(file=tmp_path / "settings.toml").model_fields_set
