"""Keys: 256 random bits as base64 text, two to a rule, so that one can be renewed while the other is in use."""

from __future__ import annotations

import base64
import secrets
from dataclasses import replace
from typing import Literal

from app.namespace import Namespace, Right, Rule, fold

ROOT_RULE = "RootManageSharedAccessKey"
EMULATOR_KEY = "2YN1PPQ/K4I9aZ3WicQKMCsWDklO0r1rWpSb6ChU8yg="  # everybody knows it, and the other
EMULATOR_SECOND_KEY = "ovTXIYUXjqVsZixao72S1wOcb6HS9tOn51jQXfn9b1U="
MAX_RULES = 12  # in one scope, as Azure Relay has it


def root_of(namespace: Namespace) -> Rule | None:
    """The rule that opens everything: the one that every namespace begins with, else any with Manage."""
    rules = [namespace.rules.get(fold(ROOT_RULE)), *namespace.rules.values()]
    return next((rule for rule in rules if rule is not None and Right.MANAGE in rule.rights), None)


def new_key() -> str:
    """A fresh key; its text, not the bytes it encodes, is the secret."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def new_rule(
    name: str,
    rights: Right,
    primary_key: str | None = None,
    secondary_key: str | None = None,
    *,
    creates_relays: bool = False,
) -> Rule:
    """A rule; keys that are not given are generated."""
    return Rule(name, rights, primary_key or new_key(), secondary_key or new_key(), creates_relays)


def rotated(rule: Rule, which: Literal["primary", "secondary"]) -> Rule:
    """`rule` with one key replaced: whatever lives on the old one ends, the other key goes on."""
    key = new_key()
    return replace(rule, primary_key=key) if which == "primary" else replace(rule, secondary_key=key)
