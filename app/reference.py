"""docs/settings.md, made from the settings."""

from __future__ import annotations

from app.config import fields, flag_of, variable


def render_reference() -> str:
    """docs/settings.md, from the settings."""
    lines = [
        "# Settings",
        "",
        "A flag of `fanway serve` wins over an environment variable, that over the TOML file named by `--config` or",
        "`FANWAY_CONFIG`, that over the default. Settings with a dot have no flag; in TOML they stand in a table",
        "(`[limits]`), and a variable that is a list holds JSON. `fanway check` tries all. Unknown keys are refused.",
        "",
        "| Setting | Flag | Variable | Default | Meaning |",
        "|---|---|---|---|---|",
    ]
    for path, field in fields():
        flag = "" if "." in path else f"`{flag_of(path)}`"
        lines.append(f"| `{path}` | {flag} | `{variable(path)}` | {_shown(field.default)} | {field.description} |")
    return "\n".join([*lines, ""])


def _shown(default: object) -> str:
    if default is None or default in ((), {}):
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return f"`{','.join(default)}`"
    return f"`{default}`"
