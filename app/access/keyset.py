"""Public keys and secrets that verify JSON Web Tokens; a key set as issuers publish it (RFC 7517)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from jwt import PyJWK
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import PyJWTError

from app.access.webtoken import WebToken

MAX_KEYS = 100  # of one issuer
MIN_RSA_BITS = 2048  # RFC 7518, 3.3

_ALGORITHMS = get_default_algorithms()
_OF_TYPE = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "OKP": ("EdDSA",),
}
_OF_CURVE = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",)}
_CURVES = {"ES256": "secp256r1"}


class Key:
    """A key and the algorithms it may verify. `is_withdrawn` becomes true when its issuer publishes it no more."""

    __slots__ = ("_material", "algorithms", "id", "is_withdrawn", "published")

    def __init__(self, id: str, algorithms: tuple[str, ...], material: Any, published: Any = None) -> None:
        self.id = id
        self.algorithms = algorithms
        self.published = published
        self.is_withdrawn = False
        self._material = material

    def verifies(self, token: WebToken) -> bool:
        """Whether this key made the token's signature, by an algorithm that is this key's."""
        if token.algorithm not in self.algorithms:
            return False
        return _ALGORITHMS[token.algorithm].verify(token.signed, self._material, token.signature)


def parse_key_set(data: bytes) -> list[Key]:
    """The keys of a set that can verify signatures; others are passed over. Raises ValueError when it is no set."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("the key set is not JSON") from None
    entries = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError(f"the key set is not a list of at most {MAX_KEYS} keys")
    return list(_usable(entries))


def signer_key(name: str, algorithm: str, text: bytes) -> Key:
    """The key of a backend: the secret itself for HS256, else a PEM public key or certificate. Raises ValueError."""
    if algorithm == "HS256":
        if b"-----BEGIN" in text:  # whoever has the public half could sign
            raise ValueError(f"{name}: HS256 takes a secret, and this is a PEM")
        return Key("", (algorithm,), text)
    try:
        if b"BEGIN CERTIFICATE" in text:
            material: Any = load_pem_x509_certificate(text).public_key()
        else:
            material = load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(f"{name}: the key is not a PEM public key or certificate") from None
    is_rsa = isinstance(material, RSAPublicKey) and material.key_size >= MIN_RSA_BITS
    is_curve = isinstance(material, EllipticCurvePublicKey) and material.curve.name == _CURVES.get(algorithm)
    if not (is_rsa if algorithm == "RS256" else is_curve):
        raise ValueError(f"{name}: the key does not suit {algorithm}")
    return Key("", (algorithm,), material)


def _usable(entries: list[Any]) -> Iterator[Key]:
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
            continue
        algorithms = _algorithms(entry)
        key_id = entry.get("kid", "")
        if not algorithms or not isinstance(key_id, str) or "verify" not in entry.get("key_ops", ["verify"]):
            continue
        public = {name: value for name, value in entry.items() if name in ("kty", "n", "e", "crv", "x", "y")}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of short keys, which are passed over here
                material = PyJWK(public, algorithms[0]).key
        except (PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
            continue
        if isinstance(material, RSAPublicKey) and material.key_size < MIN_RSA_BITS:
            continue
        yield Key(key_id, algorithms, material, public)


def _algorithms(entry: dict[str, Any]) -> tuple[str, ...]:
    """What the key may be used for: all that suits its type, or the one of these that it names. Never a secret's."""
    kind = entry.get("kty")
    suited = _OF_CURVE.get(str(entry.get("crv")), ()) if kind == "EC" else _OF_TYPE.get(str(kind), ())
    named = entry.get("alg")
    if kind == "OKP" and entry.get("crv") != "Ed25519":
        return ()
    return suited if named is None else tuple(name for name in suited if name == named)
