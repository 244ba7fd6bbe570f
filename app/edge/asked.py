"""What a request's head says about its relaying, kept with the head: most requests repeat one (`app.wire.recent`)."""

from __future__ import annotations

from app.errors import BadRequest
from app.hosts import host_name
from app.namespace import Relay
from app.wire.azure.choices import Choices
from app.wire.azure.exchange import request_headers, request_target
from app.wire.azure.handshake import client_id, is_hc_path, token_from
from app.wire.azure.headers import origin_headers
from app.wire.http import Head


class Asked:
    """Worked out once for all requests that share a head. Nothing of it depends on what is provisioned.

    Raises BadRequest.
    """

    __slots__ = (
        "_choices",
        "_head",
        "_headers",
        "_headers_for",
        "_mount",
        "host",
        "id",
        "is_authorization",
        "prefers_async",
        "raw_path",
        "target",
        "token",
    )

    def __init__(self, head: Head, choices: Choices) -> None:
        if is_hc_path(head.path):
            raise BadRequest("This path takes WebSocket upgrades; requests go to the address without '$hc'.")
        self._head = head
        self._choices = choices
        self._headers: dict[str, str] = {}
        self._headers_for: tuple[bool, str, str | None] | None = None
        self._mount = head.mount
        self.raw_path = head.path.removeprefix("/")
        self.token, self.is_authorization = token_from(head.headers, head.query, choices)
        self.target = request_target(head.path, head.query, choices.decodes_path)
        self.id = client_id(head.query)
        self.host = host_name(head.host)  # '' only where HTTP/1.0 leaves it out
        self.prefers_async = "prefer" in head.names and any(
            preference.strip().lower() == "respond-async"
            for value in head.get_all("prefer")
            for preference in value.split(",")
        )

    @property
    def target_as_sent(self) -> str:
        """`target` for a relay that keeps every escape of the path."""
        return request_target(self._head.path, self._head.query, False)

    def entity(self, relay: Relay) -> str:
        """The relay's part of the path, as it was sent."""
        depth = relay.name.count("/") + 1
        return "/".join(self.raw_path.split("/", depth)[:depth])

    def headers(self, is_authorization_consumed: bool, via: str, scheme: str | None = None) -> dict[str, str]:
        """Those that the listener gets; not to be changed. `scheme` is the sender's, where the listener is told."""
        wanted = is_authorization_consumed, via, scheme
        if self._headers_for != wanted:
            origin = origin_headers(self._mount, scheme) if scheme else None
            self._headers = request_headers(
                self._head.headers, is_authorization_consumed, via, origin, self._choices.passes_host
            )
            self._headers_for = wanted
        return self._headers
