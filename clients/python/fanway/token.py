"""Shared Access Signature tokens (Azure Relay protocol guide, "Shared Access Signature").

The key is the UTF-8 text as given, never decoded from base64; the signed text is the encoded
resource, a line feed and the expiry.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

DEFAULT_TTL_SECONDS = 3600
TokenProvider = Callable[[], str]
"""Gives a token that is good now, such as one kept by an identity library. Called whenever one is needed; it should
not wait."""

_EXPIRY = re.compile(r"(?:^|[ &])se=(\d+)")


def make_token(resource: str, key_name: str, key: str, expires_at: int) -> str:
    """The text `SharedAccessSignature sr=…&sig=…&se=…&skn=…` for a resource like `http://host/orders`."""
    encoded = quote(resource, safe="")
    digest = hmac.new(key.encode(), f"{encoded}\n{expires_at}".encode(), hashlib.sha256).digest()
    signature = quote(base64.b64encode(digest), safe="")
    return f"SharedAccessSignature sr={encoded}&sig={signature}&se={expires_at}&skn={quote(key_name, safe='')}"


def expiry(token: str) -> int | None:
    """When a token, a signature or a JSON Web Token, expires, in Unix seconds; None if it does not say."""
    match = _EXPIRY.search(token)
    return int(match.group(1)) if match else _web_expiry(token)


def _web_expiry(token: str) -> int | None:
    """The `exp` of a JSON Web Token (RFC 7519, 4.1.4); nothing of it is verified, the gateway does that."""
    parts = token.strip().rpartition(" ")[2].split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return int(claims["exp"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class Credential:
    """A key that makes tokens, somebody who gives them, or one given from outside (which nobody here can renew).

    `scope` is the path that every token is limited to: an entity's own rule signs only for it.
    """

    key_name: str = ""
    key: str = field(default="", repr=False)
    fixed_token: str = field(default="", repr=False)
    provider: TokenProvider | None = field(default=None, repr=False)
    scope: str = ""
    ttl_seconds: int = DEFAULT_TTL_SECONDS
    clock: Callable[[], float] = time.time

    @property
    def is_renewable(self) -> bool:
        return not self.fixed_token

    def token(self, host: str, path: str = "") -> str:
        """A token for a path of the namespace behind `host` (no path: all that the rule may do)."""
        if self.fixed_token:
            return self.fixed_token
        if self.provider is not None:
            return self.provider()
        resource = f"http://{host}/{quote(path or self.scope)}"
        return make_token(resource, self.key_name, self.key, int(self.clock()) + self.ttl_seconds)
