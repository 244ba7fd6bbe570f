"""How a route of Azure's management answers."""

from __future__ import annotations

from typing import Any

from fastapi.routing import APIRoute


class ArmRoute(APIRoute):
    """What has no value is left out of an answer: the older a version, the less it knows of."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "response_model_exclude_none": True})
