"""The words of refusals."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import AcceptTimeout, EndpointNotFound, NoListener, Overloaded, RelayError, Unauthorized
from app.wire.azure.refusal import close_reason, request_tracker, websocket_tracker, words, xml_body


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (EndpointNotFound("nothing at x"), "Endpoint does not exist."),
        (NoListener("nobody at x"), "There are no listeners connected for the endpoint."),
        (
            AcceptTimeout("too late"),
            "None of the connected listeners accepted the connection within the allowed timeout.",
        ),
        (Unauthorized("The token has an invalid signature."), "The token has an invalid signature."),
        (Overloaded("Come back later."), "Come back later."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, RelayError) else "",
)
def test_refusals_use_the_words_that_clients_know(error: RelayError, sentence: str) -> None:
    assert words(error) == sentence


def test_trackers_name_host_and_path() -> None:
    assert websocket_tracker("ns.test", "hyco") == "sb://ns.test/hyco"
    assert request_tracker("ns.test", "hyco") == "ns.test:hyco"


@given(st.text(max_size=200))
def test_close_reason_is_the_longest_prefix_that_fits(text: str) -> None:
    reason = close_reason(text)
    assert text.startswith(reason)
    assert len(reason.encode()) <= 123
    assert reason == text or len(text[: len(reason) + 1].encode()) > 123


def test_close_reason_is_never_cut_inside_a_character() -> None:
    assert close_reason("a" * 122 + "é") == "a" * 122


@given(st.text())
def test_xml_body_is_well_formed_whatever_the_sentence(sentence: str) -> None:
    root = ElementTree.fromstring(xml_body(404, sentence))
    assert (root.tag, root.findtext("Code")) == ("Error", "404")


def test_xml_body_escapes_markup() -> None:
    assert xml_body(404, "a <b> & c") == b"<Error><Code>404</Code><Detail>a &lt;b&gt; &amp; c</Detail></Error>"
