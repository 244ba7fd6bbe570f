"""On what terms a relay is served: its own where it has any, else those of the settings. Times are in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.namespace import Profile, Relay

if TYPE_CHECKING:
    from app.edge.context import Context


def accept_seconds(context: Context, relay: Relay) -> float:
    """How long a sender waits for its listener to come to a rendezvous."""
    own = relay.deadlines.accept_seconds
    return context.settings.deadlines.accept_seconds if own is None else own


def response_seconds(context: Context, relay: Relay) -> float:
    """How long a sender waits for its request's answer to begin."""
    own = relay.deadlines.response_seconds
    return context.settings.deadlines.response_seconds if own is None else own


def idle_seconds(context: Context, relay: Relay) -> float:
    """How long it waits for more of an answer that has begun."""
    own = relay.deadlines.idle_seconds
    return context.settings.deadlines.idle_seconds if own is None else own


def channel_seconds(context: Context, relay: Relay) -> float:
    """How long a control channel may live."""
    own = context.settings.deadlines.channel_seconds if relay.profile is not Profile.NATIVE else 0
    return own or float("inf")


def most_listeners(context: Context, relay: Relay) -> int | None:
    """How many may listen on the relay at a time; None is no limit."""
    if relay.max_listeners is not None:
        return relay.max_listeners
    limits = context.settings.limits
    return (limits.native_listeners if relay.profile is Profile.NATIVE else limits.listeners) or None
