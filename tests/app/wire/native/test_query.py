"""The events door's query: understood, or refused by name."""

from __future__ import annotations

import pytest

from app.errors import BadRequest, Unsupported
from app.wire.native.query import Query, Transport, choose_socket, choose_transport, parse_query, parse_start
from app.wire.native.sharing import Sharing
from app.wire.native.terms import Terms
from fanout.errors import InvalidFilter
from fanout.filters import parse_filter
from fanout.history import Cursor


def test_an_empty_query_leaves_everything_to_the_relay() -> None:
    assert parse_query("", Transport.SSE) == Query()


def test_all_options_of_an_event_stream_are_understood() -> None:
    query = parse_query("from=0a1b2c3d%3A42&policy=drop&budget=65536&as=cloudevent", Transport.SSE)
    assert query == Query(start=Cursor("0a1b2c3d", 42), policy="drop", budget=65536, shape="cloudevent")


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("ttl=30", Terms(ttl_seconds=30)),
        ("ttl=1.5s", Terms(ttl_seconds=1.5)),
        ("ttl=2h", Terms(ttl_seconds=7200)),
        ("not-before=10m&retain=false", Terms(delay_seconds=600, retain=False)),
        ("not-before=0", Terms(delay_seconds=0)),
        ("not-before=2026-01-31T12:00:00.5Z&ttl=1d", Terms(not_before=1769860800.5, ttl_seconds=86_400)),
        ("retain=true", Terms(retain=True)),
    ],
)
def test_what_a_publisher_asks_for_is_understood(query: str, terms: Terms) -> None:
    assert parse_query(query, Transport.POST).terms == terms


def test_a_key_is_understood() -> None:
    assert parse_query("key=a%20b", Transport.POST) == Query(key="a b")


@pytest.mark.parametrize(
    "query",
    [
        "ttl=",
        "ttl=0",
        "ttl=-1",
        "ttl=1w",
        "ttl=366d",
        "ttl=2026-01-31T12:00:00Z",
        "not-before=tomorrow",
        "not-before=2026-02-30T12:00:00Z",
        "not-before=-5",
        "retain=",
        "retain=yes",
        "key=",
        "key=" + "k" * 129,
        "key=a%0Ab",
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_name(query: str) -> None:
    with pytest.raises(BadRequest, match=query.partition("=")[0]):
        parse_query(query, Transport.POST)


@pytest.mark.parametrize("option", ["ttl=1", "not-before=1", "retain=true"])
@pytest.mark.parametrize("transport", [Transport.SOCKET, Transport.CLOUDEVENTS, Transport.SSE, Transport.SESSION])
def test_where_the_query_is_not_of_one_publish_it_says_who_can(option: str, transport: Transport) -> None:
    with pytest.raises(Unsupported, match=r"by: POST.*cloudevents\.json or fanway\.v1"):
        parse_query(option, transport)


@pytest.mark.parametrize(
    ("query", "transport", "sharing", "most"),
    [
        ("", Transport.LONG_POLL, None, 100),
        ("group=g", Transport.SSE, Sharing(group="g"), 100),
        ("group=g&key=subject", Transport.CLOUDEVENTS, Sharing(group="g", key="subject"), 100),
        ("durable=d&max=7", Transport.LONG_POLL, Sharing(durable="d"), 7),
        (
            "durable=d&key=k&ack-wait=2.5&max-deliveries=0&max-in-flight=9&dead-letter=dead/x",
            Transport.LONG_POLL,
            Sharing(durable="d", key="k", ack_wait=2.5, max_deliveries=0, max_in_flight=9, dead_letter="dead/x"),
            100,
        ),
    ],
)
def test_what_is_said_of_sharing(query: str, transport: Transport, sharing: Sharing | None, most: int) -> None:
    parsed = parse_query(query, transport)
    assert (parsed.sharing, parsed.most) == (sharing, most)


@pytest.mark.parametrize(
    "query",
    [
        "max=5",
        "durable=d&max=0",
        "durable=d&max=1001",
        "durable=d&ack-wait=x",
        "durable=d&ack-wait=0",
        "durable=d&max-deliveries=1.5",
        "durable=d&from=retained",
        "durable=",
        "durable=a/b",
        "key=k",
        "ack-wait=5",
    ],
)
def test_what_cannot_be_said_of_sharing(query: str) -> None:
    with pytest.raises((BadRequest, Unsupported)):
        parse_query(query, Transport.LONG_POLL)


def test_azure_parameters_are_ignored_in_any_case() -> None:
    assert parse_query("sb-hc-token=x&SB-HC-Id=y&sb-hc-token=z", Transport.POST) == Query()


def test_unknown_options_are_all_named() -> None:
    with pytest.raises(BadRequest, match="'colour', 'size'"):
        parse_query("size=1&colour=2&from=now", Transport.SSE)


@pytest.mark.parametrize(
    ("option", "transport", "able"),
    [
        ("from=now", Transport.SOCKET, "server-sent events"),
        ("policy=drop", Transport.SOCKET, "gap notices"),
        ("policy=catch-up", Transport.SOCKET, "gap notices"),
        ("wait=1", Transport.SSE, "long poll"),
        ("mode=both", Transport.NDJSON, "bare WebSocket"),
        ("as=data", Transport.NDJSON, "server-sent events"),
        ("budget=1", Transport.LONG_POLL, "NDJSON"),
        ("filter=[]", Transport.POST, "bare WebSocket"),
        ("from=start", Transport.POST, "long poll"),
        ("policy=close", Transport.SESSION, "NDJSON"),
    ],
)
def test_an_option_that_a_transport_cannot_honour_names_those_that_can(
    option: str, transport: Transport, able: str
) -> None:
    with pytest.raises(Unsupported, match=able) as caught:
        parse_query(option, transport)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "query",
    [
        *("from=", "from=1", "from=0A1B2C3D:1", "from=0a1b2c3d:-1", "from=2026-02-30T00:00:00Z"),
        *("from=2026-01-01T00:00:00", "from=2026-01-01T00:00:00%2B01:00", "policy=open", "as=xml"),
        *("budget=0", "budget=-1", "budget=1e3", "budget=" + "9" * 40),
        *("filter=", "filter=x", "filter={}", "filter=null", "filter=[", "filter=" + "[" * 5000),
        *("from=now&from=now", "from=%FF", "&".join(f"a{n}=1" for n in range(65))),
    ],
)
def test_malformed_options_are_bad_requests(query: str) -> None:
    with pytest.raises((BadRequest, InvalidFilter)):
        parse_query(query, Transport.SSE)


def test_a_filter_is_json_and_an_empty_list_asks_nothing() -> None:
    text = "%7B%22exact%22%3A%7B%22type%22%3A%22a%2Bb%22%7D%7D"
    for transport in set(Transport) - {Transport.POST, Transport.SESSION}:
        assert parse_query(f"filter={text}", transport).filter == parse_filter({"exact": {"type": "a+b"}})
    assert parse_query("filter=[]", Transport.SSE) == Query()


def test_one_may_begin_with_what_is_retained() -> None:
    assert parse_query("from=retained", Transport.LONG_POLL).start == "retained"


def test_a_time_is_read_as_unix_seconds() -> None:
    assert parse_start("1970-01-01T00:01:00.5Z") == 60.5


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("2s", 2.0), ("0.25", 0.25), ("60", 60.0)])
def test_a_wait_is_seconds(text: str, seconds: float) -> None:
    assert parse_query(f"wait={text}", Transport.LONG_POLL).wait_seconds == seconds


@pytest.mark.parametrize("text", ["", "-1", "61", "nan", "inf", "1m", "1e1"])
def test_a_wait_out_of_bounds_is_a_bad_request(text: str) -> None:
    with pytest.raises(BadRequest, match="from 0 to 60"):
        parse_query(f"wait={text}", Transport.LONG_POLL)


@pytest.mark.parametrize("mode", ["subscribe", "publish", "both"])
def test_a_bare_socket_has_three_modes(mode: str) -> None:
    assert parse_query(f"mode={mode}", Transport.SOCKET).mode == mode


@pytest.mark.parametrize(
    ("accept", "query", "transport"),
    [
        (["text/event-stream"], "", Transport.SSE),
        (["TEXT/Event-Stream; q=1"], "", Transport.SSE),
        (["text/html, application/x-ndjson;q=0.5"], "", Transport.NDJSON),
        (["text/html", "application/ndjson"], "", Transport.NDJSON),
        (["*/*"], "wait=5", Transport.LONG_POLL),
        ([], "wait", Transport.LONG_POLL),
        (["text/event-stream"], "wait=5", Transport.SSE),
    ],
)
def test_accept_and_wait_choose_the_transport(accept: list[str], query: str, transport: Transport) -> None:
    assert choose_transport(accept, query) is transport


@pytest.mark.parametrize("accept", [[], ["*/*"], ["text/html"]])
def test_a_get_that_does_not_say_how_is_told_the_choices(accept: list[str]) -> None:
    with pytest.raises(Unsupported, match=r"text/event-stream.*x-ndjson.*wait.*WebSocket") as caught:
        choose_transport(accept, "")
    assert caught.value.status == 406


@pytest.mark.parametrize(
    ("offered", "has_address", "transport"),
    [
        ([], True, Transport.SOCKET),
        (["chat"], True, Transport.SOCKET),
        (["chat", "cloudevents.json"], True, Transport.CLOUDEVENTS),
        (["fanway.v1"], False, Transport.SESSION),
    ],
)
def test_the_sub_protocol_chooses_the_kind_of_socket(
    offered: list[str], has_address: bool, transport: Transport
) -> None:
    assert choose_socket(offered, has_address) is transport


@pytest.mark.parametrize(
    ("offered", "has_address"), [([], False), (["cloudevents.json"], False), (["fanway.v1"], True)]
)
def test_a_session_has_no_address_and_all_else_has_one(offered: list[str], has_address: bool) -> None:
    with pytest.raises(BadRequest, match=r"fanway\.v1"):
        choose_socket(offered, has_address)
