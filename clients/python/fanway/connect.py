"""Where the gateway is and how to prove who we are: arguments, then environment, then the data folder.

The rule it upholds: a key found in a data folder is used only for the gateway that wrote it.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fanway.errors import ConfigurationError
from fanway.token import Credential, TokenProvider

DEFAULT_DATA = ".fanway"
_SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https", "sb": "https"}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def with_host(url: str, host: str) -> str:
    """A gateway's URL with another host name, the port kept; '' stays ''."""
    parts = urlsplit(url)
    return url and f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def dialled(host: str) -> str:
    """Where to connect for a host: what lies below `localhost` is this machine (RFC 6761, 6.3), whether or not its
    resolver knows."""
    return "localhost" if host.endswith(".localhost") else host


@dataclass(frozen=True, slots=True)
class Gateway:
    """A resolved gateway: its base URL (`http` or `https`, no trailing slash) and a credential.

    `tls_url` is the base URL by TLS where one is known, else empty; `folder` is the gateway's own data folder, if it
    was found there.
    """

    url: str
    credential: Credential
    ca: str | None = None
    namespace: str = ""
    tls_url: str = ""
    folder: Path | None = None
    _tls: list[ssl.SSLContext] = field(default_factory=list, repr=False, compare=False)

    def operator_token(self) -> str:
        """The bearer token that manages the whole gateway. Raises ConfigurationError where it cannot be read."""
        if self.folder is None:
            raise ConfigurationError(f"The operators' token of {self.url} lies in its data folder only; see --data.")
        file = self.folder / "operator.token"
        try:
            return file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{file} cannot be read: {error}") from None

    @property
    def host(self) -> str:
        """The host name that tokens are made for."""
        host = urlsplit(self.url).hostname or ""
        return f"[{host}]" if ":" in host else host

    @property
    def is_loopback(self) -> bool:
        host = urlsplit(self.url).hostname or ""
        return host in _LOOPBACK or host.endswith(".localhost")

    @property
    def socket_url(self) -> str:
        """The base for WebSockets (`ws` or `wss`)."""
        return "ws" + self.url.removeprefix("http")

    def token(self, path: str = "") -> str:
        """A token for a path of the namespace (empty: everything the rule may do)."""
        return self.credential.token(self.host, path)

    def tls(self) -> ssl.SSLContext | None:
        """The verifying TLS context for `https`, with the gateway's own authority where one is known."""
        if not self.url.startswith("https:"):
            return None
        if not self._tls:
            try:
                self._tls.append(ssl.create_default_context(cafile=self.ca))
            except OSError as error:
                raise ConfigurationError(f"The certificate authority {self.ca} cannot be read: {error}") from None
        return self._tls[0]


def parse_connection_string(text: str) -> dict[str, str]:
    """A connection string (`Endpoint=sb://…;SharedAccessKeyName=…;…`) by lower-case name.

    Names ignore case, values are split at the first `=`, empty pieces are ignored, unknown names
    are an error (Azure Relay protocol guide). Raises ConfigurationError; no value is shown.
    """
    known = {
        "endpoint",
        "sharedaccesskeyname",
        "sharedaccesskey",
        "sharedaccesssignature",
        "entitypath",
        "operationtimeout",
    }
    values: dict[str, str] = {}
    for piece in filter(None, (piece.strip() for piece in text.split(";"))):
        name, equals, value = piece.partition("=")
        name = name.strip().lower()
        if not equals or name not in known:
            raise ConfigurationError(f"The connection string has an unknown part {name!r}.")
        values[name] = value.strip()
    if not values.get("endpoint"):
        raise ConfigurationError("The connection string has no Endpoint=sb://….")
    if "sharedaccesssignature" in values and "sharedaccesskey" in values:
        raise ConfigurationError("The connection string has both a key and a signature; keep one.")
    if ("sharedaccesskey" in values) != ("sharedaccesskeyname" in values):
        raise ConfigurationError("SharedAccessKeyName and SharedAccessKey need each other in a connection string.")
    return values


def resolve(
    url: str | None = None,
    *,
    key_name: str | None = None,
    key: str | None = None,
    token: str | TokenProvider | None = None,
    connection_string: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    data: str | os.PathLike[str] | None = None,
    namespace: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Gateway:
    """The gateway to use: arguments, FANWAY_* variables, then `connection.json` in the data folder.

    `namespace` names one of those that the gateway of the data folder holds. Raises ConfigurationError saying what to
    set when nothing was found. `token` is one, or a function that gives one whenever it is needed.
    """
    provider = token if callable(token) else None
    given = _settings(url, key_name, key, None if callable(token) else token, connection_string)
    inherited = _settings(
        environ.get("FANWAY_URL"),
        environ.get("FANWAY_KEY_NAME"),
        environ.get("FANWAY_KEY"),
        environ.get("FANWAY_TOKEN"),
        environ.get("FANWAY_CONNECTION_STRING"),
    )
    folder = Path(data or environ.get("FANWAY_DATA") or DEFAULT_DATA)
    stored = _read_connection(folder)
    if namespace is not None:
        stored = _stored_namespace(stored, namespace, folder)
        inherited["url"] = ""
    base = given["url"] or inherited["url"] or _text(stored, "url")
    if not base:
        raise ConfigurationError(
            f"No gateway is known: start one here with `fanway serve` (no {folder / 'connection.json'} was found), "
            "or give --url and --key, or set FANWAY_CONNECTION_STRING."
        )
    base = _base_url(base)
    if namespace is None and (named := _namespace_of(stored, base)):
        stored = _stored_namespace(stored, named, folder)
    is_own = _origin(base) in {_origin(u) for u in (_text(stored, "url"), _text(stored, "tls_url")) if u}
    authority = os.fspath(ca) if ca else environ.get("FANWAY_CA") or (_text(stored, "ca") if is_own else "")
    return Gateway(
        base,
        Credential(provider=provider, scope=given["scope"])
        if provider is not None
        else _credential(given, inherited, stored if is_own else {}, base),
        authority or None,
        _text(stored, "namespace") if is_own else "",
        base if base.startswith("https:") else (_text(stored, "tls_url") if is_own else ""),
        folder if is_own else None,
    )


def _settings(
    url: str | None, key_name: str | None, key: str | None, token: str | None, connection_string: str | None
) -> dict[str, str]:
    """One level of settings; explicit values win over the connection string beside them."""
    parts = parse_connection_string(connection_string) if connection_string else {}
    return {
        "url": url or parts.get("endpoint", ""),
        "key_name": key_name or parts.get("sharedaccesskeyname", ""),
        "key": key or parts.get("sharedaccesskey", ""),
        "token": token or parts.get("sharedaccesssignature", ""),
        "scope": parts.get("entitypath", "").strip("/"),
    }


def _credential(given: dict[str, str], inherited: dict[str, str], stored: Mapping[str, Any], base: str) -> Credential:
    for level in (given, inherited):
        if level["token"] and not (level is inherited and given["key"]):
            return Credential(fixed_token=level["token"], scope=level["scope"])
        if level["key"]:
            name = level["key_name"] or given["key_name"] or inherited["key_name"] or "RootManageSharedAccessKey"
            return Credential(name, level["key"], scope=level["scope"])
    if _text(stored, "key"):
        return Credential(_text(stored, "key_name"), _text(stored, "key"))
    raise ConfigurationError(
        f"No key for {base} is known: give --key-name and --key (or --token), or set FANWAY_KEY_NAME and FANWAY_KEY."
    )


def _read_connection(folder: Path) -> Mapping[str, Any]:
    path = folder / "connection.json"
    try:
        stored = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
    if not isinstance(stored, dict):
        raise ConfigurationError(f"{path} does not hold a JSON object.")
    ca = stored.get("ca")
    if isinstance(ca, str) and not os.path.isabs(ca) and not os.path.exists(ca):
        stored["ca"] = str(folder / ca)
    return stored


def _stored_namespace(stored: Mapping[str, Any], name: str, folder: Path) -> Mapping[str, Any]:
    """What a data folder says of one of the namespaces of its gateway; it is reached by its name below `localhost`."""
    if _text(stored, "namespace").lower() == name.lower():
        return stored
    others = _further_namespaces(stored)
    found = next((key for key in others if key.lower() == name.lower()), None)
    if found is None:
        raise ConfigurationError(f"{folder / 'connection.json'} knows no namespace {name!r}.")
    named = {**stored, **others[found], "namespace": found}
    for place in ("url", "tls_url"):
        if url := _text(stored, place):
            named[place] = with_host(url, f"{found.lower()}.localhost")
    return named


def _namespace_of(stored: Mapping[str, Any], base: str) -> str | None:
    """Which further namespace of the data folder's gateway a URL names, if it does."""
    host = urlsplit(base).hostname or ""
    return next((name for name in _further_namespaces(stored) if host == f"{name.lower()}.localhost"), None)


def _further_namespaces(stored: Mapping[str, Any]) -> dict[str, Any]:
    others = stored.get("namespaces")
    return {name: keys for name, keys in others.items() if isinstance(keys, dict)} if isinstance(others, dict) else {}


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


def _base_url(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in _SCHEMES or not parts.hostname or port == -1 or parts.path not in ("", "/"):
        raise ConfigurationError(
            f"{url!r} is not a gateway's URL; it looks like http://127.0.0.1:8480 or sb://host:8443/."
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{_SCHEMES[parts.scheme]}://{host}" + (f":{port}" if port else "")


def _origin(url: str) -> tuple[str, int]:
    """Host and port of a gateway's URL, all names of the loopback being one."""
    parts = urlsplit(_base_url(url))
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return ("localhost" if host in _LOOPBACK or host.endswith(".localhost") else host), port
