"""Who is there, told as events: `-/sys/status/{relay}` says when listeners come and go and relays come into being.

The three states are those of Azure's listeners, as far as they can be seen from here: *online* has its control channel;
*connecting* lost it, or was sent away, in a manner after which listeners come back; *offline* said goodbye, or was
refused for good, or has not come back for a minute.

Nothing is made or kept before somebody has subscribed to a system address; from then on everything is, so that a
cursor tells no lies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from app.edge.system import STATUS, tell
from app.namespace import Relay

if TYPE_CHECKING:
    from app.edge.control import ControlChannel
    from app.edge.realm import Realm

RETURN_SECONDS = 60.0

State = Literal["online", "connecting", "offline"]
Fate = Literal["created", "changed", "deleted"]
Place = tuple[str, str, str, str]
"""Where a listener is, and as who: its relay's key, its address, its id and its instance name, '' where it has none."""


class Status:
    """Tells the status of one realm's relays and listeners."""

    def __init__(self, realm: Realm) -> None:
        self._realm = realm
        self._awaited: dict[Place, tuple[float, Relay]] = {}  # who may come back: since when, and where

    def tell_relay(self, fate: Fate, relay: Relay) -> None:
        """A relay came into being, changed, or went."""
        if self._is_followed:
            self._tell(f"fanway.relay.{fate}", relay, {"profile": relay.profile, "isDynamic": relay.is_dynamic})

    def tell_listener(self, state: State, listener: ControlChannel, reason: str = "") -> None:
        """A listener is on the roster now (`online`), or has left it."""
        if not self._is_followed:
            return
        relay, address, id, instance = listener.relay, listener.address, listener.id or "", listener.instance or ""
        place = relay.key, address, id, instance
        here = self._realm.roster.listeners(relay.key)
        if state != "online" and id and any(other.id == id for other in here):
            return  # it had come back before its loss was noticed
        if state == "connecting":
            self._awaited[place] = self._realm.now(), relay
        else:
            self._awaited.pop(place, None)
        self._tell_listener(state, relay, place, reason)

    def sweep(self) -> None:
        """Who has not come back is offline."""
        now = self._realm.now()
        for place, (since, relay) in list(self._awaited.items()):
            if now - since >= RETURN_SECONDS:
                del self._awaited[place]
                self._tell_listener("offline", relay, place, "It has not come back.")

    @property
    def _is_followed(self) -> bool:
        return self._realm.remembers(self._realm.system)

    def _tell_listener(self, state: State, relay: Relay, place: Place, reason: str) -> None:
        _, address, id, instance = place
        count = self._realm.roster.count(relay.key)
        about: dict[str, Any] = {"address": address, "listener": id or None, "listeners": count}
        if instance:
            about["instance"] = instance
        self._tell(f"fanway.listener.{state}", relay, about | ({"reason": reason} if reason else {}))

    def _tell(self, type: str, relay: Relay, about: dict[str, Any]) -> None:
        tell(self._realm, f"{STATUS}/{relay.name}", type, {"relay": relay.name, **about})
