"""How senders see a web application behind a listener: under which host, and below which path.

On most hosts an address is the beginning of the path: the application at `demo` is seen at `/demo/`. A host name may
lead to an address (the gateway says so in `Fanway-Mount`): then the application has the whole host. The listener cuts
its address off the path, so what the application says of itself in redirects and cookies must be put right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from fanway.address import encode_address
from fanway.exchange import Headers

_MOUNT = "fanway-mount"
_REPLACED = {_MOUNT, "x-forwarded-host", "x-forwarded-prefix"}
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class PublicSide:
    """What a sender sees of the listener at `address`: the host it asked, and `mount`, the address that this leads to
    ('' for most hosts)."""

    address: str
    host: str
    mount: str = ""

    @classmethod
    def of(cls, headers: Headers, address: str) -> PublicSide:
        """As the headers of a relayed request or socket tell it."""
        return cls(address, headers.get("host", ""), unquote(headers.get(_MOUNT, "")))

    @property
    def prefix(self) -> str:
        """The path at which the application begins, without the last slash; '' is the root."""
        path = f"/{encode_address(self.address)}"
        if not self.mount:
            return path
        rest = cut_address(path, self.mount)
        return rest.rstrip("/") if rest != path else ""

    def path(self, local: str) -> str:
        """A path of the application as senders see it; one that it has written so already stays."""
        prefix = self.prefix
        if prefix and (local == prefix or local.startswith((f"{prefix}/", f"{prefix}?"))):
            return local
        path = f"/{encode_address(self.address)}{local}"
        return cut_address(path, self.mount) if self.mount else path

    def forwarded(self, headers: Mapping[str, str], remote: str) -> dict[str, str]:
        """The headers for the application: where and from whom the request came, as proxies say it; `remote` is
        `host:port`. Nothing of that is taken from the sender."""
        fields = {name: value for name, value in headers.items() if not _is_ours(name)}
        if self.host:
            fields["X-Forwarded-Host"] = self.host
        if self.prefix:
            fields["X-Forwarded-Prefix"] = self.prefix
        if peer := remote.rpartition(":")[0].strip("[]"):
            name = next((name for name in fields if name.lower() == "x-forwarded-for"), "X-Forwarded-For")
            fields[name] = f"{fields[name]}, {peer}" if name in fields else peer
        return fields

    def location(self, value: str, target: str) -> str:
        """A `Location` of the application at the URL `target`, as senders can follow it.

        Relative references and those to other hosts stay.
        """
        try:
            parts = urlsplit(value)
        except ValueError:  # no URL at all
            return value
        local, origin = value, ""
        if parts.netloc:
            rest = value.partition("//")[2]
            local = rest[len(parts.netloc) :]
            if not local.startswith("/"):
                local = f"/{local}"
            if _origin(value, target) == _origin(target, target):
                base = urlsplit(target).path.rstrip("/")
                local = local.removeprefix(base) if local.startswith((f"{base}/", f"{base}?")) else local
            elif self.host and parts.netloc.lower() == self.host.lower():
                origin = value[: len(value) - len(rest) + len(parts.netloc)]
            else:
                return value
        elif not value.startswith("/"):
            return value
        return origin + self.path(local)

    def cookie(self, value: str, target: str) -> str:
        """A `Set-Cookie` of the application at the URL `target`: its path as senders see it, no domain of the target.

        A `__Host-` cookie stays as it is, since it is none with another path (RFC 6265bis, 4.1.3.2).
        """
        pair, *attributes = value.split(";")
        if pair.strip().startswith("__Host-"):
            return value
        kept = [pair]
        own = urlsplit(target).hostname
        for attribute in attributes:
            name, equals, text = attribute.partition("=")
            kind, text = name.strip().lower(), text.strip()
            if kind == "domain" and _same_host(text.lstrip("."), own):
                continue
            if kind == "path" and text.startswith("/"):
                path = self.path(text) if text != "/" else self.prefix or "/"  # `/demo` holds `/demo/x` too
                attribute = f"{name}{equals}{path}"
            kept.append(attribute)
        return ";".join(kept)


def _is_ours(name: str) -> bool:
    """Whether an application could read the header as one that is told here; with `_` for `-`, many would."""
    plain = name.lower().replace("_", "-")
    return plain in _REPLACED or ("_" in name and plain in ("x-forwarded-for", "x-forwarded-proto"))


def cut_address(target: str, address: str) -> str:
    """A request target without the listener's address in front: `/shop/price?x=1` under `shop` is `/price?x=1`."""
    path, mark, query = target.partition("?")
    segments, cut = path.strip("/").split("/"), address.split("/")
    mine = [unquote(segment).lower() for segment in segments[: len(cut)]]
    if mine == [segment.lower() for segment in cut]:
        rest = path.lstrip("/").split("/", len(cut))
        path = "/" + (rest[len(cut)] if len(rest) > len(cut) else "")
    return path + mark + query


def may_leave(target: str) -> bool:
    """Whether a server, or a library on the way to it, may take a step of the target's path for one upwards: as it
    stands, percent-encoded, behind a backslash, or with a parameter."""
    steps = unquote(target.partition("?")[0]).replace("\\", "/").split("/")
    return any(step.partition(";")[0] == ".." for step in steps)


def _origin(url: str, base: str) -> tuple[str, int | None]:
    """Host and port that a URL leads to; all names of this machine are one, a missing scheme is that of `base`."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        port = parts.port or _PORTS.get(parts.scheme or urlsplit(base).scheme)
    except ValueError:
        port = None
    return "localhost" if host in _LOOPBACK else host, port


def _same_host(one: str, other: str | None) -> bool:
    return one.lower() == other or (one.lower() in _LOOPBACK and other in _LOOPBACK)
