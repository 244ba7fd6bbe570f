"""Targets of `fanway listen --to`: how they are spelled, and what they get."""

from __future__ import annotations

import pytest

from fanway.errors import ConfigurationError
from fanway.targets import HttpTarget, StreamTarget, parse_target


@pytest.mark.parametrize("text", [":3000", "3000", "localhost:3000", "[::1]:3000", "http://h/base", "https://h"])
async def test_an_http_target_is_understood(text: str) -> None:
    target = parse_target(text, "shop")
    assert isinstance(target, HttpTarget)
    await target.close()


@pytest.mark.parametrize("text", ["tcp://127.0.0.1:5432", "unix:/run/x.sock", "unix:///run/x.sock"])
def test_a_stream_target_is_understood(text: str) -> None:
    assert isinstance(parse_target(text, "db"), StreamTarget)


@pytest.mark.parametrize(
    "text", ["", "shop", "tcp://h", "tcp://:1", "ftp://h", "http://", "tcp://h:x", "unix:", ":99999", "h:0"]
)
def test_what_is_no_target_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ConfigurationError, match="localhost:3000"):
        parse_target(text, "shop")
