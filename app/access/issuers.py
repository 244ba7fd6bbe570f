"""The keys of an OpenID Connect provider, fetched when they are first needed and kept.

Theory. Verifying a token never waits: it finds a key, or raises `KeysPending` while one is being fetched, and the
doors hold the call until then. A provider is asked only when it stands in the settings, anew when its keys are
old (the old ones serve meanwhile, and for a day if it fails), and for a key that is not known at most every few
seconds, so that forged tokens cannot make the gateway ask. Keys belong to one provider and one URL; an equal `kid`
of another is another key.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from app.access.keyset import Key, parse_key_set
from app.access.webtoken import WebToken
from app.errors import IssuerUnreachable, KeysPending

UNKNOWN_KEY_SECONDS = 10.0  # between two fetches because of a key that is not known
RETRY_SECONDS = 2.0  # after a fetch that failed, as long as there are no keys at all
MOST_STALE_SECONDS = 86_400.0  # that keys serve on while their issuer gives none

Fetch = Callable[[str], Awaitable[bytes]]
"""GET a URL: its body. Raises OSError or ValueError, bounded in time and size."""

_log = logging.getLogger("fanway.identity")


class IssuerKeys:
    """The keys of one issuer. `clock` is monotonic seconds; `fetch` does the only I/O."""

    def __init__(
        self, issuer: str, url: str | None, fetch: Fetch, clock: Callable[[], float], refresh_seconds: float
    ) -> None:
        self.issuer = issuer
        self._url = url
        self._fetch = fetch
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._keys: list[Key] = []
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self.on_withdrawn: Callable[[], None] = lambda: None

    def candidates(self, token: WebToken) -> list[Key]:
        """The keys that the token may be signed with, [] for one that the issuer does not know.

        Raises `KeysPending` while they are fetched, `IssuerUnreachable` when there are none to be had.
        """
        now = self._clock()
        age = now - self._fetched_at
        if age > self._refresh_seconds + MOST_STALE_SECONDS:
            if self._is_closed or (self._task is None and now - self._tried_at < RETRY_SECONDS):
                raise IssuerUnreachable("The keys of the token's issuer cannot be had now.", retry_after=2)
            raise self._pending(now)
        found = [key for key in self._keys if token.key_id in ("", key.id) and token.algorithm in key.algorithms]
        if not found:
            if self._task is not None or self._may_ask(now):
                raise self._pending(now)
        elif age > self._refresh_seconds and self._task is None and self._may_ask(now):
            self._start(now)
        return found

    async def close(self) -> None:
        """Stop what is under way, and begin nothing more."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _may_ask(self, now: float) -> bool:
        return not self._is_closed and now - self._tried_at >= UNKNOWN_KEY_SECONDS

    def _pending(self, now: float) -> KeysPending:
        task = self._task or self._start(now)
        return KeysPending(lambda then: task.add_done_callback(lambda _: then()))

    def _start(self, now: float) -> asyncio.Task[None]:
        self._tried_at = now
        self._task = asyncio.get_running_loop().create_task(self._refresh())
        self._task.add_done_callback(self._on_done)
        return self._task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._task = None

    async def _refresh(self) -> None:
        try:
            fresh = parse_key_set(await self._fetch(await self._find_url()))
        except (OSError, ValueError) as error:
            _log.warning("the keys of %s cannot be had: %s", self.issuer, error)
            return
        self._take(fresh)

    def _take(self, fresh: list[Key]) -> None:
        """What is published still stays the same object; grants that rest on what is not are over."""
        kept = []
        for key in fresh:
            same = next((old for old in self._keys if (old.id, old.published) == (key.id, key.published)), key)
            same.algorithms = key.algorithms
            kept.append(same)
        gone = [old for old in self._keys if old not in kept]
        self._keys = kept
        self._fetched_at = self._clock()
        _log.info("%d keys of %s", len(kept), self.issuer)
        for old in gone:
            old.is_withdrawn = True
        if gone:
            self.on_withdrawn()

    async def _find_url(self) -> str:
        if self._url is not None:
            return self._url
        data = await self._fetch(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        try:
            content = json.loads(data)
        except RecursionError:
            raise ValueError("its configuration is not JSON") from None
        if not isinstance(content, dict) or content.get("issuer") != self.issuer:
            raise ValueError("its configuration is that of another issuer")
        url = content.get("jwks_uri")
        if not isinstance(url, str) or not _is_as_safe(url, self.issuer):
            raise ValueError("its configuration names no usable jwks_uri")
        return url


def _is_as_safe(url: str, issuer: str) -> bool:
    """https; or http to the very host of an issuer that is itself reached by http."""
    parts, known = urlsplit(url), urlsplit(issuer)
    if parts.username or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme, parts.hostname) == ("http", known.hostname) == (
        known.scheme,
        known.hostname,
    )
