"""What the agent beside a `net.tcp` service does to a stream: its own address becomes the via."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fanway.errors import ConfigurationError
from fanway.nettcp_wire import VIA_BYTES, ViaRewriter
from fanway.targets import NET_TCP_PORT, NetTcpTarget, parse_target

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "nmf.json").read_text())
BEFORE = bytes.fromhex("0001000102")
AFTER = bytes.fromhex("03080c0601ff")
SHORT, LONG = "net.tcp://h/b", "net.tcp://h/" + "a" * 300


def sized(text: str) -> bytes:
    """A via record of up to 16383 bytes."""
    raw = text.encode()
    size = bytes([len(raw)]) if len(raw) < 128 else bytes([len(raw) & 127 | 128, len(raw) >> 7])
    return b"\x02" + size + raw


@pytest.mark.parametrize("case", VECTORS["rewritten"], ids=lambda case: f"{case['target']} {case['offered']}")
def test_a_session_gets_the_services_address_as_its_via_if_that_has_a_path(case: dict[str, Any]) -> None:
    target = parse_target(case["target"], case["address"])
    assert isinstance(target, NetTcpTarget)
    alter = target.alteration(case["offered"])
    assert (alter and alter(BEFORE + sized("net.tcp://relay/any") + AFTER)) == (
        case["becomes"] and BEFORE + sized(case["becomes"]) + AFTER
    )


@pytest.mark.parametrize(
    ("old", "new"), [(SHORT, LONG), (LONG, SHORT), (SHORT, SHORT)], ids=["longer", "shorter", "same"]
)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_the_via_is_replaced_in_whatever_reads_it_comes(old: str, new: str, step: int) -> None:
    stream, rewriter = BEFORE + sized(old) + AFTER, ViaRewriter(new)
    passed = [rewriter.feed(stream[at : at + step]) for at in range(0, len(stream), step)]
    assert b"".join(passed) == BEFORE + sized(new) + AFTER


@pytest.mark.parametrize(
    "stream",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        BEFORE + AFTER,
        BEFORE + b"\x02\xff\xff\xff\xff\xff\x01",
        BEFORE + sized("a" * (VIA_BYTES + 1)),
    ],
    ids=["no preamble", "no via", "an endless size", "a via too long"],
)
def test_what_is_no_preamble_is_passed_on_untouched(stream: bytes) -> None:
    rewriter = ViaRewriter("net.tcp://other")
    assert b"".join(rewriter.feed(stream[at : at + 1]) for at in range(len(stream))) == stream


def test_only_the_preamble_that_a_stream_begins_with_is_looked_at() -> None:
    rewriter = ViaRewriter("net.tcp://other")
    rewriter.feed(BEFORE + sized("net.tcp://h/a"))
    assert rewriter.feed(BEFORE + sized("net.tcp://h/a")) == BEFORE + sized("net.tcp://h/a")


def test_the_port_of_the_scheme_is_808() -> None:
    assert NET_TCP_PORT == 808
    assert isinstance(parse_target("net.tcp://localhost/Calc", "calc"), NetTcpTarget)


@pytest.mark.parametrize(
    "text", ["net.tcp://", "net.tcp:///x", "net.tcp://h:x", "net.tcp://h:99999", "net.tcp://h/a?b"]
)
def test_what_is_no_net_tcp_target_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"net\.tcp://"):
        parse_target(text, "calc")
