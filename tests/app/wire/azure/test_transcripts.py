"""The kept conversations of SDKs: whatever else was said, the wire's rules hold in each of them."""

from __future__ import annotations

import ipaddress
import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.wire.azure.commands import Response, parse_command

FOLDER = Path(__file__).parents[3] / "vectors" / "dotnet"
CONVERSATIONS = sorted(FOLDER.glob("*.json"))


def of(path: Path) -> list[dict[str, Any]]:
    connections: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["connections"]
    return connections


every_conversation = pytest.mark.parametrize("path", CONVERSATIONS, ids=[path.stem for path in CONVERSATIONS])


@every_conversation
def test_upgrades_are_answered_with_the_exact_headers_and_nothing_that_was_not_asked_for(path: Path) -> None:
    """C01, C09, C15"""
    for connection in of(path):
        for said in connection["relay"]:
            if isinstance(said, list) and said[0].startswith("HTTP/1.1 101"):
                names = [line.partition(":")[0].lower() for line in said[1:]]
                assert said.count("Connection: Upgrade") == said.count("Upgrade: websocket") == 1
                assert "sec-websocket-extensions" not in names
                offered = any(line.startswith("Sec-WebSocket-Protocol") for line in connection["client"][0])
                assert ("sec-websocket-protocol" in names) is offered


@every_conversation
def test_every_command_has_the_shape_that_all_sdks_demand(path: Path) -> None:
    """C04, C05"""
    for connection in of(path):
        if connection["connection"] not in ("control", "request"):
            continue
        for said in connection["relay"]:
            if not isinstance(said, list) or said[0] != "text":
                continue
            [(name, command)] = json.loads(said[1].replace("{port}", "1")).items()
            assert name in ("accept", "request")
            assert re.match(r"\{id\d+\}", command["id"])
            assert f"sb-hc-id={command['id']}" in command["address"]
            if name == "request" and "method" not in command:
                assert command.keys() == {"address", "id"}
                continue
            ipaddress.ip_address(command["remoteEndpoint"]["address"])
            assert isinstance(command["remoteEndpoint"]["port"], int)
            headers = command["connectHeaders" if name == "accept" else "requestHeaders"]
            assert {type(value) for value in headers.values()} == {str}
            assert "Host" in headers
            if name == "accept":
                assert {"Sec-WebSocket-Key", "Sec-WebSocket-Version"} <= headers.keys()
            else:
                assert isinstance(command["body"], bool)


@every_conversation
def test_answers_of_the_sdk_are_understood(path: Path) -> None:
    for connection in of(path):
        for said in connection["client"]:
            if isinstance(said, list) and said[0] == "text" and said[1].startswith('{"response"'):
                assert isinstance(parse_command(said[1].encode()), Response)


def test_there_are_conversations() -> None:
    assert len(CONVERSATIONS) >= 20
