"""The OpenAPI document of an application, true to what it answers."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI


def describe_truly(app: FastAPI) -> None:
    """Take out of the document what the framework adds by itself: refusals of a status that is never sent."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            document.get("components", {}).get("schemas", {}).pop(name, None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
