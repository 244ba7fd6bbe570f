"""The engine's errors. The gateway maps them to statuses in `app.errors`."""

from __future__ import annotations


class FanoutError(ValueError):
    """Base of what the engine raises; the text says what was wrong and what to do."""


class InvalidAddress(FanoutError):
    """Not a concrete address by the grammar of `fanout.address`."""


class InvalidPattern(FanoutError):
    """Not a pattern by the grammar of `fanout.address`."""


class InvalidCursor(FanoutError):
    """Not of the form `epoch:offset`."""
