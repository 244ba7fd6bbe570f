"""Opening a WebSocket to the gateway with the `websockets` library, its failures told as our errors.

For the session, the control channel and HTTP rendezvous; relayed sockets need half-close and have
`fanway.socket`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from fanway.connect import Gateway, dialled
from fanway.errors import ConnectionLostError, RelayError, RelayTimeoutError, from_answer

OPEN_TIMEOUT_SECONDS = 15.0
_PORTS = {"ws": 80, "wss": 443}


async def open_channel(
    gateway: Gateway,
    url: str,
    *,
    token: str | None = None,
    subprotocol: str | None = None,
    max_size: int | None = None,
    ping_interval: float | None = 20,
    headers: Mapping[str, str] | None = None,
) -> ClientConnection:
    """A connected WebSocket without compression. Raises RelayError: refused, unreachable, too slow."""
    parts = urlsplit(url)
    where = f"{parts.scheme}://{parts.netloc}"
    host = dialled(parts.hostname or "")
    elsewhere: dict[str, Any] = (
        {"host": host, "port": parts.port or _PORTS[parts.scheme]} if host != parts.hostname else {}
    )
    try:
        return await connect(
            url,
            **elsewhere,
            ssl=gateway.tls() if url.startswith("wss:") else None,
            additional_headers=({"ServiceBusAuthorization": token} if token else {}) | dict(headers or {}),
            subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
            compression=None,
            max_size=max_size,
            open_timeout=OPEN_TIMEOUT_SECONDS,
            ping_interval=ping_interval,
            close_timeout=5,
            proxy=None if gateway.is_loopback else True,
        )
    except InvalidStatus as refusal:
        answer = refusal.response
        raise from_answer(
            answer.status_code, answer.reason_phrase, bytes(answer.body or b""), answer.headers.get("Retry-After")
        ) from None
    except (InvalidHandshake, InvalidURI) as error:
        raise ConnectionLostError(f"{where} does not speak the relay's protocol: {error}") from None
    except TimeoutError:
        raise RelayTimeoutError(f"{where} did not answer within {OPEN_TIMEOUT_SECONDS:g} s.") from None
    except OSError as error:
        raise unreachable(where, error) from None


def dial(request: httpx.Request) -> None:
    """Let a request connect where its host is to be found (`dialled`); the Host header and the certificate stay."""
    host = request.url.host
    if (place := dialled(host)) != host:
        request.url = request.url.copy_with(host=place)
        request.extensions = {**request.extensions, "sni_hostname": host}


def unreachable(where: str, error: OSError) -> ConnectionLostError:
    """What to tell when no connection could be made."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectionLostError(
            f"The certificate of {where} is not trusted ({error.verify_message}); name its authority with FANWAY_CA."
        )
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return ConnectionLostError(
            f"Nothing answers at {where}. Is the gateway running? Start one with `fanway serve`."
        )
    return ConnectionLostError(f"{where} cannot be reached: {error.strerror or error}.")


def innermost(error: BaseException) -> OSError:
    """The operating system's own error below those of an HTTP library."""
    found: OSError | None = None
    below: BaseException | None = error
    while below is not None:
        found = below if isinstance(below, OSError) else found
        below = below.__cause__ or below.__context__
    return found or OSError(str(error) or type(error).__name__)


def lost(error: ConnectionClosed) -> RelayError:
    """The error for a channel that ended under a call."""
    frame = error.rcvd
    text = f"{frame.code} {frame.reason}".strip() if frame else "without a word"
    return ConnectionLostError(f"The gateway closed the connection: {text.rstrip('.')}.")
