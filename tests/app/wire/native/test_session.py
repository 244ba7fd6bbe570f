"""The session protocol, by the vectors."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.closes import DRAINING
from app.errors import Overloaded, PayloadTooLarge, PeerWireError
from app.wire.frames import BINARY, TEXT, MessageReader
from app.wire.native import session_frames as session
from app.wire.native.receipt import PublishReceipt
from app.wire.native.session import (
    MAX_HEADER_BYTES,
    Ack,
    Credit,
    Message,
    Nack,
    Ping,
    Pub,
    Renew,
    SessionError,
    Sub,
    Unsub,
    parse_message,
    plain_address,
)
from fanout.event import Event
from fanout.history import Cursor

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "session.json").read_text())
OPCODES = {"text": TEXT, "binary": BINARY}
HERE = Cursor("0a1b2c3d", 5)


def named(vectors: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("vector", vectors, ids=[vector["name"] for vector in vectors])


def parse(message: str | bytes, opcode: int = TEXT, limit: int = 1000) -> Message:
    return parse_message(opcode, message.encode() if isinstance(message, str) else message, limit)


def shown(message: Message) -> dict[str, Any]:
    match message:
        case Sub(r, sub, pattern, start, policy, budget, filter, sharing):
            told = {"t": "sub", "r": r, "sub": sub, "pattern": pattern.text, "from": str(start)}
            told |= {} if policy is None else {"policy": policy}
            told |= {} if filter is None else {"filter": filter.value}
            told |= {} if sharing is None else {k: v for k, v in asdict(sharing).items() if v is not None}
            return told | ({} if budget is None else {"budget": budget})
        case Ack(r, sub, d):
            return {"t": "ack", "r": r, "sub": sub, "d": d}
        case Nack(r, sub, d, delay, reason):
            return {"t": "nack", "r": r, "sub": sub, "d": d, "delay": delay, "reason": reason}
        case Credit(r, sub, n):
            return {"t": "credit", "r": r, "sub": sub, "n": n}
        case Unsub(r, sub):
            return {"t": "unsub", "r": r, "sub": sub}
        case Pub(r, address, event):
            members = {"id": event.id, "ct": event.content_type, "is_text": event.is_text}
            told = {"t": "pub", "r": r, "address": address, **members, "payload": event.payload.decode()}
            told |= {"attributes": dict(event.attributes)} if event.attributes else {}
            terms = event.terms._asdict() if event.terms is not None else {}
            return told | {name: value for name, value in terms.items() if value is not None}
        case Renew(r, token):
            return {"t": "renew", "r": r, "token": token}
        case Ping(r):
            return {"t": "ping", "r": r}


def told(frame: bytes) -> dict[str, Any]:
    [(opcode, message)] = MessageReader(1 << 20, masked=False).feed(frame)
    assert opcode == TEXT
    header: dict[str, Any] = orjson.loads(message)
    assert next(iter(header)) == "t"
    return header


@named([vector for vector in VECTORS["client"] if "result" in vector])
def test_a_message_is_understood(vector: dict[str, Any]) -> None:
    assert shown(parse(vector["message"], OPCODES[vector["frame"]])) == vector["result"]


@named([vector for vector in VECTORS["client"] if "err" in vector])
def test_a_refused_message_is_answered_with_its_number(vector: dict[str, Any]) -> None:
    with pytest.raises(SessionError) as caught:
        parse(vector["message"], OPCODES[vector["frame"]])
    assert (caught.value.status, caught.value.r) == (vector["err"], vector["r"])


@named([vector for vector in VECTORS["client"] if "close" in vector])
def test_a_broken_message_ends_the_session(vector: dict[str, Any]) -> None:
    with pytest.raises(PeerWireError) as caught:
        parse(vector["message"], OPCODES[vector["frame"]])
    assert caught.value.close == vector["close"]


@named(VECTORS["events"])
def test_an_event_becomes_a_message(vector: dict[str, Any]) -> None:
    members = dict(vector["event"])
    is_text = "text" in members
    payload = members.pop("text").encode() if is_text else base64.b64decode(members.pop("base64"))
    event = Event(**members, payload=payload, is_text=is_text)
    encoding = session.SessionFrames("0a1b2c3d")
    frame = encoding.encode(event)
    if "d" in vector:
        about = (vector["n"], vector["d"], vector["deadline"])
        frame = session.encode_delivery(event, "0a1b2c3d", vector["sub"], *about)
    elif "sub" in vector:
        frame = session.SessionFrames("0a1b2c3d", vector["sub"]).encode(event)
        assert frame == session.encode_replayed(event, "0a1b2c3d", vector["sub"])
    expected = vector["message"].encode() if "message" in vector else base64.b64decode(vector["message_base64"])
    assert MessageReader(1 << 20, masked=False).feed(encoding.join([frame])) == [(OPCODES[vector["frame"]], expected)]


def test_a_header_that_asks_for_something_is_of_its_event_alone() -> None:
    for member in ('"ttl":1', '"not_before":1', '"retain":false', '"attrs":{"expirytime":"2026-01-31T12:00:00Z"}'):
        message = parse('{"t":"pub","address":"a",' + member + "}")
        assert isinstance(message, Pub)
        assert not message.may_recur
    keyed = parse('{"t":"pub","address":"a","key":"k"}')
    assert isinstance(keyed, Pub)
    assert keyed.may_recur


def test_a_header_may_fill_its_limit_and_no_more() -> None:
    start = '{"t":"ping","r":1,"x":"'
    fits = start + "x" * (MAX_HEADER_BYTES - len(start) - 2) + '"}'
    assert parse(fits) == Ping(1)
    with pytest.raises(PeerWireError) as caught:
        parse(fits + " ")
    assert caught.value.close == 1009


def test_a_text_message_with_a_payload_that_is_not_text_ends_the_session() -> None:
    message = b'{"t":"pub","address":"a"}\n\xff'
    assert parse(message, BINARY)
    with pytest.raises(PeerWireError) as caught:
        parse(message, TEXT)
    assert caught.value.close == 1007


def test_a_payload_beyond_the_limit_of_an_event_is_answered() -> None:
    with pytest.raises(SessionError) as caught:
        parse('{"t":"pub","r":5,"address":"a"}\n' + "x" * 11, limit=10)
    assert isinstance(caught.value.error, PayloadTooLarge)
    assert (caught.value.status, caught.value.r) == (413, 5)


def test_the_relay_speaks_first() -> None:
    frame = session.encode_hi(
        "s1", "default", max_event_bytes=10, max_subs=20, heartbeat_seconds=15, expires_at=1769860800.9
    )
    assert told(frame) == {
        "t": "hi",
        "session": "s1",
        "namespace": "default",
        "max_event": 10,
        "max_subs": 20,
        "heartbeat": 15,
        "exp": 1769860800,
    }


def test_answers_carry_the_number_of_their_question() -> None:
    receipt = PublishReceipt("e1", "0a1b2c3d:5", 2, 1, 1, 0)
    assert told(session.encode_subscribed(1, 7, "orders", HERE, is_behind=False)) == {
        "t": "ok",
        "r": 1,
        "sub": 7,
        "relay": "orders",
        "cursor": "0a1b2c3d:5",
    }
    assert told(session.encode_ok(2, 7)) == {"t": "ok", "r": 2, "sub": 7}
    assert told(session.encode_published(3, receipt)) == {"t": "ok", "r": 3, **receipt.members()}
    assert told(session.encode_renewed(4, 99.9)) == {"t": "ok", "r": 4, "exp": 99}
    assert told(session.encode_pong(5)) == {"t": "pong", "r": 5}


def test_a_gap_says_for_whom_when_it_is_not_for_all() -> None:
    gap = session.encode_session_gap("orders", HERE, Cursor("0a1b2c3d", 9), "slow")
    assert told(gap) == {"t": "gap", "relay": "orders", "from": "0a1b2c3d:5", "to": "0a1b2c3d:9", "why": "slow"}
    assert told(session.encode_session_gap("orders", HERE, HERE, "ahead", 7))["sub"] == 7


def test_a_heartbeat_tells_the_position() -> None:
    assert told(session.encode_cursor("orders", HERE)) == {"t": "cur", "relay": "orders", "c": "0a1b2c3d:5"}
    marked = session.SessionFrames("0a1b2c3d", 7)
    assert told(marked.position("orders", HERE)) == {"t": "cur", "relay": "orders", "sub": 7, "c": "0a1b2c3d:5"}
    assert told(marked.gap("orders", HERE, HERE, "slow"))["sub"] == 7
    assert marked.ready("orders", HERE) == b""


def test_an_error_says_what_when_and_under_which_name() -> None:
    error = Overloaded("Too much.", retry_after=3)
    assert told(session.encode_err(error, "id_G0", 5)) == {
        "t": "err",
        "r": 5,
        "status": 503,
        "code": "Overloaded",
        "message": "Too much.",
        "tracking": "id_G0",
        "retry_after": 3,
    }
    assert "r" not in told(session.encode_err(error, "id_G0", sub=7))


def test_a_goodbye_says_whether_to_return() -> None:
    bye = told(session.encode_session_bye(DRAINING))
    assert bye == {"t": "bye", "code": 1012, "reason": DRAINING.reason, "return": True, "after": 0}


@given(
    st.sampled_from([",", ", "]),
    st.sampled_from([":", ": "]),
    st.one_of(
        st.text(max_size=40),
        st.lists(st.text("abZ09._~-:@$*%/\\\"'é", max_size=6), max_size=5).map("/".join),
        st.lists(st.text("a9.", min_size=1, max_size=200), max_size=40).map("/".join),
    ),
)
def test_an_address_read_off_a_plain_header_is_the_one_that_parsing_gives(comma: str, colon: str, text: str) -> None:
    header = json.dumps({"t": "pub", "address": text}, separators=(comma, colon)).encode()
    address = plain_address(header)
    if address is not None:
        message = parse(header)
        assert isinstance(message, Pub)
        assert message.address == address


@pytest.mark.parametrize(
    "header",
    [
        '{"t":"pub","address":"a/b","r":1}',
        '{"t":"pub","address":"a/b","id":"x"}',
        '{"t":"pub","address":"-/x"}',
        '{"t":"pub","address":"a/../b"}',
        '{"t":"pub","address":"a//b"}',
        '{"t":"pub","address":"a/b/"}',
        '{"t":"pub","address":"a\\u002fb"}',
        '{"t":"pub","address":"a"}x',
        '{"t":"pub","address":"' + "/".join(["a" * 100] * 6) + '"}',
    ],
)
def test_a_header_that_says_more_or_is_not_plain_is_parsed(header: str) -> None:
    assert plain_address(header.encode()) is None


@pytest.mark.parametrize("header", ['{"t":"pub","address":"a/b"}', '{"t": "pub", "address": "a/b"}'])
def test_the_usual_spellings_are_plain(header: str) -> None:
    assert plain_address(header.encode()) == "a/b"
