"""Signatures of deliveries, as Standard Webhooks 1.0 has them: HMAC-SHA256 over id, time and body.

A receiver computes `v1,BASE64(HMAC-SHA256(secret, "ID.TIMESTAMP.BODY"))` and looks for it in the header
`webhook-signature`, which holds one for each secret while they are being changed.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Sequence

from app.errors import BadRequest

PREFIX = "whsec_"
MIN_BYTES, MAX_BYTES = 24, 64  # Standard Webhooks, "signature scheme"
NEW_BYTES = 32


def new_secret() -> str:
    """A fresh secret, such as is shown once to whoever made the subscription."""
    return PREFIX + base64.b64encode(os.urandom(NEW_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """The key in a secret `whsec_BASE64`. Raises `BadRequest`, which never holds the secret."""
    try:
        if not secret.startswith(PREFIX):
            raise ValueError
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (ValueError, binascii.Error):
        raise BadRequest(f"A signing secret is '{PREFIX}' and base64.") from None
    if not MIN_BYTES <= len(key) <= MAX_BYTES:
        raise BadRequest(f"A signing secret holds {MIN_BYTES} to {MAX_BYTES} bytes.")
    return key


def signature_of(keys: Sequence[bytes], id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: a signature by each key. `id` holds no dot; `timestamp` is unix seconds."""
    signed = b"%s.%d.%s" % (id.encode(), timestamp, body)
    digests = (hmac.digest(key, signed, "sha256") for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
