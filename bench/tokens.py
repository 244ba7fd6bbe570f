"""Verifying tokens, each new and one that comes again: signatures of rules, and JSON Web Tokens of each kind.

In this process, without a network: `Authorizer.authorize` is what every door asks first.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.access.authorize import CACHE_SIZE, Authorizer
from app.access.sas import make_token
from app.access.voucher import Vouchers
from app.identity import Identity
from app.namespace import Namespace, Right, Rule
from bench.load import LoadError
from bench.peers import FANWAY
from bench.row import Line, Row, Sample, Sizes

SECRET = "the secret of a backend, which has 32 bytes and some more"
PYJWT = "PyJWT"
DRAWN = 2 * CACHE_SIZE  # different tokens, in turn: none is remembered when it comes again
FEW = 64  # in sizes that only show that the row runs
AT_ONCE = 64  # verifications between two looks at the clock

Verify = Callable[[str], object]


def measure(sizes: Sizes, core: int | None) -> list[Line]:
    drawn = DRAWN if sizes.rounds > 1 else FEW
    private = {
        "HS256": SECRET,
        "RS256": rsa.generate_private_key(65537, 2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
    }
    public = {name: SECRET if isinstance(key, str) else _pem(key) for name, key in private.items()}
    authorizer, namespace = _authorizer(public)

    def verify(token: str) -> object:
        return authorizer.authorize(token, namespace, None)

    expires_at = int(time.time()) + 3600
    rule = namespace.rules["rule"]
    key, numbers = rule.primary_key, range(drawn)
    kinds = {"signature of a rule": [make_token(f"http://bench/{n}", "rule", key, expires_at) for n in numbers]}
    for name, signing in private.items():
        kinds[name] = [_signed(signing, name, n, expires_at) for n in numbers]
    lines = []
    for kind, tokens in kinds.items():
        cold, again = Line(f"{kind}, each new"), Line(f"{kind}, remembered")
        for _ in range(sizes.rounds):
            cold.add(FANWAY.name, _rate(verify, tokens, sizes))
            again.add(FANWAY.name, _rate(verify, tokens[:1], sizes))
            if kind in public:
                cold.add(PYJWT, _rate(_decode(public[kind], kind), tokens, sizes))
        lines += [cold, again]
    return lines


def _authorizer(public: dict[str, str]) -> tuple[Authorizer, Namespace]:
    signers = [{"name": name, "algorithm": name, "key": key} for name, key in public.items()]

    async def fetch(url: str) -> bytes:
        raise LoadError("no issuer is to be asked")

    vouchers = Vouchers(Identity.model_validate({"signers": signers}), "bench", fetch, time.monotonic)
    rule = Rule("rule", Right.MANAGE, "a key as long as those that are generated 44c", "another such key")
    authorizer = Authorizer(time.time, lambda namespace, host: "", web_tokens=vouchers)
    return authorizer, Namespace("bench", rules={"rule": rule})


def _signed(key: object, algorithm: str, number: int, expires_at: int) -> str:
    claims = {"sub": str(number), "exp": expires_at, "subscribe": [f"user/{number}/**"], "publish": ["chat/7"]}
    return jwt.PyJWS().encode(json.dumps(claims).encode(), key, algorithm)  # type: ignore[arg-type]


def _decode(key: str, algorithm: str) -> Verify:
    prepared = jwt.get_algorithm_by_name(algorithm).prepare_key(key)
    return lambda token: jwt.decode(token, prepared, algorithms=[algorithm])


def _rate(verify: Verify, tokens: Sequence[str], sizes: Sizes) -> Sample:
    turn = itertools.cycle(tokens)
    count, began_at, busy = 0, time.perf_counter(), time.process_time()
    end_at = began_at + sizes.seconds
    while (now := time.perf_counter()) < end_at:
        for token in itertools.islice(turn, AT_ONCE):
            verify(token)
        count += AT_ONCE
    return Sample(count / (now - began_at), (time.process_time() - busy) / (now - began_at), 0.0)


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


ROW = Row(
    name="tokens",
    title="Tokens: verifying one that is new, and one that comes again",
    unit="verifications/s",
    proves="What the first call with a token costs the gateway, and all later ones. `PyJWT` is that library's own "
    "`decode` with a prepared key, which verifies the same signature and reads the claims, but checks no form strictly "
    "and makes no grant.",
    leaves_out="The network, and fetching a provider's keys. A remembered token is one over and over; up to 4,096 are "
    "remembered.",
    peers=(FANWAY,),
    measure=measure,
)
