"""JSON Web Tokens that must not pass: each gets 401 and an answer of the same shape."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from tokens import EC_KEY, OTHER_RSA_KEY, RSA_KEY, SECRET, jwk, part, public_pem, signed

from app.access.keyset import parse_key_set
from app.access.voucher import Vouchers, key_of
from app.access.webtoken import MALFORMED, NO_EXPIRY, is_web_token, parse_web_token
from app.errors import RelayError, Unauthorized
from app.identity import Identity, Signer
from app.namespace import Namespace, Right

NAMESPACE = Namespace("default")
PEM = public_pem(RSA_KEY)
NOW = time.time()


def vouchers() -> Vouchers:
    settings = Identity.model_validate(
        {
            "signers": [
                {"name": "secret", "algorithm": "HS256", "key": SECRET},
                {"name": "rsa", "algorithm": "RS256", "key": PEM.decode()},
                {"name": "curve", "algorithm": "ES256", "key": public_pem(EC_KEY).decode()},
            ]
        }
    )

    async def fetch(url: str) -> bytes:
        raise AssertionError("nothing is to be fetched")

    return Vouchers(settings, "default", fetch, time.monotonic)


ALL = vouchers()


def refused(token: str) -> str:
    with pytest.raises(Unauthorized) as error:
        ALL.grant(token, NAMESPACE, NOW)
    assert error.value.status == 401
    return error.value.message


def forged(header: Any, claims: Any = None, secret: bytes = SECRET.encode()) -> str:
    """A token with any parts, signed by HMAC."""
    content = {"exp": NOW + 60, "publish": ["a/**"]} if claims is None else claims
    text = f"{part(header)}.{part(content)}"
    return f"{text}.{part(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


@pytest.mark.parametrize(
    ("key", "algorithm"), [(SECRET, "HS256"), (RSA_KEY, "RS256"), (EC_KEY, "ES256")], ids=["HS256", "RS256", "ES256"]
)
def test_each_algorithm_verifies_with_its_own_key_only(key: Any, algorithm: str) -> None:
    grant = ALL.grant(signed({"publish": ["a"], "sub": "x"}, key, algorithm), NAMESPACE, NOW)
    assert grant.rights is Right.PUBLISH
    assert not grant.is_anonymous
    assert grant.holder.startswith("x of ")


FORGED = [
    f"{part({'alg': 'none'})}.{part({'exp': NOW + 60})}.{part('x')}",
    forged({"alg": "none"}),
    forged({"alg": "None", "typ": "JWT"}),
    forged({"alg": "HS256"}, secret=PEM),  # the public key as a secret
    forged({"alg": "HS256"}, secret=PEM.strip()),
    forged({"alg": "HS512"}),
    forged({}),
    forged({"alg": ["HS256"]}),
    forged({"alg": 256}),
    forged({"alg": None}),
    forged('{"alg":"none","alg":"HS256"}'),  # two readers, two algorithms
    forged('{"alg":"HS256","alg":"HS256"}'),
    forged('{"alg":"HS256","\\u0061lg":"none"}'),
    forged({"alg": "HS256", "crit": ["exp"]}),
    forged({"alg": "HS256", "crit": []}),
    forged({"alg": "HS256", "crit": ["b64"], "b64": False}),
    forged({"alg": "HS256", "b64": False}),
    forged({"alg": "HS256", "kid": 7}),
    forged({"alg": "HS256", "kid": ["../../etc/passwd"]}),
    forged({"alg": "HS256", "kid": "x" * 2000}),
    forged("[" * 20_000),
    forged({"alg": "HS256"}, "[" * 5000 + "]" * 5000),
    forged({"alg": "HS256"}, '{"exp":9999999999,"exp":1}'),
    forged({"alg": "HS256"}, [1, 2]),
    forged({"alg": "HS256"}, "null"),
    forged({"alg": "HS256"}, b"\xff\xfe"),
    forged({"alg": "HS256"}, ""),
    signed({"publish": ["a"]}, OTHER_RSA_KEY, "RS256"),
    signed({"publish": ["a"]}, OTHER_RSA_KEY, "PS256"),
    signed({"publish": ["a"]}, RSA_KEY, "PS256"),
    signed({"publish": ["a"]}, RSA_KEY, "RS512"),
    signed({"publish": ["a"]}, OTHER_RSA_KEY, "RS256", jwk=jwk(OTHER_RSA_KEY, "x"))[:-4],
    signed({"publish": ["a"]})[:-1],
    signed({"publish": ["a"]}) + "=",
    signed({"publish": ["a"]}) + ".x",
    "eyJ.eyJ.",
    "..",
]


@pytest.mark.parametrize("place", range(len(FORGED)))
def test_a_forged_token_is_refused(place: int) -> None:
    """S10."""
    message = refused(FORGED[place])
    assert len(message) < 200
    assert SECRET not in message


@pytest.mark.parametrize(
    ("curve", "algorithm"), [(ec.SECP256R1(), "ES256"), (ec.SECP384R1(), "ES384"), (ec.SECP521R1(), "ES512")]
)
def test_the_other_signature_of_an_elliptic_key_is_known(curve: ec.EllipticCurve, algorithm: str) -> None:
    private = ec.generate_private_key(curve)
    [key] = parse_key_set(json.dumps({"keys": [jwk(private, "one")]}).encode())
    text = signed({}, private, algorithm)
    token = parse_web_token(text)
    twin = parse_web_token(token.twin() or "")
    assert key.verifies(token)
    assert key.verifies(twin)
    assert twin.signature != token.signature
    assert twin.twin() == text


def test_a_public_key_is_no_secret() -> None:
    """S10: whoever has it could sign, and everybody may have it."""
    signer = Signer.model_validate({"name": "app", "algorithm": "HS256", "key": PEM.decode()})
    with pytest.raises(ValueError, match="takes a secret"):
        key_of(signer)


def test_a_key_that_a_token_brings_along_is_not_looked_at() -> None:
    for header in ({"jwk": jwk(OTHER_RSA_KEY, "x")}, {"jku": "http://127.0.0.1/keys"}, {"x5u": "http://127.0.0.1/"}):
        refused(signed({"publish": ["a"]}, OTHER_RSA_KEY, "RS256", **header))


TIMES = [
    *('"1767225600"', '""', "null", "true", "false", "[]", "{}", "-1", "-1e9", "-0.5"),
    *("1e400", "1e308", "NaN", "Infinity", "-Infinity", "1" + "0" * 30, "1" + "0" * 5000, "0x10", "1_000"),
]


@pytest.mark.parametrize("text", TIMES, ids=[text[:12] for text in TIMES[:-3]] + ["5000 digits", "hex", "underscore"])
@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_a_time_that_is_none_is_refused(name: str, text: str) -> None:
    """S12, for JSON Web Tokens: text, truth values, negative, not finite, absurd."""
    others = "" if name == "exp" else f'"exp":{NOW + 60},'
    refused(forged({"alg": "HS256"}, f'{{{others}"{name}":{text}}}'))


def test_times_may_have_fractions_and_some_skew() -> None:
    grant = ALL.grant(signed({"exp": NOW + 0.5, "nbf": NOW + 30, "iat": NOW + 59.5}), NAMESPACE, NOW)
    assert grant.expires_at == NOW + 0.5
    assert refused(signed({"nbf": NOW + 61})) == "The token is not good yet."
    assert refused(signed({"iat": NOW + 61})) == "The token is not good yet."
    assert refused(signed({"exp": ...})) == NO_EXPIRY


@pytest.mark.parametrize(
    "claims",
    [
        {"publish": "a/b"},
        {"publish": {"a": 1}},
        {"publish": [1]},
        {"publish": [None]},
        {"publish": [["a"]]},
        {"publish": ["**"]},
        {"publish": ["*/a"]},
        {"publish": ["a//b"]},
        {"publish": ["a/**/b"]},
        {"publish": ["a/b*"]},
        {"publish": [""]},
        {"publish": ["a/../b"]},
        {"publish": ["-/sys/**"]},
        {"publish": ["a/\x00"]},
        {"publish": ["a"] * 257},
        {"publish": ["a"], "subscribe": ["b/*c"]},
        {"aud": "https://relay.azure.net/", "sub": 7},
        {"iss": []},
        {"jti": {}},
    ],
)
def test_claims_that_cannot_be_understood_refuse_the_token(claims: dict[str, Any]) -> None:
    """S02: what is no pattern is never guessed at, nor left out."""
    assert refused(signed(claims)).startswith("MalformedToken:")


def test_a_huge_token_is_refused_before_it_is_read() -> None:
    assert refused(signed({"publish": ["a"], "x": "y" * 20_000})) == MALFORMED


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{1,40}\.[A-Za-z0-9_-]{1,40}\.[A-Za-z0-9_-]{1,40}"))
def test_any_text_is_read_or_refused(text: str) -> None:
    """S50."""
    try:
        parse_web_token(text)
    except Unauthorized as error:
        assert error.message == MALFORMED  # noqa: PT017
    is_web_token(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "exp", "iss", "sub", "publish"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.text(max_size=4)),
    ),
)
def test_any_json_is_read_or_refused(claims: Any, members: dict[str, Any]) -> None:
    """S50: signed properly, so that every part of it is looked at."""
    for token in (forged({"alg": "HS256"}, claims), forged({"alg": "HS256"}, members), forged(members)):
        try:
            grant = ALL.grant(token, NAMESPACE, NOW)
        except RelayError as error:
            assert error.status == 401  # noqa: PT017
        else:
            assert grant.rights in (Right.NONE, Right.PUBLISH)


def test_a_key_set_gives_public_keys_for_signatures_and_nothing_else() -> None:
    import jwt
    from cryptography.hazmat.primitives.asymmetric import rsa

    weak = rsa.generate_private_key(65537, 1024)
    entries = [
        jwk(RSA_KEY, "one"),
        jwk(EC_KEY, "two", alg="ES256"),
        {"kty": "oct", "k": part(SECRET), "kid": "secret"},
        {"kty": "oct", "k": part(SECRET), "kid": "secret", "alg": "HS256"},
        jwk(RSA_KEY, "for encryption", use="enc"),
        jwk(RSA_KEY, "confused", alg="HS256"),
        jwk(weak, "weak"),
        {"kty": "RSA", "n": "!", "e": "AQAB", "kid": "broken"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "off the curve"},
        {"kty": ["RSA"]},
        {"kty": "OKP", "crv": "X25519", "x": "AA"},
        "text",
        None,
    ]
    keys = parse_key_set(json.dumps({"keys": entries}).encode())
    assert [(key.id, key.algorithms[0]) for key in keys] == [("one", "RS256"), ("two", "ES256")]
    assert not any(name.startswith("HS") for key in keys for name in key.algorithms)
    assert jwt.__version__
    for text in (b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[' + b"1," * 100 + b"1]}", b"[" * 100_000):
        with pytest.raises(ValueError, match="key set"):
            parse_key_set(text)
