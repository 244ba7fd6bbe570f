"""Who has asked a listener something and awaits its answer, as the listener's connections see him."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from app.errors import RelayError
from app.wire.azure.commands import Response

if TYPE_CHECKING:
    from app.edge.control import ControlChannel
    from app.edge.request_socket import RequestSocket


class Asker(ABC):
    """One request to one listener: what its control channel, and its socket for this request, tell of it."""

    __slots__ = ()

    id: str  # by which the answer names the request
    is_over: bool
    listener: ControlChannel

    @abstractmethod
    def on_undelivered(self, body: bytes | None) -> None:
        """The listener's channel ended before anything of the request was written to it."""

    @abstractmethod
    def on_listener_gone(self) -> None:
        """The listener is lost, or hung up and did not come."""

    @abstractmethod
    def on_rendezvous(self, socket: RequestSocket) -> None:
        """The listener opened the request's address: to fetch it, or to answer there."""

    @abstractmethod
    def on_answer(self, answer: Response) -> None:
        """The answer's head came; its body follows if it says so."""

    @abstractmethod
    def on_answer_body(self, data: bytes, is_end: bool) -> None:
        """Some of the answer's body."""

    @abstractmethod
    def on_answer_fault(self, error: RelayError) -> None:
        """The answer will not come, or not wholly."""

    @abstractmethod
    def pause_body(self) -> None:
        """The listener reads the request's body too slowly."""

    @abstractmethod
    def resume_body(self) -> None:
        """The listener has caught up."""
