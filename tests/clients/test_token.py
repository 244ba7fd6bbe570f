"""Tokens are the ones the protocol guide describes."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote

import pytest

from fanway.token import Credential, expiry, make_token

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "signatures.json").read_text())
KEYS = {rule["name"]: rule["primaryKey"] for rule in VECTORS["namespace"]["rules"]}
SAME_ENCODER = ("hyco-ws, createRelayListenUri", "hyco-https, createRelayHttpsUri", "Python quick-start")


@pytest.mark.parametrize("case", [c for c in VECTORS["accept"] if c["name"] in SAME_ENCODER], ids=lambda c: c["name"])
def test_a_token_signs_as_the_sdks_sign(case: dict[str, str]) -> None:
    theirs = _fields(case["token"])
    rule = unquote(theirs["skn"])
    ours = _fields(make_token(unquote(theirs["sr"]), rule, KEYS[rule], int(theirs["se"])))
    assert {name: unquote(value) for name, value in ours.items()} == {n: unquote(v) for n, v in theirs.items()}


def _fields(token: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in token.partition(" ")[2].split("&"))


def test_a_token_says_when_it_expires() -> None:
    credential = Credential("root", "key", clock=lambda: 1000.0)
    assert expiry(credential.token("ns.test", "orders")) == 4600
    assert "sr=http%3A%2F%2Fns.test%2Forders&" in credential.token("ns.test", "orders")


def test_an_entity_key_signs_only_for_its_entity() -> None:
    assert "ns.test%2Fshop&" in Credential("root", "key", scope="shop").token("ns.test")


def test_a_given_token_is_passed_on_and_never_renewed() -> None:
    credential = Credential(fixed_token="SharedAccessSignature sr=x&sig=y&se=1&skn=z")
    assert credential.token("ns.test", "orders").endswith("skn=z")
    assert not credential.is_renewable


def test_a_credential_shows_no_secret() -> None:
    assert "s3cret" not in repr(Credential("root", "s3cret")) + repr(Credential(fixed_token="s3cret"))


def test_a_token_without_expiry_says_none() -> None:
    assert expiry("eyJhbGciOi.e30.x") is None
