"""Control channel commands as the protocol guide shows them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanway.listener_wire import (
    AcceptCommand,
    CommandError,
    RequestCommand,
    encode_renewal,
    encode_response,
    listen_url,
    parse_command,
    reject_url,
)

REMOTE = {"address": "10.0.0.1", "port": 4711}


def test_an_accept_is_understood() -> None:
    text = json.dumps(
        {
            "accept": {
                "address": "wss://h/$hc/x?sb-hc-action=accept",
                "id": "i",
                "connectHeaders": {"Host": "h"},
                "remoteEndpoint": REMOTE,
            }
        }
    )
    assert parse_command(text) == AcceptCommand(
        "wss://h/$hc/x?sb-hc-action=accept", "i", {"Host": "h"}, "10.0.0.1:4711"
    )


def test_a_full_request_is_understood() -> None:
    members = {"requestTarget": "/x?a=1", "method": "POST", "requestHeaders": {"A": "b"}, "body": True}
    command = parse_command(
        json.dumps({"request": {"address": "wss://h", "id": "i", "remoteEndpoint": REMOTE, **members}})
    )
    assert command == RequestCommand("wss://h", "i", "POST", "/x?a=1", {"A": "b"}, "10.0.0.1:4711", True)


def test_an_address_only_request_has_no_method() -> None:
    command = parse_command('{"request":{"address":"wss://h","id":"i"}}')
    assert isinstance(command, RequestCommand)
    assert command.method is None


def test_a_command_of_a_later_version_is_ignored() -> None:
    assert parse_command('{"sing":{}}') is None


def test_a_rendezvous_url_is_not_shown() -> None:
    assert "secret" not in repr(AcceptCommand("wss://h?secret", "i", {}, ""))


@given(
    st.one_of(
        st.text(),
        st.recursive(
            st.none() | st.text(), lambda c: st.dictionaries(st.sampled_from(["accept", "request", "address", "id"]), c)
        ).map(json.dumps),
    )
)
def test_any_text_is_a_command_or_refused(text: str) -> None:
    try:
        parse_command(text)
    except CommandError:
        pass


def test_a_response_has_the_guides_members() -> None:
    assert json.loads(encode_response("i", 200, "OK", {"A": "b"}, True)) == {
        "response": {
            "requestId": "i",
            "statusCode": 200,
            "statusDescription": "OK",
            "responseHeaders": {"A": "b"},
            "body": True,
        }
    }


def test_a_renewal_carries_the_plain_token() -> None:
    assert json.loads(encode_renewal("t&u")) == {"renewToken": {"token": "t&u"}}


def test_urls_are_the_guides() -> None:
    assert listen_url("ws://h", "a/b", "id-1") == "ws://h/$hc/a/b?sb-hc-action=listen&sb-hc-id=id-1"
    assert reject_url("ws://h?x=1", 403, "no way") == "ws://h?x=1&sb-hc-statusCode=403&sb-hc-statusDescription=no+way"


@pytest.mark.parametrize("text", ['{"accept":{}}', '{"accept":null}', "[]", "{", '{"request":{"id":1}}'])
def test_a_malformed_command_is_refused(text: str) -> None:
    if text == "[]":
        assert parse_command(text) is None
    else:
        with pytest.raises(CommandError):
            parse_command(text)
