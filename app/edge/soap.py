"""A SOAP message for an `http` relay without a token in its head: it may bring one along.

The body is held until its SOAP header has ended, then the request goes its ordinary way with what is left of it.
Where the relay takes any sender, a token that is there is still taken out, since listeners must not get it; but
nothing is refused for the sake of finding one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.edge.asked import Asked
from app.edge.requests import RelayedRequest
from app.errors import KeysPending, RelayError, TooSlow
from app.wire.azure.handshake import token_from
from app.wire.azure.soap import TokenSearch, is_soap
from app.wire.http import Head

if TYPE_CHECKING:
    from app.edge.seam import Seam


def may_bring_token(head: Head) -> bool:
    """Whether a request is SOAP without a token in its head. Raises BadRequest where the head holds two."""
    return head.has_body and is_soap(head.headers) and token_from(head.headers, head.query)[0] is None


class SoapRequest(RelayedRequest):
    """A relayed request that begins once its token was looked for."""

    def __init__(self, seam: Seam, head: Head, *, takes_anybody: bool) -> None:
        super().__init__(seam, head)
        self._takes_anybody = takes_anybody
        self._search: TokenSearch | None = TokenSearch(head.headers)  # until the request has begun
        self._is_known = False  # what token it is to begin with

    def start(self) -> None:
        self.welcome_body()
        self._await_body()

    def on_body(self, data: bytes) -> None:
        search = self._search
        if search is None:
            super().on_body(data)
        elif self._is_known:
            search.given += data
        else:
            self._await_body()
            if self._attempt(search, lambda: search.feed(data)):
                self._go_on(search)

    def on_end(self) -> None:
        search = self._search
        if search is not None and not self._is_known:
            self._attempt(search, search.close)
            self._go_on(search)
        if self._search is None and not self.is_over:
            super().on_end()

    def _attempt(self, search: TokenSearch, step: Callable[[], bool | None]) -> bool:
        """Whether the search is over after this step. A message that fails it is no message to a relay that asks."""
        try:
            return bool(step())
        except RelayError:
            if not self._takes_anybody:
                raise
            search.give_up()
            return True

    def _go_on(self, search: TokenSearch) -> None:
        """The request begins, or waits for the keys of its token's issuer, as it would with a token in its head."""
        self._is_known = True
        self.seam.patience.stop()
        asked = Asked(self.head, self.context.settings.azure)
        asked.token = search.token
        self.head.memo = asked
        try:
            super().start()
        except KeysPending as pending:
            self.pause_body()
            pending.then(lambda: self._go_on_later(search))
            return
        self._search = None
        if not self.is_over:
            super().on_body(search.message)

    def _go_on_later(self, search: TokenSearch) -> None:
        if self.is_over:
            return
        try:
            self.resume_body()
            self._go_on(search)
            if self.is_body_complete:
                self.on_end()
        except Exception as error:
            self.refuse(self.context.shown(error))

    def _await_body(self) -> None:
        self.seam.patience.set(self.context.settings.deadlines.idle_seconds, self._on_body_timeout)

    def _on_body_timeout(self) -> None:
        self.is_keep_alive = False
        self.refuse(TooSlow("The request's body did not arrive in time."))
