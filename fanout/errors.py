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


class InvalidFilter(FanoutError):
    """Not a filter by the dialects of `fanout.filters`, or one beyond their limits."""


class FiltersTooCostly(FanoutError):
    """One filter more than events of these addresses can be asked without being held up."""
