"""What a Fault record says, and which one tells a `net.tcp` client of which refusal.

A fault is a URI and nothing else ([MC-NMF] 2.2.5.3): there is no room for words or a tracking id, which stand in the
gateway's log. .NET's clients know these URIs and raise an exception of a class of its own for most of them.
"""

from __future__ import annotations

from app.errors import AcceptTimeout, BadRequest, FramingError, RelayError, Unsupported

_PREFIX = "http://schemas.microsoft.com/ws/2006/05/framing/faults/"

ACCESS_DENIED = _PREFIX + "EndpointAccessDenied"
CONTENT_TYPE_INVALID = _PREFIX + "ContentTypeInvalid"
CONTENT_TYPE_TOO_LONG = _PREFIX + "ContentTypeTooLong"
DISPATCH_FAILED = _PREFIX + "ConnectionDispatchFailed"
ENDPOINT_NOT_FOUND = _PREFIX + "EndpointNotFound"
MALFORMED = _PREFIX + "InvalidRecordSequence"
SERVER_TOO_BUSY = _PREFIX + "ServerTooBusy"
TOO_LARGE = _PREFIX + "MaxMessageSizeExceededFault"
UNSUPPORTED_MODE = _PREFIX + "UnsupportedMode"
UNSUPPORTED_VERSION = _PREFIX + "UnsupportedVersion"
UPGRADE_INVALID = _PREFIX + "UpgradeInvalid"
VIA_TOO_LONG = _PREFIX + "ViaTooLong"

_BY_STATUS = {
    401: ACCESS_DENIED,
    403: ACCESS_DENIED,
    404: ENDPOINT_NOT_FOUND,
    421: ENDPOINT_NOT_FOUND,
    429: SERVER_TOO_BUSY,
    503: SERVER_TOO_BUSY,
}


def fault_of(error: RelayError) -> str:
    """The fault that tells a client of `error`, a listener's own refusal among them."""
    if isinstance(error, FramingError):
        return error.fault
    if isinstance(error, AcceptTimeout):  # the endpoint is there, but none took the session
        return DISPATCH_FAILED
    if isinstance(error, BadRequest | Unsupported):  # the via is no address, or one of other traffic
        return ENDPOINT_NOT_FOUND
    return _BY_STATUS.get(error.status, DISPATCH_FAILED)
