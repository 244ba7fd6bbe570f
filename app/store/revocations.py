"""Revoked tokens: kept in SQLite, held by their namespaces, changed in that order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from app.errors import EndpointNotFound, QuotaExceeded
from app.namespace import Change, Mark, Namespace, Revocation
from app.store.database import Database

MAX_REVOCATIONS = 10_000  # in one namespace


class Revocations:
    """What no token is good for any more. `load` first; `clock` gives unix seconds."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    async def load(self, namespaces: Sequence[Namespace]) -> None:
        """Give each namespace its own; those whose time is over are forgotten."""
        async with self._database.transaction():
            await self._database.execute("DELETE FROM revocations WHERE until < ?", (self._clock(),))
        held = {namespace.name: namespace for namespace in namespaces}
        for row in await self._database.rows("SELECT * FROM revocations"):
            mark = Mark(row["kind"], row["value"], row["issuer"])
            revocation = Revocation(mark, row["before"], row["until"], row["reason"], row["created_at"])
            held[row["namespace"]].revocations[mark] = revocation

    async def put(self, namespace: Namespace, revocation: Revocation) -> None:
        """Revoke; what lives on these tokens has ended when this returns.

        Raises `QuotaExceeded`, `EndpointNotFound`.
        """
        self._prune(namespace)
        mark = revocation.mark
        async with self._database.transaction():
            if namespace.is_deleted:
                raise EndpointNotFound("The namespace does not exist.")
            if mark not in namespace.revocations and len(namespace.revocations) >= MAX_REVOCATIONS:
                raise QuotaExceeded(
                    f"A namespace holds at most {MAX_REVOCATIONS} revocations; give them an 'until'.", status=403
                )
            await self._database.execute(
                "INSERT OR REPLACE INTO revocations VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    namespace.name,
                    *cast(tuple[str, str, str], tuple(mark)),
                    revocation.before,
                    revocation.until,
                    revocation.reason,
                    revocation.created_at,
                ),
            )
        namespace.revocations[mark] = revocation
        namespace.announce(Change("tokens-revoked"))

    async def delete(self, namespace: Namespace, mark: Mark) -> None:
        """Let tokens with this mark be good again. Raises `EndpointNotFound`."""
        async with self._database.transaction():
            if mark not in namespace.revocations:
                raise EndpointNotFound("There is no such revocation.")
            await self._database.execute(
                "DELETE FROM revocations WHERE namespace = ? AND kind = ? AND value = ? AND issuer = ?",
                (namespace.name, *mark),
            )
        del namespace.revocations[mark]

    def _prune(self, namespace: Namespace) -> None:
        now = self._clock()
        for mark, revocation in list(namespace.revocations.items()):
            if revocation.until is not None and revocation.until < now:
                del namespace.revocations[mark]
