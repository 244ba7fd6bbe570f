"""The container files, which no engine builds here: linted, and every path and flag in them is one that exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from app.commands import serve

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))


def test_the_dockerfile_is_clean() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_dockerfile_copies_is_let_through_and_exists() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[0] == "!"}
    assert set(names) == let_through
    assert [name for name in names if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_starts_a_command_that_exists(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def run(settings: Any, announce: Any) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr("app.gateway.run", run)
    verb, *flags = COMPOSE["services"][name]["command"]
    assert verb == "serve"
    result = CliRunner().invoke(serve, flags)
    assert result.exit_code == 0, result.output
    [settings] = seen
    assert settings.emulator is (name == "emulator")
    assert settings.uses_dev_tls
    assert settings.allows_dynamic_relays
    ports = {port.rpartition(":")[2] for port in COMPOSE["services"][name]["ports"]}
    assert ports == {str(settings.plain_bind.port), str(settings.tls_bind.port)}
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE["services"][name]["ports"])


def test_every_volume_is_declared() -> None:
    used = {mount.partition(":")[0] for service in COMPOSE["services"].values() for mount in service["volumes"]}
    assert used == set(COMPOSE["volumes"])
