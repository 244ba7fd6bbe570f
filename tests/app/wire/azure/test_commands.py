"""The JSON commands of control channels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import BadAnswer, HeadTooLarge
from app.wire.azure.commands import (
    CONTROL_TEXT_LIMIT,
    RenewToken,
    Response,
    Unknown,
    encode_accept,
    encode_request,
    encode_request_address,
    parse_command,
)

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "commands.json").read_text())
PEER = ("10.0.0.1", 5000)


@pytest.mark.parametrize("case", VECTORS["parse"], ids=lambda case: case["name"])
def test_command_is_understood_refused_or_unknown(case: dict[str, Any]) -> None:
    """S41 among them."""
    if "bad" in case:
        with pytest.raises(BadAnswer) as refused:
            parse_command(case["text"])
        assert refused.value.request_id == case["bad"]
        return
    command = parse_command(case["text"])
    assert command == parse_command(case["text"].encode())
    if "response" in case:
        request_id, status, description, headers, has_body = case["response"]
        lines = [(name, value) for name, value in headers]
        assert command == Response(request_id, status, description, lines, has_body)
    elif "renew" in case:
        assert command == RenewToken(case["renew"])
    else:
        assert isinstance(command, Unknown)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"response":' * 5_000 + "1" + "}" * 5_000,
        '{"response":{"requestId":"1","statusCode":200,"x":' + "[" * 20_000 + "]" * 20_000 + "}}",
        "{" + ",".join(f'"{number}":0' for number in range(1_000_000)) + "}",
        "{" + ",".join(f'"{number}":0' for number in range(5_000)) + "}",
        b"\xff\xfe{}",
        '{"response":{"requestId":"\ud800"}}',
        " " * CONTROL_TEXT_LIMIT,
    ],
    ids=["deep list", "deep object", "deep member", "a million keys", "many keys", "no UTF-8", "surrogate", "large"],
)
def test_json_bomb_is_unknown(text: str | bytes) -> None:
    """S41."""
    assert isinstance(parse_command(text), Unknown)


def test_token_is_not_in_the_repr() -> None:
    assert "secret" not in repr(RenewToken("secret"))


@pytest.mark.parametrize("case", VECTORS["encode"], ids=lambda case: case["name"])
def test_command_has_exactly_the_members_that_sdks_expect(case: dict[str, Any]) -> None:
    address, id_ = case["address"], case["id"]
    if case["command"] == "accept":
        text = encode_accept(address, id_, case["headers"], tuple(case["peer"]))
    elif case["command"] == "request":
        text = encode_request(
            address, id_, case["target"], case["method"], case["headers"], case["has_body"], tuple(case["peer"])
        )
    else:
        text = encode_request_address(address, id_)
    assert json.loads(text) == case["json"]


@pytest.mark.parametrize("filler", ["x", '"', "\xe9"])
def test_command_stays_below_the_text_limit_after_escaping(filler: str) -> None:
    """C04"""
    headers = {"A": filler * (CONTROL_TEXT_LIMIT if filler == "x" else CONTROL_TEXT_LIMIT // 2)}
    with pytest.raises(HeadTooLarge):
        encode_accept("a", "i", headers, PEER)
    with pytest.raises(HeadTooLarge):
        encode_request("a", "i", "/p", "GET", headers, False, PEER)


def test_command_one_byte_below_the_limit_is_sent() -> None:
    room = CONTROL_TEXT_LIMIT - 1 - len(encode_accept("a", "i", {"A": ""}, PEER))
    assert len(encode_accept("a", "i", {"A": "x" * room}, PEER)) == CONTROL_TEXT_LIMIT - 1
    with pytest.raises(HeadTooLarge):
        encode_accept("a", "i", {"A": "x" * (room + 1)}, PEER)
