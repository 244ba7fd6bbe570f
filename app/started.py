"""What a gateway tells once it serves, for its banner and for who embeds it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Started(NamedTuple):
    """How to reach a gateway that serves. `key` is the root key's text, to be shown on the first start only."""

    url: str
    tls_url: str | None
    namespace: str
    data: Path
    is_first_start: bool
    key_name: str | None
    key: str | None
    ca: Path | None
    allows_dynamic_relays: bool = True
    is_emulator: bool = False
    nettcp_url: str | None = None
    nettcp_tls_url: str | None = None
