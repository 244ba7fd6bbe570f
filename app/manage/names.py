"""What things may be called, as the OpenAPI documents say it. It is the registry that judges, in words."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path

from fanout.address import MAX_ADDRESS_BYTES, MAX_SEGMENT_BYTES, MAX_SEGMENTS


def relay_pattern(characters: str, joint: str) -> str:
    """Segments of `characters`, none of them `.` or `..`, the first not `-`, joined by `joint`; regular expressions."""
    end = f"(?:{joint}|$)"
    segment = rf"(?!\.\.?{end}){characters}{{1,{MAX_SEGMENT_BYTES}}}"
    return f"^(?!-{end}){segment}(?:{joint}{segment}){{0,{MAX_SEGMENTS - 1}}}$"


def _said(**schema: Any) -> dict[str, Any]:
    return {"json_schema_extra": schema}


_RELAY = {"pattern": relay_pattern("[A-Za-z0-9._~-]", "/"), "maxLength": MAX_ADDRESS_BYTES}
_LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"

RelayPath = Annotated[str, Path(**_said(**_RELAY))]
RuleName = Annotated[str, Path(**_said(pattern=r"^[A-Za-z0-9._~-]{1,256}$"))]
HostName = Annotated[str, Path(**_said(pattern=rf"^{_LABEL}(?:\.{_LABEL})*$", maxLength=253))]
NamespaceName = Annotated[str, Path(**_said(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$"))]
