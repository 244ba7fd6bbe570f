"""The claims by which a backend's token lists what its holder may do where.

    {"sub": "42", "exp": 1767225600, "subscribe": ["user/42/**"], "publish": ["chat/7"]}

What is not listed is denied, so a token without any of these grants nothing. The patterns have the grammar of all
addresses and are taken as they stand: a backend that puts a name into one must see to it that the name holds no
wildcard.
"""

from __future__ import annotations

from typing import Any

from app.access.grant import Allowance, Limit
from app.namespace import Right
from fanout.address import check_pattern
from fanout.errors import InvalidPattern

MAX_PATTERNS = 256  # in one token

ACTIONS: dict[str, Right] = {
    "subscribe": Right.SUBSCRIBE,
    "publish": Right.PUBLISH,
    "listen": Right.ACCEPT,
    "ask": Right.ASK,
    "open": Right.OPEN,
    "send": Right.SEND,
    "manage": Right.MANAGE,
}


def allowances_of(claims: dict[str, Any]) -> Limit:
    """What the claims list. Raises ValueError for what is no list of patterns: nothing is guessed."""
    found: list[Allowance] = []
    for action, right in ACTIONS.items():
        patterns = claims.get(action, [])
        if not isinstance(patterns, list) or len(found) + len(patterns) > MAX_PATTERNS:
            raise ValueError(f"'{action}' is no list of at most {MAX_PATTERNS} patterns.")
        for pattern in patterns:
            if not isinstance(pattern, str):
                raise ValueError(f"'{action}' holds what is no pattern.")
            try:
                found.append(Allowance(right, check_pattern(pattern, allow_system=right is Right.MANAGE)))
            except InvalidPattern as error:
                raise ValueError(f"'{action}': {error}") from None
    return tuple(found)
