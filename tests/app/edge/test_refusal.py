"""How an error looks to a peer."""

from __future__ import annotations

import logging
import re
from collections import Counter
from types import SimpleNamespace
from typing import cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.edge.context import Context
from app.edge.refusal import Door, explain, refusal, refused_handshake
from app.errors import BadRequest, Overloaded, Rejected, Unauthorized
from app.wire.azure.choices import CHOICES
from app.wire.http import Head, UpgradeRequired


def context() -> Context:
    return cast(Context, SimpleNamespace(node=3, counters=Counter(), settings=SimpleNamespace(azure=CHOICES)))


def head(path: str = "/$hc/hyco/x") -> Head:
    made = Head("GET", path, "1.1", [])
    made.host = "relay.example:443"
    return made


def test_azures_door_speaks_in_the_reason_phrase_and_in_xml() -> None:
    status, reason, headers, body = refusal(context(), head(), BadRequest("No <such> thing."), Door.AZURE, "id_G3")
    assert status == 400
    assert reason.startswith("No <such> thing. TrackingId:id_G3, SystemTracker:sb://relay.example:443/hyco/x, Time")
    assert ("TrackingId", "id_G3") in headers
    assert body.startswith(b"<Error><Code>400</Code><Detail>No &lt;such&gt; thing. TrackingId:id_G3, ")


def test_our_own_doors_speak_json_and_name_the_scheme_of_tokens() -> None:
    status, _, headers, body = refusal(context(), head("/-/events/a"), Unauthorized("No."), Door.OURS, "id_G3")
    shown = orjson.loads(body)
    assert shown == {"error": {"status": 401, "code": "Unauthorized", "message": "No.", "tracking_id": "id_G3"}}
    assert status == 401
    assert {"WWW-Authenticate": "SharedAccessSignature", "Content-Type": "application/json"}.items() <= dict(
        headers
    ).items()


def test_what_a_client_should_do_stands_in_the_headers() -> None:
    assert ("Retry-After", "5") in refusal(context(), None, Overloaded("Full.", retry_after=5), Door.AZURE)[2]
    assert ("Sec-WebSocket-Version", "13") in refusal(context(), None, UpgradeRequired("No."), Door.AZURE)[2]


def test_each_refusal_has_a_tracking_id_of_its_own_and_is_counted() -> None:
    shared = context()
    ids = {dict(refusal(shared, head(), BadRequest("No."), Door.AZURE)[2])["TrackingId"] for _ in range(10)}
    assert len(ids) == shared.counters["refusals"] == 10
    assert all(re.fullmatch(r"[0-9a-f-]{36}_G3", id) for id in ids)


def test_a_rejection_keeps_the_listeners_words() -> None:
    """P06."""
    answer = refused_handshake(context(), head(), Rejected("Nö, danke", status=403), Door.AZURE)
    assert answer.startswith("HTTP/1.1 403 Nö, danke\r\n".encode("latin-1"))
    assert answer.split(b"\r\n\r\n")[0].endswith(b"\r\nConnection: close")


@given(st.text(max_size=100), st.text(max_size=100))
def test_whatever_is_said_one_answer_of_whole_lines_is_on_the_wire(words: str, path: str) -> None:
    """S34, S35."""
    for error in (BadRequest(words), Rejected(words, status=400)):
        for door in Door:
            lines, _, body = refused_handshake(context(), head(path), error, door).partition(b"\r\n\r\n")
            assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", lines.replace(b"\r\n", b""))
            assert f"Content-Length: {len(body)}".encode() in lines
    assert explain(head(path), words, "id").isprintable()


def test_a_log_line_is_one_line_without_the_query(caplog: pytest.LogCaptureFixture) -> None:
    """S35."""
    caplog.set_level(logging.INFO)
    made = Head("GET", "/a\u202eb?sb-hc-token=secret", "1.1", [])
    refusal(context(), made, BadRequest("words\nwith\x1b[31m colour"), Door.AZURE)
    (record,) = caplog.records
    assert record.message.isprintable()
    assert record.message.isascii()
    assert "secret" not in record.message
