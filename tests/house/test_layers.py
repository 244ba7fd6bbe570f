"""Who may import whom: the layout of docs/architecture.md, enforced."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("app", "fanout", "fanway")

# A package may import itself and what stands here. The longest matching name rules.
ALLOWED: dict[str, tuple[str, ...]] = {
    "fanout": (),
    "fanway": (),
    "app.closes": (),
    "app.errors": ("fanout.errors",),
    "app.namespace": (),
    "app.event_schema": ("app.errors",),
    "app.telemetry": (),
    "app.faults": ("app.errors", "app.namespace"),
    "app.identity": ("fanout",),
    "app.hosts": ("app.errors", "app.namespace"),
    "app.config": ("app.hosts", "app.identity", "app.push.options", "app.wire.azure.choices"),
    "app.reference": ("app.config",),
    "app.certificates": ("app.config", "app.store"),
    "app.tls": ("app.certificates", "app.config", "app.edge.tls", "app.hosts", "app.namespace", "app.store"),
    "app.trust": ("app.store.folder",),
    "app.provision": (
        "app.access.keyring",
        "app.config",
        "app.closes",
        "app.errors",
        "app.hosts",
        "app.manage",
        "app.namespace",
        "app.store",
        "fanout",
    ),
    "app.started": (),
    "app.startup": ("app.access", "app.config", "app.namespace", "app.provision", "app.store"),
    "app.wire": ("app.closes", "app.errors", "fanout"),
    "app.access": ("app.closes", "app.errors", "app.hosts", "app.identity", "app.namespace", "fanout"),
    "app.edge": (
        "app.access",
        "app.config",
        "app.closes",
        "app.errors",
        "app.event_schema",
        "app.faults",
        "app.hosts",
        "app.namespace",
        "app.telemetry",
        "app.wire",
        "fanout",
    ),
    "app.push": ("app.errors", "app.wire", "fanout"),
    "app.store": (
        "app.access.keyring",
        "app.access.operator",
        "app.config",
        "app.closes",
        "app.errors",
        "app.event_schema",
        "app.hosts",
        "app.namespace",
        "app.push.settings",
        "app.wire.native.webhook",
        "fanout",
    ),
    "app.manage": (
        "app.access",
        "app.closes",
        "app.errors",
        "app.faults",
        "app.hosts",
        "app.namespace",
        "app.push",
        "app.store",
        "app.telemetry",
        "app.wire",
        "fanout",
    ),
    "app.emulator": ("app", "fanout"),
    "app.pushing": ("app", "fanout"),
    "app.gateway": ("app", "fanout"),
    "app.commands": ("app", "fanout"),
}


def modules() -> Iterator[tuple[str, Path]]:
    for root in (ROOT / "app", ROOT / "fanout", ROOT / "clients/python/fanway"):
        for path in sorted(root.rglob("*.py")):
            name = ".".join(path.relative_to(root.parent).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=[name for name, _ in modules()])
def test_module_imports_only_what_its_layer_may(name: str, path: Path) -> None:
    if name == "app":
        return
    layer = max((key for key in ALLOWED if is_within(name, key)), key=len)
    for line, target in imports(path):
        if target.split(".")[0] in OURS:
            allowed = (layer, *ALLOWED[layer])
            assert any(is_within(target, package) for package in allowed), f"{path}:{line} imports {target}"


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=[name for name, _ in modules()])
def test_the_engine_and_the_wire_do_no_io(name: str, path: Path) -> None:
    forbidden = {"asyncio", "socket", "ssl", "time", "random", "secrets", "fastapi", "uvicorn", "uvloop", "aiosqlite"}
    if name.split(".")[0] == "fanout":
        reached = {target.split(".")[0] for _, target in imports(path)}
        assert not reached & forbidden, f"{path} imports {reached & forbidden}"
    elif is_within(name, "app.wire"):
        reached = {target.split(".")[0] for _, target in imports(path)}
        assert not reached & {"asyncio", "socket", "fastapi", "uvicorn", "uvloop", "aiosqlite"}


@pytest.mark.parametrize("word", ["utils", "helpers", "common", "manager", "base"])
def test_no_module_hides_behind_an_empty_name(word: str) -> None:
    assert not [name for name, _ in modules() if name.rpartition(".")[2] == word]
