"""Where a connection string leads."""

from __future__ import annotations

import pytest

from app.hosts import Hosts
from app.manage.arm.endpoint import Endpoint, Ports, find_endpoint
from app.namespace import Namespace

BOTH, PLAIN = Ports(8480, 8443), Ports(8480, None)
FIRST = Namespace("default")
NAMED = Namespace("orders-eu")
ALIASED = Namespace("shop-eu", aliases={"shop.example.com": "", "demo.example.com": "demo"})
DOTTED = Namespace("relay.example.com")


@pytest.mark.parametrize(
    ("namespace", "ports", "advertised", "reached", "host"),
    [
        (FIRST, BOTH, None, "https://localhost:8443", "sb://localhost:8443"),
        (FIRST, BOTH, None, "http://127.0.0.1:8480", "sb://127.0.0.1:8443"),
        (FIRST, BOTH, None, "https://[::1]:9443", "sb://[::1]:9443"),
        (FIRST, BOTH, None, "http://[::1]:8480", "sb://[::1]:8443"),
        (FIRST, BOTH, None, "https://[::1]", "sb://[::1]:443"),
        (FIRST, PLAIN, None, "http://127.0.0.1:8480", "http://127.0.0.1:8480"),
        (FIRST, BOTH, "https://here.example.com/", "http://127.0.0.1:8480", "sb://here.example.com:443"),
        (FIRST, BOTH, "http://here.example.com:81", "https://localhost:8443", "http://here.example.com:81"),
        (NAMED, BOTH, "https://here.example.com", "https://localhost:8443", "sb://orders-eu.localhost:8443"),
        (NAMED, BOTH, None, "https://orders-eu.localhost:443", "sb://orders-eu.localhost:443"),
        (NAMED, PLAIN, None, "http://127.0.0.1:8480", "http://orders-eu.localhost:8480"),
        (ALIASED, BOTH, None, "https://localhost:8443", "sb://shop.example.com:8443"),
        (ALIASED, BOTH, None, "https://shop.example.com", "sb://shop.example.com:443"),
        (ALIASED, BOTH, None, "https://demo.example.com", "sb://shop.example.com:8443"),
        (DOTTED, BOTH, None, "https://localhost:8443", "sb://relay.example.com:8443"),
        (DOTTED, BOTH, None, "https://elsewhere:1", "sb://relay.example.com:8443"),
    ],
)
def test_it_leads_to_the_namespace(
    namespace: Namespace, ports: Ports, advertised: str | None, reached: str, host: str
) -> None:
    name = advertised.partition("//")[2].rstrip("/").partition(":")[0] if advertised else None
    hosts = Hosts([FIRST, NAMED, ALIASED, DOTTED], is_loopback=True, advertised=name, primary="default")
    endpoint = find_endpoint(namespace, hosts, ports, advertised, reached)
    assert f"{endpoint.scheme}://{endpoint.host}" == host


def test_a_connection_string_names_the_entity_of_an_entitys_rule() -> None:
    endpoint = Endpoint("localhost:8443", True)
    assert endpoint.url == "https://localhost:8443/"
    text = "Endpoint=sb://localhost:8443/;SharedAccessKeyName=app;SharedAccessKey=k="
    assert endpoint.connection_string("app", "k=") == text
    assert endpoint.connection_string("app", "k=", "a/b") == f"{text};EntityPath=a/b"
