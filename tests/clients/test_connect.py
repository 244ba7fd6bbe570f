"""Where the gateway and the key come from, in which order, and what is never mixed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fanway.cli_manage import connection_string
from fanway.connect import Gateway, parse_connection_string, resolve
from fanway.errors import ConfigurationError

STORED = {
    "url": "http://127.0.0.1:8480",
    "tls_url": "https://localhost:8443",
    "ca": "/data/ca.pem",
    "namespace": "default",
    "key_name": "RootManageSharedAccessKey",
    "key": "stored",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "connection.json").write_text(json.dumps(STORED))
    return tmp_path


def key_of(gateway: Gateway) -> tuple[str, str]:
    return gateway.credential.key_name, gateway.credential.key


def test_the_data_folder_is_enough(folder: Path) -> None:
    gateway = resolve(data=folder, environ={})
    assert gateway.url == "http://127.0.0.1:8480"
    assert key_of(gateway) == ("RootManageSharedAccessKey", "stored")
    assert gateway.socket_url == "ws://127.0.0.1:8480"


def test_the_environment_wins_over_the_folder_and_arguments_over_both(folder: Path) -> None:
    environ = {"FANWAY_URL": "http://a:1", "FANWAY_KEY": "e", "FANWAY_KEY_NAME": "n", "FANWAY_DATA": str(folder)}
    assert key_of(resolve(environ=environ)) == ("n", "e")
    given = resolve("http://b:2", key_name="m", key="k", environ=environ)
    assert (given.url, key_of(given)) == ("http://b:2", ("m", "k"))


def test_a_stored_key_goes_only_to_the_gateway_that_wrote_it(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="No key"):
        resolve("https://elsewhere.example", data=folder, environ={})
    assert key_of(resolve("http://localhost:8480", data=folder, environ={}))[1] == "stored"


def test_the_stored_authority_serves_the_stored_tls_url(folder: Path) -> None:
    assert resolve("sb://localhost:8443/", data=folder, environ={}).ca == "/data/ca.pem"
    assert resolve("https://x.example", key="k", data=folder, environ={}).ca is None


def test_a_connection_string_is_enough(tmp_path: Path) -> None:
    text = "Endpoint=sb://ns.example:8443/;SharedAccessKeyName=n;SharedAccessKey=a=b==;EntityPath=shop"
    gateway = resolve(connection_string=text, data=tmp_path, environ={})
    assert gateway.url == "https://ns.example:8443"
    assert key_of(gateway) == ("n", "a=b==")
    assert gateway.credential.scope == "shop"


@pytest.mark.parametrize(
    "text",
    [
        "SharedAccessKeyName=n;SharedAccessKey=k",
        "Endpoint=sb://h/;SharedAccessKey=k",
        "Endpoint=sb://h/;Colour=blue",
        "Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=k;SharedAccessSignature=s",
    ],
)
def test_a_bad_connection_string_is_refused_without_showing_a_key(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_connection_string(text)
    assert "=k" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://h", "http://", "http://h:99999", "http://h/path", "http://h:x"])
def test_a_bad_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="URL"):
        resolve(url, key="k", environ={})


def test_with_nothing_known_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="fanway serve"):
        resolve(data=tmp_path, environ={})


def test_a_broken_connection_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "connection.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"connection\.json"):
        resolve(data=tmp_path, environ={})


def test_a_printed_connection_string_leads_to_the_port_that_speaks_tls(tmp_path: Path) -> None:
    """The SDKs take `sb:` to mean TLS, so the plain port must not be named by it."""
    stored = {"url": "http://127.0.0.1:8480", "tls_url": "https://localhost:8443", "key_name": "n", "key": "k"}
    (tmp_path / "connection.json").write_text(json.dumps(stored))
    text = connection_string(resolve(data=tmp_path, environ={}), "shop", "secret", "orders")
    assert text == "Endpoint=sb://localhost:8443/;SharedAccessKeyName=shop;SharedAccessKey=secret;EntityPath=orders"
    assert resolve(connection_string=text, data=tmp_path, environ={}).url == "https://localhost:8443"


def test_a_further_namespace_is_reached_by_its_name_below_localhost(folder: Path) -> None:
    more = {"namespaces": {"Tenant": {"key_name": "root", "key": "theirs"}}}
    (folder / "connection.json").write_text(json.dumps({**STORED, **more}))
    gateway = resolve(data=folder, namespace="tenant", environ={"FANWAY_URL": "http://elsewhere:1"})
    assert (gateway.url, gateway.tls_url) == ("http://tenant.localhost:8480", "https://tenant.localhost:8443")
    assert (key_of(gateway), gateway.namespace, gateway.ca) == (("root", "theirs"), "Tenant", "/data/ca.pem")
    named = resolve("http://tenant.localhost:8480", data=folder, environ={})
    assert key_of(named) == ("root", "theirs"), "a URL that names it finds its key too"
    own = resolve(data=folder, namespace="DEFAULT", environ={})
    assert (own.url, key_of(own)[1]) == ("http://127.0.0.1:8480", "stored")
    with pytest.raises(ConfigurationError, match="no namespace 'other'"):
        resolve(data=folder, namespace="other", environ={})
