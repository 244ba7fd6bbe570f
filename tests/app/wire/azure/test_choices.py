"""What the documentation leaves open: one table, and a user's own choice in place of each."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.closes import CLOSES, ENTITY_GONE, NORMAL
from app.errors import (
    AcceptTimeout,
    BadAnswer,
    ClaimMissing,
    ListenerGone,
    NoListener,
    NoListenerAdmitted,
    RelayError,
    SubProtocolMismatch,
    TokenExpired,
    TooManyListeners,
    Unauthorized,
)
from app.wire.azure.choices import CHOICES, SENTENCES, Choices
from app.wire.azure.exchange import request_headers, request_target
from app.wire.azure.handshake import Action, parse_handshake, token_from

DEFAULTS: list[tuple[type[RelayError], int, int]] = [
    (NoListener, 404, 404),
    (NoListenerAdmitted, 404, 404),
    (AcceptTimeout, 404, 504),
    (ListenerGone, 502, 502),
    (BadAnswer, 502, 502),
    (SubProtocolMismatch, 502, 502),
    (TooManyListeners, 403, 403),
    (ClaimMissing, 403, 403),
    (Unauthorized, 401, 401),
    (TokenExpired, 401, 401),
]


@pytest.mark.parametrize(("kind", "socket", "request_"), DEFAULTS)
def test_each_error_has_its_status_for_a_socket_and_for_a_request(
    kind: type[RelayError], socket: int, request_: int
) -> None:
    error = kind("It is so.")
    assert (CHOICES.status_of(error, True), CHOICES.status_of(error, False)) == (socket, request_)


def test_a_user_may_choose_another_status_other_words_and_another_close_code() -> None:
    chosen = Choices(no_listener_request=502, no_listener_words="Nobody is in.", close_deleted=4001)
    error = NoListener(SENTENCES[NoListener])
    assert (chosen.status_of(error, True), chosen.status_of(error, False)) == (404, 502)
    assert chosen.words_of(error) == "Nobody is in."
    assert chosen.close_of(ENTITY_GONE) == ENTITY_GONE._replace(code=4001)
    assert chosen.close_of(NORMAL) is NORMAL


def test_the_default_close_codes_are_those_of_the_errors_page() -> None:
    assert [CHOICES.close_of(close) for close in CLOSES.values()] == list(CLOSES.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"no_listener_socket": 200},
        {"bad_answer": 600},
        {"close_deleted": 1006},
        {"close_deleted": 1015},
        {"no_listener_words": ""},
        {"no_listener_words": "a\r\nSet-Cookie: b"},
        {"typing_error": 1},
    ],
)
def test_what_could_not_stand_on_the_wire_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Choices(**wrong)  # type: ignore[arg-type]


def test_the_place_of_the_token_that_counts_is_a_choice() -> None:
    headers, query = [("ServiceBusAuthorization", "of the header")], "sb-hc-token=of+the+query"
    assert token_from(headers, query) == ("of the header", False)
    assert token_from(headers, query, Choices(header_before_query=False)) == ("of the query", False)
    assert token_from(headers, "a=1", Choices(header_before_query=False)) == ("of the header", False)


def test_an_action_left_out_and_a_bare_rejection_are_choices() -> None:
    assert parse_handshake("/$hc/a", "").action is Action.CONNECT
    with pytest.raises(RelayError, match="sb-hc-action must be one of"):
        parse_handshake("/$hc/a", "", Choices(missing_action_connects=False))
    bare = "sb-hc-action=accept&statusCode=403&statusDescription=no"
    assert parse_handshake("/$hc/a", bare).rejection == (403, "no")
    assert parse_handshake("/$hc/a", bare, Choices(bare_rejection=False)).rejection is None


def test_a_path_as_sent_and_a_request_without_host_are_choices() -> None:
    assert request_target("/a%20b%41%2F", "x=%20") == "/a bA%2F?x=%20"
    assert request_target("/a%20b%41%2F", "x=%20", decodes_path=False) == "/a%20b%41%2F?x=%20"
    headers = [("Host", "h"), ("X", "1")]
    assert request_headers(headers, False, "ns").keys() == {"Host", "X", "Via"}
    assert request_headers(headers, False, "ns", passes_host=False).keys() == {"X", "Via"}
