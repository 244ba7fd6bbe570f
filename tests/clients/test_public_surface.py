"""What `import fanway` offers; a change here is a change for every user."""

from __future__ import annotations

import fanway


def test_the_public_names_are_these() -> None:
    verbs = {"connect", "Relay"}
    values = {
        "Answer",
        "Asking",
        "ConnectionState",
        "Event",
        "ListenerAnswer",
        "Receipt",
        "Request",
        "Response",
        "Socket",
        "Subscription",
        "Summary",
        "Ticket",
    }
    errors = {name for name in fanway.__all__ if name.endswith("Error")}
    assert set(fanway.__all__) == verbs | values | errors
    assert all(issubclass(getattr(fanway, name), fanway.RelayError) for name in errors)
    assert {"publish", "publish_all", "subscribe", "listen", "ask", "ask_all", "open", "close"} <= set(
        vars(fanway.Relay)
    )
