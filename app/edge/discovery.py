"""The discovery feed: who is public and online, told to anybody at the namespace's root and at its inner folders.

It shows relays that are public and have a listener now, nothing else: a folder below which there is none is as
unknown as any other path. A path that belongs to a relay is relayed, never listed (protocol guide,
"Settings that change what the relay does").
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from app.edge.exchange import Exchange
from app.edge.origin import base_url
from app.edge.refusal import Door
from app.errors import RelayError
from app.hosts import host_name
from app.namespace import Profile, Relay, RelayTerms, fold
from app.wire.azure.atom import FEED_CONTENT_TYPE
from app.wire.azure.discovery import Listed, encode_discovery
from app.wire.azure.handshake import matching_path
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.realm import Realm
    from app.edge.seam import Seam

_BY_HTTP = (Profile.NATIVE, Profile.HYBRID_CONNECTION, Profile.HTTP)


class DiscoveryFeed(Exchange):
    """The feed of one folder."""

    door = Door.AZURE

    def __init__(self, seam: Seam, head: Head, folder: str, relays: list[Relay]) -> None:
        super().__init__(seam, head)
        self._folder = folder
        self._relays = relays

    def start(self) -> None:
        head = self.head
        realm = self.context.realm(head.host)
        base = base_url(self.context, self.seam.transport, head, realm.namespace).replace("ws", "http", 1)
        children = list_children(realm, self._folder, self._relays, base)
        title = self._folder or host_name(head.host)
        feed = encode_discovery(children, f"{base}{head.path}", title, realm.namespace.created_at)
        headers = [("Content-Type", FEED_CONTENT_TYPE), ("Cache-Control", "no-cache"), ("Date", self.seam.date())]
        self.respond(200, headers, feed)


def feed_for(seam: Seam, head: Head) -> DiscoveryFeed | None:
    """The feed that answers a request whose path ends with `/`; None where the path is a relay's, or nothing is."""
    if head.method not in ("GET", "HEAD"):
        return None
    try:
        realm = seam.context.realm(head.host)
    except RelayError:  # the relayed request will meet it in its turn
        return None
    folder = matching_path(head.path.removeprefix("/"))
    if folder and realm.find(folder) is not None:
        return None
    relays = public_below(realm, folder)
    return DiscoveryFeed(seam, head, folder, relays) if relays or not folder else None


def public_below(realm: Realm, folder: str) -> list[Relay]:
    """The public relays below a folder ('' is the root) on which somebody listens, in the order of their names."""
    prefix = f"{fold(folder)}/" if folder else ""
    online = (realm.namespace.relays.get(key) for key in realm.roster.relay_keys() if key.startswith(prefix))
    return sorted((relay for relay in online if relay is not None and relay.is_public), key=lambda relay: relay.key)


def list_children(realm: Realm, folder: str, relays: list[Relay], base: str) -> list[Listed]:
    """What of `relays` lies right below `folder`, folders once each; `base` is the URL of the namespace's root.

    A relay that lies below another one is listed as if it lay where that does, for the path of a relay has no feed.
    """
    start = len(folder) + 1 if folder else 0
    listed: dict[str, Listed] = {}
    for relay in relays:
        step, slash, _ = relay.name[start:].partition("/")
        inner = relay.name[: start + len(step)]
        if slash and realm.find(inner) is None:
            known = listed.setdefault(fold(inner) + "/", Listed(step, f"{base}/{inner}/", 0.0))
            listed[fold(inner) + "/"] = replace(known, updated_at=max(known.updated_at, relay.updated_at))
        else:
            title = relay.display_name or relay.name.rpartition("/")[2]
            listed[relay.key] = Listed(title, _endpoint(relay, base), relay.updated_at)
    return list(listed.values())


def _endpoint(relay: Relay, base: str) -> str:
    """The URI by which the relay is used."""
    if relay.profile in _BY_HTTP:
        return f"{base}/{relay.name}"
    return f"sb://{base.partition('://')[2]}/{relay.name}"


def show_as(realm: Realm, relay: Relay, terms: RelayTerms) -> None:
    """Let a dynamic relay be listed as the listener that is about to register wants it.

    The first one that says nothing leaves it private. Of a provisioned relay its settings count.
    """
    if not relay.is_dynamic:
        return
    if terms.is_public is not None:
        relay.is_public = terms.is_public
    elif not realm.roster.count(relay.key):
        relay.is_public = False
    if terms.display_name is not None:
        relay.display_name = terms.display_name
