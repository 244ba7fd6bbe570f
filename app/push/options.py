"""What an operator sets about pushing; part of the settings (app/config.py)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.push.target import Reach, parse_networks


class Push(BaseModel):
    """Delivering events to sinks by HTTP."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow_http: bool | None = Field(
        default=None, description="Sinks may be reached without TLS. Left alone: on loopback, or as an emulator."
    )
    allowed_networks: tuple[str, ...] | None = Field(
        default=None,
        description="Networks beside the public ones in which sinks may lie, such as `10.0.0.0/8`. Left alone: this "
        "machine's own (`127.0.0.0/8`, `::1`) on loopback or as an emulator, otherwise none.",
    )
    connect_seconds: float = Field(default=5, gt=0, le=60, description="For a connection to a sink to stand.")
    total_seconds: float = Field(default=30, gt=0, le=300, description="For a sink to answer, connecting included.")
    concurrency: int = Field(default=4, ge=1, le=64, description="Most requests to one sink at once.")
    first_retry_seconds: float = Field(
        default=5,
        gt=0,
        description="Longest wait after a first failure; it doubles with each, and chance picks from nothing up to it.",
    )
    most_retry_seconds: float = Field(default=900, gt=0, description="Where that doubling ends.")
    subscriptions: int = Field(default=1000, ge=0, description="Most push subscriptions of one namespace.")

    def reach(self, *, is_for_development: bool) -> Reach:
        """Which sinks may be reached."""
        networks, allows_http = self.allowed_networks, self.allow_http
        if networks is None:
            networks = ("127.0.0.0/8", "::1") if is_for_development else ()
        return Reach(parse_networks(networks), is_for_development if allows_http is None else allows_http)

    @field_validator("allowed_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for text in value or ():
            try:
                parse_networks([text])
            except ValueError:
                raise ValueError("should be networks such as 10.0.0.0/8, without bits behind the mask") from None
        return value
