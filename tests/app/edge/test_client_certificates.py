"""Client certificates at the TLS doors: known by exactly one of their names, and only those of the right authority."""

from __future__ import annotations

import contextlib
import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from nettcp_peers import Client, preamble
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from worlds import World, running_gateway

from app.access.client_certificate import Names, names_in

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)
O, CN, OU = NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME  # noqa: E741

Step = list[tuple[x509.ObjectIdentifier, str]]


class Authority:
    """Signs client certificates."""

    def __init__(self, name: str = "clients") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(CN, name)])
        self.certificate = self._sign(self.name, self.key.public_key(), x509.BasicConstraints(True, None))

    def issue(
        self, folder: Path, steps: list[Step], *, san: list[x509.GeneralName] | None = None, days: int = 1
    ) -> Path:
        """A PEM file with key and certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        rdns = [
            x509.RelativeDistinguishedName([x509.NameAttribute(kind, text) for kind, text in step]) for step in steps
        ]
        extensions: list[x509.ExtensionType] = [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])]
        if san:
            extensions.append(x509.SubjectAlternativeName(san))
        certificate = self._sign(x509.Name(rdns), key.public_key(), *extensions, until=NOW + days * DAY)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file = folder / f"client-{x509.random_serial_number()}.pem"
        file.write_bytes(pem + certificate.public_bytes(Encoding.PEM))
        return file

    def _sign(
        self, name: x509.Name, key: Any, *extensions: x509.ExtensionType, until: datetime.datetime = NOW + DAY
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self.name).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(NOW - 3 * DAY).not_valid_after(until)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())


AUTHORITY = Authority()
KNOWN: list[dict[str, Any]] = [
    {"san": "URI:spiffe://example/agent", "rights": ["Listen"], "relays": ["hyco/**"]},
    {"san": "DNS:agent.example", "rights": ["Send"]},
    {"subject": ["O=Example", "CN=agent"], "rights": ["Manage"], "relays": ["orders/**"]},
]


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    (folder / "clients.pem").write_bytes(AUTHORITY.certificate.public_bytes(Encoding.PEM))
    return {"identity": {"client_ca": folder / "clients.pem", "certificates": KNOWN, **more}}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_gateway(tmp_path, tls=True, **settings(tmp_path)) as running:
        yield running


def tls(world: World, file: Path | None) -> ssl.SSLContext:
    context = world.tls()
    if file is not None:
        context.load_cert_chain(file)
    return context


async def status(world: World, file: Path | None, path: str = "/-/events/orders/a", **headers: str) -> int:
    async with httpx.AsyncClient(verify=tls(world, file), base_url=f"https://localhost:{world.tls_port}") as client:
        return (await client.post(path, content=b"x", headers=headers)).status_code


async def opening(world: World, file: Path, path: str, **kwargs: Any) -> int:
    url = f"wss://localhost:{world.tls_port}/{path}"
    try:
        async with connect(url, ssl=tls(world, file), **kwargs):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


async def test_a_certificate_does_what_its_name_gives_at_every_door(world: World, tmp_path: Path) -> None:
    agent = AUTHORITY.issue(tmp_path, [], san=[x509.UniformResourceIdentifier("spiffe://example/agent")])
    sender = AUTHORITY.issue(tmp_path, [], san=[x509.DNSName("agent.example")])
    manager = AUTHORITY.issue(tmp_path, [[(O, "Example")], [(CN, "agent")]])
    assert [await status(world, file) for file in (agent, sender, manager, None)] == [403, 202, 202, 401]
    assert [await status(world, file, "/hyco") for file in (agent, sender, manager, None)] == [403, 404, 403, 401]
    assert await opening(world, agent, "$hc/hyco?sb-hc-action=listen") == 101
    assert await opening(world, sender, "$hc/hyco?sb-hc-action=listen") == 403
    assert await opening(world, sender, "$hc/hyco") == 404
    assert await opening(world, manager, "-/events/orders/**") == 101
    assert await opening(world, sender, "-/events/orders/**") == 403
    assert await opening(world, manager, "-/events", subprotocols=["fanway.v1"]) == 101
    assert await status(world, manager, "/-/tickets") == 400, "with a body that is none"


async def test_a_token_goes_before_the_certificate(world: World, tmp_path: Path) -> None:
    sender = AUTHORITY.issue(tmp_path, [], san=[x509.DNSName("agent.example")])
    assert await status(world, sender, Authorization="nonsense") == 401
    assert await status(world, sender, Authorization=world.token("shop")) == 401
    agent = AUTHORITY.issue(tmp_path, [], san=[x509.UniformResourceIdentifier("spiffe://example/agent")])
    assert await status(world, agent, Authorization=world.token()) == 202


async def test_the_same_head_on_another_connection_is_another_caller(world: World, tmp_path: Path) -> None:
    """What is remembered of a head holds nothing of who sent it."""
    sender = AUTHORITY.issue(tmp_path, [], san=[x509.DNSName("agent.example")])
    for _ in range(3):
        assert [await status(world, file) for file in (sender, None)] == [202, 401]


@pytest.mark.parametrize(
    ("steps", "san"),
    [
        ([[(CN, "agent")], [(O, "Example")]], []),  # reversed
        ([[(O, "Example"), (CN, "agent")]], []),  # two attributes in one step
        ([[(O, "Example")], [(CN, "agent"), (OU, "x")]], []),
        ([[(O, "Example")], [(CN, "Agent")]], []),
        ([[(O, "Example")], [(CN, "agent")], [(CN, "agent")]], []),
        ([[(O, "Example")]], []),
        ([[(CN, "agent.example")]], []),  # the right name in the wrong place
        ([[(O, "Example,CN=agent")]], []),
        ([], [x509.DNSName("agent.example.evil.example")]),
        ([], [x509.DNSName("AGENT.EXAMPLE")]),
        ([], [x509.DNSName("*.example")]),
        ([], [x509.RFC822Name("agent.example")]),
        ([], [x509.UniformResourceIdentifier("spiffe://example/agent/x")]),
        ([], [x509.DNSName("agent.example\x00.evil.example")]),
        ([], [x509.DNSName("agent.example"), x509.UniformResourceIdentifier("spiffe://example/agent")]),  # two
    ],
)
async def test_a_certificate_that_is_only_like_a_known_one_is_nobodys(
    world: World, tmp_path: Path, steps: list[Step], san: list[x509.GeneralName]
) -> None:
    """S19."""
    assert await status(world, AUTHORITY.issue(tmp_path, steps, san=san)) == 401


async def test_tls_refuses_what_the_authority_has_not_signed_and_what_is_over(world: World, tmp_path: Path) -> None:
    """S19."""
    known = [x509.DNSName("agent.example")]
    for file in (Authority().issue(tmp_path, [], san=known), AUTHORITY.issue(tmp_path, [], san=known, days=-1)):
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            await status(world, file)


async def test_a_certificate_can_be_demanded_of_everybody(tmp_path: Path) -> None:
    demanded = settings(tmp_path, client_certificate="required")
    async with running_gateway(tmp_path, tls=True, **demanded) as world:
        sender = AUTHORITY.issue(tmp_path, [], san=[x509.DNSName("agent.example")])
        assert await status(world, sender) == 202
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            await status(world, None, Authorization=world.token())
        plain = await world.client.post("/-/events/orders/a", content=b"x", headers=world.auth())
        assert plain.status_code == 202, "the plain port knows no certificates"


async def test_what_lives_on_a_certificate_ends_by_revocation(world: World, tmp_path: Path) -> None:
    agent = AUTHORITY.issue(tmp_path, [], san=[x509.UniformResourceIdentifier("spiffe://example/agent")])
    url = f"wss://localhost:{world.tls_port}/$hc/hyco?sb-hc-action=listen"
    async with connect(url, ssl=tls(world, agent)) as listener:
        body = {"sub": "URI:spiffe://example/agent"}
        assert (await world.client.post("/-/api/revocations", headers=world.auth(), json=body)).status_code == 201
        with contextlib.suppress(Exception):
            await listener.recv()
        assert listener.close_code == 1008
    assert await opening(world, agent, "$hc/hyco?sb-hc-action=listen") == 401


def test_names_are_taken_as_they_stand(tmp_path: Path) -> None:
    kinds = [x509.DNSName("a.b"), x509.UniformResourceIdentifier("urn:x"), x509.RFC822Name("a@b.c")]
    file = AUTHORITY.issue(tmp_path, [[(O, "É, Co")], [(x509.ObjectIdentifier("1.2.3.4"), "x")]], san=kinds)
    der = x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER)
    assert names_in(der) == Names(frozenset({"DNS:a.b", "URI:urn:x", "email:a@b.c"}), ("O=É, Co", "1.2.3.4=x"))
    assert names_in(b"") is None
    assert names_in(der[:-10]) is None


async def test_a_certificate_opens_net_tcp_sessions_which_need_no_token_then(tmp_path: Path) -> None:
    sender = AUTHORITY.issue(tmp_path, [], san=[x509.DNSName("agent.example")])
    agent = AUTHORITY.issue(tmp_path, [], san=[x509.UniformResourceIdentifier("spiffe://example/agent")])
    doors = {"tls": True, "nettcp_tls_listen": "127.0.0.1:0"}
    async with running_gateway(tmp_path, **doors, **settings(tmp_path)) as world:
        await world.listen("hyco")
        data = preamble("net.tcp://localhost/hyco")
        for file, is_admitted in (sender, True), (agent, False), (None, False):
            client = await Client.connect(world, world.nettcp_tls_port, tls(world, file))
            await client.write(data)
            if is_admitted:
                assert await client.reader.readexactly(len(data)) == data  # the listener echoes
            else:
                assert await client.fault() == "EndpointAccessDenied"


async def test_a_page_of_another_origin_does_not_act_by_the_certificate_of_its_reader(
    world: World, tmp_path: Path
) -> None:
    """Browsers show a certificate for whoever asks, as they send cookies; only what the host itself has served, or
    an origin that the settings list, may count on that."""
    sender = AUTHORITY.issue(tmp_path, [], san=[x509.DNSName("agent.example")])
    manager = AUTHORITY.issue(tmp_path, [[(O, "Example")], [(CN, "agent")]])
    await world.listen("hyco")
    own = f"https://localhost:{world.tls_port}"
    for origin, is_own in (
        ("https://evil.example", False),
        ("null", False),
        (own.replace("https", "http"), False),
        (own, True),
        (own.upper(), True),
    ):
        assert await status(world, manager, Origin=origin) == (202 if is_own else 401)
        assert await status(world, sender, "/hyco", Origin=origin) == (200 if is_own else 401)
        assert await status(world, sender, "/-/tickets", Origin=origin) in ((201, 400) if is_own else (401,))
        opened = await opening(world, sender, "$hc/hyco", additional_headers={"Origin": origin})
        assert opened == (101 if is_own else 401)
    assert await status(world, sender, "/hyco", Origin="https://evil.example", **world.auth("hyco")) == 200, "a token"


async def test_a_listed_origin_acts_by_the_certificate_of_its_reader(tmp_path: Path) -> None:
    sender = AUTHORITY.issue(tmp_path, [], san=[x509.DNSName("agent.example")])
    for origins, expected in ((("https://app.example",), 202), (("*",), 401)):
        async with running_gateway(tmp_path, tls=True, cors_origins=origins, **settings(tmp_path)) as world:
            assert await status(world, sender, Origin="https://app.example") == expected
