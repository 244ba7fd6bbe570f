"""Push subscriptions as JSON: what is taken, what is shown, what is kept secret."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from app.errors import BadRequest
from app.manage.push_shapes import NewSubscriptionShape, SubscriptionShape, SubscriptionView
from app.push.settings import Credential, PushSettings
from app.push.signature import key_of
from app.wire.native.webhook import Mode

LEAST: dict[str, Any] = {"sink": "https://sink.example/", "protocol": "HTTP", "config": {"pattern": "orders/**"}}
WHOLE: dict[str, Any] = {
    **LEAST,
    "source": "/orders",
    "types": ["made", "paid"],
    "filters": [{"prefix": {"subject": "eu/"}}],
    "config": {
        "pattern": "orders/**",
        "from": "start",
        "order": "strict",
        "maxDeliveries": 3,
        "deadLetter": "failed/orders",
    },
    "sinkcredential": {"credentialtype": "PLAIN", "identifier": "me", "secret": "hush-credential"},
    "protocolsettings": {"method": "POST", "mode": "batch", "rate": 60, "headers": {"X-Key": "hush-header"}},
}


def asked(body: dict[str, Any], old: PushSettings | None = None) -> PushSettings:
    return SubscriptionShape.model_validate(body).settings(old)


def shown(settings: PushSettings) -> dict[str, Any]:
    view = SubscriptionView.of(replace(settings, id="abc"), "rule root", {"delivered": 2})
    return json.loads(view.model_dump_json(by_alias=True))  # type: ignore[no-any-return]


def test_what_is_left_out_has_its_default() -> None:
    settings = asked(LEAST)
    assert (settings.mode, settings.order, settings.max_deliveries) == (Mode.BINARY, "none", 10)
    assert (settings.types, settings.filters, settings.headers, settings.credential) == ((), (), (), None)


def test_all_that_is_said_is_taken_and_shown_without_secrets() -> None:
    settings = asked(WHOLE)
    assert settings.credential == Credential("PLAIN", "me", "hush-credential")
    assert settings.headers == (("X-Key", "hush-header"),)
    view = shown(settings)
    for name in ("sink", "protocol", "source", "types", "filters"):
        assert view[name] == WHOLE[name]
    assert view["config"] | {"from": "start"} == WHOLE["config"]
    assert view["protocolsettings"] == WHOLE["protocolsettings"] | {"headers": {"X-Key": "***"}}
    assert view["status"]["delivered"] == 2
    assert "hush" not in json.dumps(view)
    assert "hush" not in repr(settings)


def test_what_was_read_can_be_written_back_and_leaves_secrets_as_they_are() -> None:
    settings = replace(asked(WHOLE), id="abc")
    view = shown(settings)
    del view["status"]
    assert asked(view, settings) == replace(settings, id="")
    changed = view | {"sinkcredential": {"credentialtype": "ACCESSTOKEN", "accesstoken": "new"}}
    assert asked(changed, settings).credential == Credential("ACCESSTOKEN", "Bearer", "new")


@pytest.mark.parametrize("sink", ["http://sink.example/", "https://other.example/", "https://sink.example:8443/"])
@pytest.mark.parametrize("dropped", ["sinkcredential", "protocolsettings"])
def test_a_sink_at_another_place_gets_no_secrets_of_the_one_before(sink: str, dropped: str) -> None:
    settings = replace(asked(WHOLE), id="abc")
    view = {name: value for name, value in shown(settings).items() if name not in ("status", dropped)}
    with pytest.raises(BadRequest, match="another place"):
        asked(view | {"sink": sink}, settings)
    assert asked(view | {"sink": "https://SINK.example:443/other"}, settings).sink.endswith("/other")
    assert asked(LEAST | {"sink": sink}, settings).sink == sink


def test_a_new_subscription_has_the_secret_that_was_given_or_a_fresh_one() -> None:
    given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert NewSubscriptionShape.model_validate(LEAST | {"secret": given}).settings().secrets == (given,)
    (made,) = NewSubscriptionShape.model_validate(LEAST).settings().secrets
    assert len(key_of(made)) == 32


@pytest.mark.parametrize(
    "part",
    [
        {"protocol": "MQTT5"},
        {"protocol": "http"},
        {"config": {}},
        {"config": {"pattern": "a", "colour": "red"}},
        {"config": {"pattern": "a", "maxDeliveries": 0}},
        {"protocolsettings": {"method": "GET"}},
        {"protocolsettings": {"rate": 0}},
        {"protocolsettings": {"mode": "avro"}},
        {"sinkcredential": {"credentialtype": "REFRESHTOKEN"}},
        {"types": [""]},
        {"filters": [{"exact": {"type": "\ud800"}}]},
        {"sink": 7},
    ],
)
def test_what_is_not_offered_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        asked(LEAST | part)


@pytest.mark.parametrize(
    "part",
    [
        {"protocolsettings": {"headers": {"Host": "other.example"}}},
        {"protocolsettings": {"headers": {"webhook-signature": "v1,hush"}}},
        {"protocolsettings": {"headers": {"Ce-Id": "hush"}}},
        {"protocolsettings": {"headers": {"Content-Length": "0"}}},
        {"protocolsettings": {"headers": {"Transfer-Encoding": "chunked"}}},
        {"protocolsettings": {"headers": {"X-A": "hush\r\nX-B: c"}}},
        {"protocolsettings": {"headers": {"X-A": "hüsh"}}},
        {"protocolsettings": {"headers": {"X A": "hush"}}},
        {"protocolsettings": {"headers": {"X-A": "hush", "x-a": "hush"}}},
        {"protocolsettings": {"headers": {f"X-{number}": "hush" for number in range(33)}}},
        {"sinkcredential": {"credentialtype": "PLAIN", "identifier": "me:you", "secret": "hush"}},
        {"sinkcredential": {"credentialtype": "PLAIN", "identifier": "me"}},
        {"sinkcredential": {"credentialtype": "ACCESSTOKEN", "accesstoken": "hush\n"}},
        {"sinkcredential": {"credentialtype": "ACCESSTOKEN", "accesstoken": "hush", "accesstokentype": "a b"}},
    ],
)
def test_a_header_or_credential_that_cannot_be_sent_is_refused_without_showing_it(part: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        asked(LEAST | part)
    assert "hush" not in refused.value.message
