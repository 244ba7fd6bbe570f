"""JSON Web Tokens as providers and backends sign them, good and bad; a provider on this machine."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = "a secret of the backend, 32 bytes or more"
AUDIENCE = "https://relay.azure.net/"

RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signed(
    claims: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **header: Any
) -> str:
    """A token with these claims and an hour to live, unless they say otherwise."""
    headers = {**({"kid": kid} if kid is not None else {}), **header}
    content = {"exp": int(time.time()) + 3600, "iat": int(time.time()), **claims}
    payload = {name: value for name, value in content.items() if value is not ...}
    return jwt.PyJWS().encode(json.dumps(payload).encode(), key, algorithm, {"typ": "JWT", **headers})


def part(value: Any) -> str:
    """A part of a token, from an object or from text that is no proper JSON."""
    data = (
        value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else json.dumps(value).encode()
    )
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk(key: Any, kid: str, **members: Any) -> dict[str, Any]:
    """The public half as a provider publishes it."""
    algorithm = (
        jwt.algorithms.ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else jwt.algorithms.RSAAlgorithm
    )
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, **members}


Answer = Callable[["Provider", str, asyncio.StreamWriter], Any]


@dataclass
class Provider:
    """An OpenID Connect provider on 127.0.0.1: what it publishes, how it misbehaves, what it was asked."""

    url: str
    keys: list[dict[str, Any]]
    asked: list[str] = field(default_factory=list)
    answer: Answer | None = None  # instead of the proper one
    gate: asyncio.Event = field(default_factory=asyncio.Event)  # answers wait for it
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def token(self, kid: str | None = "one", key: Any = RSA_KEY, algorithm: str = "RS256", **claims: Any) -> str:
        return signed({"iss": self.url, "aud": AUDIENCE, "sub": "somebody", **claims}, key, algorithm, kid)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].decode()
            self.asked.append(path)
            await self.gate.wait()
            if self.answer is not None:
                await self.answer(self, path, writer)
            elif path == "/.well-known/openid-configuration":
                respond(writer, {"issuer": self.url, "jwks_uri": f"{self.url}/keys"})
            else:
                respond(writer, {"keys": self.keys})
            await writer.drain()
            writer.close()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self.tasks.discard(task)

    async def stop(self) -> None:
        """End what is still being answered."""
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def respond(writer: asyncio.StreamWriter, content: Any, status: str = "200 OK", *headers: str) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


@contextlib.asynccontextmanager
async def running_provider() -> AsyncIterator[Provider]:
    """A provider with one RSA key `one` and one elliptic key `two`."""
    provider = Provider("", [jwk(RSA_KEY, "one"), jwk(EC_KEY, "two")])
    provider.gate.set()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield provider
        await provider.stop()
