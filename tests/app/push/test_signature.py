"""Signatures of deliveries."""

from __future__ import annotations

import base64

import pytest

from app.errors import BadRequest
from app.push.signature import key_of, new_secret, signature_of


def test_the_example_of_standard_webhooks_comes_out() -> None:
    """The vector that the specification's reference libraries are tested with."""
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = signature_of([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_two_secrets_give_two_signatures() -> None:
    keys = [key_of(new_secret()), key_of(new_secret())]
    both = signature_of(keys, "id", 1, b"body").split(" ")
    assert both == [signature_of([key], "id", 1, b"body") for key in keys]
    assert both[0] != both[1]


def test_a_new_secret_is_a_good_one() -> None:
    assert len(key_of(new_secret())) == 32
    assert new_secret() != new_secret()


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_not base64!",
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
    ],
)
def test_a_bad_secret_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(BadRequest) as refused:
        key_of(secret)
    assert not secret or secret.removeprefix("whsec_") not in refused.value.message or secret == "whsec_"
