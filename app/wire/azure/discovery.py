"""The discovery feed: an Atom 1.0 feed (RFC 4287) of what is public and online below a path.

Its extra elements in Azure were never published; what is here is what every feed reader understands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.wire.azure.atom import ATOM
from app.wire.azure.description import stamp
from app.wire.azure.xml import escaped, quoted


@dataclass(frozen=True, slots=True)
class Listed:
    """One child: an endpoint, or a folder whose own feed is at `url`. `updated_at` is in unix seconds."""

    title: str
    url: str
    updated_at: float


def encode_discovery(children: Sequence[Listed], url: str, title: str, since: float) -> bytes:
    """The feed at `url`, which there has been `since` (unix seconds)."""
    updated = stamp(max((child.updated_at for child in children), default=since))
    return (
        f'<feed xmlns="{ATOM}"><id>{escaped(url)}</id><title type="text">{escaped(title)}</title>'
        f"<updated>{updated}</updated><author><name>{escaped(title)}</name></author>"
        f'<link rel="self" href={quoted(url)}/>{"".join(map(_entry, children))}</feed>'
    ).encode()


def _entry(child: Listed) -> str:
    return (
        f'<entry><id>{escaped(child.url)}</id><title type="text">{escaped(child.title)}</title>'
        f'<updated>{stamp(child.updated_at)}</updated><link rel="alternate" href={quoted(child.url)}/></entry>'
    )
