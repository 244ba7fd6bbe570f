"""A namespace built from the signature vectors, and an authorizer whose clock stands where they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.access.authorize import Authorizer
from app.hosts import Hosts
from app.namespace import Namespace, Profile, Relay, Right, Rule, fold

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "signatures.json").read_text("utf-8"))


def rules_of(items: list[dict[str, Any]]) -> dict[str, Rule]:
    rules = {}
    for item in items:
        rights = Right.NONE
        for name in item["rights"]:
            rights |= Right[name.upper()]
        rules[fold(item["name"])] = Rule(item["name"], rights, item["primaryKey"], item["secondaryKey"])
    return rules


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(VECTORS["clock"])


@pytest.fixture
def namespace() -> Namespace:
    source = VECTORS["namespace"]
    relays = {
        fold(item["name"]): Relay(item["name"], Profile(item["profile"]), rules=rules_of(item["rules"]))
        for item in source["relays"]
    }
    return Namespace(source["name"], dict.fromkeys(source["aliases"], ""), rules_of(source["rules"]), relays)


@pytest.fixture
def authorizer(namespace: Namespace, clock: Clock) -> Authorizer:
    return Authorizer(clock, Hosts([namespace], is_loopback=False).mount)
