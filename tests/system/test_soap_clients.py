"""A real SOAP client and a real SOAP service behind `fanway listen`; signed messages; nothing knows of the relay."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import zeep
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from lxml import etree
from programs import FANWAY, running
from signxml import CanonicalizationMethod, SignatureConfiguration, SignatureConstructionMethod
from signxml.signer import XMLSigner
from signxml.verifier import XMLVerifier
from soap_service import SOAP_11, SOAP_12, TNS, Calculator, running_calculator
from wires import until
from worlds import KEY, KEY_NAME, World, running_gateway
from zeep.transports import Transport

CONNECT = "http://schemas.microsoft.com/netservices/2009/05/servicebus/connect"
SECURITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
DSIG = "http://www.w3.org/2000/09/xmldsig#"
RELAYS: list[dict[str, Any]] = [{"name": "office/calc", "profile": "http"}]
PORTS = {"1.1": "Soap11", "1.2": "Soap12"}


@dataclass
class Stage:
    """The gateway, the service, and the address at which `fanway listen` has joined them."""

    world: World
    service: Calculator
    url: str


@pytest.fixture(params=["plain", "tls"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    is_secure = request.param == "tls"
    async with running_gateway(tmp_path, relays=RELAYS, tls=is_secure) as world:
        with running_calculator() as service:
            env = {"FANWAY_URL": world.url, "FANWAY_KEY_NAME": KEY_NAME, "FANWAY_KEY": KEY}
            async with running(FANWAY, "listen", "office/calc", "--to", f":{service.port}", env=env):
                realm = world.gateway.context.realms[world.namespace]
                await until(lambda: realm.roster.count("office/calc") == 1)
                url = f"https://localhost:{world.tls_port}" if is_secure else world.url
                yield Stage(world, service, f"{url}/office/calc/svc")


def trust(stage: Stage) -> Any:
    return stage.world.tls() if stage.world.ca else True


def client_of(stage: Stage, version: str, **headers: str) -> Any:
    """zeep's proxy for one port of the service; the WSDL comes through the relay."""
    session = requests.Session()
    session.trust_env = False  # a bundle named in the environment would go before ours
    session.verify = str(stage.world.ca) if stage.world.ca else True
    session.headers.update(stage.world.auth("office/calc"))
    client = zeep.Client(f"{stage.url}?wsdl", transport=Transport(session=session, timeout=20))
    proxy = client.bind("Calculator", PORTS[version])
    assert proxy._binding_options["address"] == stage.url  # as the WSDL says: the relay's address, not the service's
    session.headers.clear()
    session.headers.update(headers)
    return proxy


def token_header(token: str) -> etree._Element:
    block = etree.Element(f"{{{CONNECT}}}RelayAccessToken")
    security = etree.SubElement(block, f"{{{SECURITY}}}BinarySecurityToken")
    security.text = base64.b64encode(token.encode()).decode()
    return block


@pytest.mark.parametrize("version", PORTS)
async def test_a_soap_client_calls_with_its_token_in_the_head(stage: Stage, version: str) -> None:
    def calls() -> list[Any]:
        proxy = client_of(stage, version, **stage.world.auth("office/calc"))
        results = [proxy.Add(19, 23), proxy.Divide(84, 2)]
        with pytest.raises(zeep.exceptions.Fault, match="divide by zero"):
            proxy.Divide(1, 0)
        proxy.Note("é €")
        return results

    assert await asyncio.to_thread(calls) == [42, 42]
    assert stage.service.notes == ["é €"]
    assert all("ServiceBusAuthorization" not in headers for headers, _ in stage.service.received)


@pytest.mark.parametrize("version", PORTS)
async def test_a_soap_client_calls_with_its_token_in_the_message(stage: Stage, version: str) -> None:
    token = token_header(stage.world.token("office/calc"))

    def call() -> Any:
        proxy = client_of(stage, version)
        result = proxy.Add(19, 23, _soapheaders=[token])
        with pytest.raises(zeep.exceptions.Fault, match="divide by zero"):
            proxy.Divide(1, 0, _soapheaders=[token])
        return result

    assert await asyncio.to_thread(call) == 42
    assert all(b"RelayAccessToken" not in body and b"SharedAccess" not in body for _, body in stage.service.received)


async def test_a_soap_client_without_a_good_token_gets_an_http_error(stage: Stage) -> None:
    bad = token_header(stage.world.token("office/calc", key="wrong"))

    def call(headers: list[Any]) -> bytes:
        proxy = client_of(stage, "1.1")
        with pytest.raises(zeep.exceptions.Fault) as refusal:  # what zeep makes of an error that is XML
            proxy.Add(1, 2, _soapheaders=headers)
        return bytes(refusal.value.detail)

    assert b"<Code>401</Code><Detail>MissingToken" in await asyncio.to_thread(call, [])
    assert b"<Code>401</Code><Detail>The token has an invalid signature" in await asyncio.to_thread(call, [bad])
    assert not stage.service.received


def signed(soap: str) -> tuple[bytes, bytes]:
    """A message whose body is signed, and the certificate that verifies it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sender")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    ).public_bytes(serialization.Encoding.PEM)
    envelope = etree.fromstring(
        f'<s:Envelope xmlns:s="{soap}">\r\n  <s:Header>'
        f'<w:Security xmlns:w="{SECURITY}" s:mustUnderstand="1"/></s:Header>\n'
        f'  <s:Body Id="body">\n <Add xmlns="{TNS}"><a>19</a>\t<b>23</b></Add></s:Body></s:Envelope>'.encode()
    )
    signer = XMLSigner(
        method=SignatureConstructionMethod.detached,
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    signature = signer.sign(envelope, key=pem, cert=certificate, reference_uri="#body")
    envelope.find(f".//{{{SECURITY}}}Security").append(signature)
    return etree.tostring(envelope), certificate


def verified(message: bytes, certificate: bytes) -> str:
    """The signed part's text, if the signature holds."""
    result = XMLVerifier().verify(
        message, x509_cert=certificate.decode(), expect_config=SignatureConfiguration(location=".//")
    )
    assert not isinstance(result, list)
    return "".join(result.signed_xml.itertext())


@pytest.mark.parametrize(("soap", "kind"), [(SOAP_11, "text/xml"), (SOAP_12, "application/soap+xml")])
async def test_a_signed_message_arrives_as_it_was_signed(stage: Stage, soap: str, kind: str) -> None:
    message, certificate = signed(soap)
    assert "19" in verified(message, certificate)
    headers = {"Content-Type": f"{kind}; charset=utf-8"}
    async with httpx.AsyncClient(verify=trust(stage)) as client:
        answer = await client.post(stage.url, content=message, headers={**headers, **stage.world.auth()})
        assert b"<result>42</result>" in answer.content
        block = etree.tostring(token_header(stage.world.token("office/calc")))
        for place in (b"</s:Header>", b"<w:Security"):  # behind what signs, and in front of it
            with_token = message.replace(place, block + place, 1)
            answer = await client.post(stage.url, content=with_token, headers=headers)
            assert b"<result>42</result>" in answer.content, answer.text
    bodies = [body for _, body in stage.service.received]
    assert bodies == [message] * 3
    assert all("19" in verified(body, certificate) for body in bodies)


async def test_a_rest_client_uses_any_verb_and_path(stage: Stage) -> None:
    async with httpx.AsyncClient(headers=stage.world.auth(), verify=trust(stage)) as client:
        answer = await client.get(f"{stage.url}?wsdl")
        assert (answer.status_code, f'location="{stage.url}"' in answer.text) == (200, True)
        assert (await client.get(f"{stage.url}/none")).status_code == 404
        answer = await client.request("PUT", stage.url, json={"a": 1})
        assert answer.status_code == 501  # which is what this service says, not the relay
        assert "via" in answer.headers
