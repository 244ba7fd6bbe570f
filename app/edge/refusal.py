"""How an error looks to a peer: one sentence with a tracking id, in XML at Azure's doors and JSON at ours."""

from __future__ import annotations

import logging
from enum import Enum
from typing import TYPE_CHECKING

import httptools
import orjson

from app.closes import CLOSES, Close
from app.errors import BadRequest, NotImplementedVerb, Rejected, RelayError, UpgradeRequired
from app.telemetry import new_tracking_id, printable, sentence
from app.wire.azure.exchange import reason_phrase
from app.wire.azure.handshake import client_id
from app.wire.azure.refusal import XML_CONTENT_TYPE, xml_body
from app.wire.http import Head, Headers, encode_head

if TYPE_CHECKING:
    from app.edge.context import Context

_log = logging.getLogger("fanway.edge")
_OUR_CLOSES = frozenset(CLOSES.values())


class Door(Enum):
    """Whose manners an error follows."""

    AZURE = "azure"
    OURS = "ours"


def refusal(
    context: Context,
    head: Head | None,
    error: RelayError,
    door: Door,
    tracking_id: str | None = None,
    *,
    is_handshake: bool = False,
) -> tuple[int, str, Headers, bytes]:
    """Status, reason phrase, headers and body for `error`, counted and logged without any secret.

    Without a `tracking_id` it is the one that the peer gave itself, or a new one.
    """
    status, words = error.status, error.message
    if door is Door.AZURE:
        choices = context.settings.azure
        status, words = choices.status_of(error, is_handshake), choices.words_of(error)
    tracking_id = tracking_id or new_tracking_id(client_id(head.query) if head else None, context.node)
    note_refusal(context, head, error, tracking_id, status)
    text = explain(head, words, tracking_id)
    headers: Headers = [("TrackingId", tracking_id)]
    if error.retry_after is not None:
        headers.append(("Retry-After", str(error.retry_after)))
    if isinstance(error, UpgradeRequired):
        headers += [("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")]
    if status == 401 and door is Door.OURS:
        headers.append(("WWW-Authenticate", "SharedAccessSignature"))
    if door is Door.AZURE:
        body = xml_body(status, text)
        headers.append(("Content-Type", XML_CONTENT_TYPE))
    else:
        detail = {"status": status, "code": error.code, "message": words, "tracking_id": tracking_id}
        body = orjson.dumps({"error": detail})
        headers.append(("Content-Type", "application/json"))
    return status, text, headers, body


def note_refusal(
    context: Context, head: Head | None, error: RelayError, tracking_id: str, status: int | None = None
) -> None:
    """Count a refusal, and log it with its tracking id and without any secret. `status`: if not the error's own."""
    context.counters["refusals"] += 1
    path = printable(head.path, 512) if head else ""
    _log.info("refused %s: %s %s (%s)", path, status or error.status, printable(error.message), tracking_id)


def unreadable(context: Context, error: Exception) -> RelayError:
    """The error for bytes that no request can be read from, as the parser or one of its callbacks raised it."""
    if isinstance(error, RelayError):
        return error
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return NotImplementedVerb("The method is not one that this gateway can relay.")
    cause = error.__context__  # what a callback raised
    if isinstance(cause, Exception):
        return context.shown(cause)
    return BadRequest("This is not a well-formed HTTP/1.1 request.")


def explain(head: Head | None, words: str, tracking_id: str) -> str:
    """The sentence for reason phrases and close reasons: words, tracking id, where, when."""
    path = (head.path if head else "").removeprefix("/$hc")
    return sentence(words, tracking_id, f"sb://{head.host if head else ''}{path}")


def refused_handshake(
    context: Context,
    head: Head | None,
    error: RelayError,
    door: Door,
    tracking_id: str | None = None,
    extra: Headers | None = None,
) -> bytes:
    """The bytes that answer a WebSocket upgrade which is not to be; the connection closes after them.

    A listener's own rejection goes out verbatim, its words as the reason phrase.
    """
    status, reason, headers, body = refusal(context, head, error, door, tracking_id, is_handshake=True)
    if isinstance(error, Rejected):
        reason = reason_phrase(error.status, error.message)
    headers += [*(extra or []), ("Content-Length", str(len(body))), ("Connection", "close")]
    return encode_head(status, reason, headers) + body


def told(context: Context, close: Close, tracking_id: str) -> Close:
    """`close` as those at Azure's doors hear of it: with the code that is chosen for it and a tracking id.

    One that is not in the table of `app.errors` has its words from elsewhere, and keeps them.
    """
    if close not in _OUR_CLOSES or not close.reason:
        return close
    chosen = context.settings.azure.close_of(close)
    return chosen._replace(reason=f"{chosen.reason} TrackingId:{tracking_id}")
