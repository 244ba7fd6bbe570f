"""The set of who listens and subscribes, kept true from what the gateway tells of itself (docs/protocol.md)."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from fanway.subscription import Subscription

Member = dict[str, Any]


class Presence:
    """Who is there, by id, in `members`, and an asynchronous iterator of what changes; made by `Relay.presence`.

    Each step is one change, a dictionary whose `state` says which: "complete" when `members` has become the truth
    (first of all, and again after an interruption that history did not reach back to), then "joined" or "left".
    """

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self.members: dict[str, Member] = {}
        self.is_complete = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Member:
        while True:
            event = await anext(self._subscription)
            if event.missed:
                self.members.clear()
                self.is_complete = False
            told: Member = event.json()
            match told["state"]:
                case "here" | "joined":
                    self.members[told["id"]] = told
                case "left":
                    self.members.pop(told["id"], None)
                case "complete":
                    self.is_complete = True
                case _:
                    continue
            if self.is_complete and told["state"] != "here":
                return told

    async def close(self) -> None:
        """Follow no longer; the iteration ends."""
        await self._subscription.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
