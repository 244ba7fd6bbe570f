"""Shared access signatures: every SDK's spelling is accepted, everything else refused."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from app.access import sas
from app.access.authorize import Authorizer
from app.access.sas import make_token, parse_audience, parse_token
from app.errors import RelayError, Unauthorized
from app.namespace import Namespace, Right, Rule

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "signatures.json").read_text("utf-8"))


@pytest.mark.parametrize("row", VECTORS["accept"], ids=lambda row: row["name"])
def test_token_as_an_sdk_writes_it_is_accepted(row, authorizer: Authorizer, namespace: Namespace) -> None:
    relay = namespace.find(row["address"])
    assert relay is not None
    grant = authorizer.authorize(row["token"], namespace, relay)
    grant.require(Right[row["right"].upper()], relay, row["address"])
    assert grant.scope == row["scope"]


@pytest.mark.parametrize("row", VECTORS["reject"], ids=lambda row: row["name"])
def test_token_is_refused_with_its_sentence(row, authorizer: Authorizer, namespace: Namespace) -> None:
    """S12, P02: 401 for all that is wrong with a token, 403 for a right it lacks; no sentence names a secret."""
    relay = namespace.find(row["address"])
    assert relay is not None
    with pytest.raises(RelayError) as refused:
        authorizer.authorize(row["token"], namespace, relay).require(Right[row["right"].upper()], relay, row["address"])
    assert (refused.value.status, refused.value.message) == (row["status"], row["message"])


def test_unknown_rule_and_wrong_signature_look_the_same(
    authorizer: Authorizer, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S12: same body, and the same number of MACs, whether the name or the signature is wrong."""
    macs: list[str] = []
    mac = sas._mac
    monkeypatch.setattr(sas, "_mac", lambda key, signed: macs.append(key) or mac(key, signed))
    seen = []
    for rule, key in (("nobody-has-this", "k"), ("unicode", "wrong")):
        token = make_token(f"http://{namespace.name}/shop", rule, key, VECTORS["clock"] + 60)
        macs.clear()
        with pytest.raises(Unauthorized) as refused:
            authorizer.authorize(token, namespace, namespace.find("shop"))
        seen.append((refused.value.status, refused.value.message, len(macs)))
    assert seen[0] == seen[1]


def test_signatures_are_compared_in_constant_time_and_both_keys_always() -> None:
    """S13, by structure: `hmac.compare_digest` for both keys before any branch, and no `==` on a signature."""
    source = inspect.getsource(sas.Token.key_of)
    before_branch = source[: source.index("if is_primary")]
    assert before_branch.count("hmac.compare_digest(") == 2
    assert "==" not in source


def test_made_token_verifies_with_its_key_only() -> None:
    token = parse_token(make_token("http://localhost:8480/shop", "root", "one", 1700000000))
    assert token.key_of(Rule("root", Right.SEND, "one", "two")) == "one"
    assert token.key_of(Rule("root", Right.SEND, "two", "one")) == "one"
    assert token.key_of(Rule("root", Right.SEND, "two", "three")) is None
    assert token.expires_at == 1700000000


@pytest.mark.parametrize(
    ("sr", "host", "path"),
    [
        ("http%3a%2f%2fNS.example%3a443%2fHyCo%2f", "ns.example", "HyCo"),
        ("sb%3A%2F%2F%5B%3A%3A1%5D%3A8443%2Fa", "::1", "a"),
        ("ns.example", "ns.example", ""),
        ("http%3A%2F%2Fns.example%2F%24hc%2Fa%2Fb%3Fx%3D1%23y", "ns.example", "a/b"),
        ("http%3A%2F%2Fns.example%2Fa+b", "ns.example", "a b"),
        ("http%3A%2F%2Fns.example%2Fa%252Bb", "ns.example", "a+b"),
    ],
)
def test_audience_ignores_scheme_port_slash_and_hc(sr: str, host: str, path: str) -> None:
    assert parse_audience(sr) == (host, path)


def test_oversized_token_is_refused_unread() -> None:
    with pytest.raises(Unauthorized):
        parse_token("SharedAccessSignature sr=" + "a" * 20000 + "&sig=x&se=1&skn=r")
