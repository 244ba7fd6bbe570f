"""A gateway's management API as far as moving needs it, without a gateway."""

from __future__ import annotations

from typing import Any

from fanway.errors import AuthorizationFailedError

SETTINGS: dict[str, Any] = {
    "profile": "hybridConnection",
    "requiresClientAuthorization": True,
    "requiresTransportSecurity": False,
    "userMetadata": "",
    "maxListeners": None,
}
TOLD = {"isDynamic": False, "createdAt": "", "updatedAt": "", "listenerCount": 0, "subscriptionCount": 0}


class FakeManagement:
    """Answers from what it was given; remembers what it was told to put."""

    def __init__(
        self,
        relays: dict[str, dict[str, Any]] | None = None,
        rules: dict[tuple[str | None, str], dict[str, Any]] | None = None,
        aliases: dict[str, str] | None = None,
        network: dict[str, Any] | None = None,
    ) -> None:
        self.relays = relays or {}
        self.rules = rules or {}
        self.aliases = aliases or {}
        self.network = network  # None: who calls may not know

    def call(self, method: str, path: str, body: Any = None, query: dict[str, str] | None = None) -> Any:
        assert method == "GET"
        scope = query["relay"] if query else None
        match path.split("/"):
            case ["status"]:
                return {"namespace": "ns"}
            case ["namespaces", "ns"]:
                if self.network is None:
                    raise AuthorizationFailedError("not yours", status=403)
                return {"network": self.network}
            case ["relays"]:
                return {"relays": [{"name": name, **SETTINGS, **TOLD, **told} for name, told in self.relays.items()]}
            case ["aliases"]:
                return {"aliases": [{"host": host, "address": to} for host, to in self.aliases.items()]}
            case ["rules"]:
                shown = ("rights", "createsRelays")
                return {
                    "rules": [
                        {"name": name, **{key: rule[key] for key in shown if key in rule}}
                        for (home, name), rule in self.rules.items()
                        if home == scope
                    ]
                }
            case ["rules", name, "keys"]:
                rule = self.rules[scope, name]
                return {"primaryKey": rule["primaryKey"], "secondaryKey": rule["secondaryKey"]}
        raise AssertionError(path)


def rule(*rights: str, primary: str = "p", secondary: str = "s", **more: Any) -> dict[str, Any]:
    return {"rights": list(rights), "primaryKey": primary, "secondaryKey": secondary, **more}
