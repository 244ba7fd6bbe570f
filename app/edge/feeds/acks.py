"""`POST /-/acks/{relay}?durable=NAME`: deliveries that long polls brought are settled.

    {"ack": ["5d0c92ab-7", …], "nack": [{"d": "5d0c92ab-8", "delay": 5, "reason": "no stock"}, …]}

The answer lists each id under what became of it. An id that is not under way (any more) keeps nothing from the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from app.access.grant import Grant
from app.edge.credentials import credential_of
from app.edge.exchange import Exchange
from app.edge.feeds.callers import cors_headers, grant_for, token_of
from app.edge.feeds.durable import Durable
from app.edge.feeds.exchange import Misdirected, Preflight, WholeBody
from app.errors import BadRequest, EndpointNotFound, MethodNotAllowed, PayloadTooLarge
from app.namespace import Right
from app.wire.http import Head
from app.wire.native.query import split_options
from app.wire.native.session import NACK_DELAY_SECONDS
from app.wire.native.sharing import check_name, parse_delay, parse_reason
from fanout.address import parse_address

if TYPE_CHECKING:
    from app.edge.seam import Seam

DOOR = "/-/acks"
MAX_BODY_BYTES = 256 * 1024
MOST_IDS = 10_000


def exchange_for(seam: Seam, head: Head) -> Exchange:
    """The exchange that answers a request at this door."""
    if head.method == "OPTIONS":
        return Preflight(seam, head)
    if head.method != "POST":
        return Misdirected(seam, head, MethodNotAllowed("Deliveries are acknowledged by POST."))
    return Settlement(seam, head)


class _Nack(NamedTuple):
    id: str
    delay: float
    reason: str


class Settlement(WholeBody):
    """One request."""

    most_bytes = MAX_BODY_BYTES

    def start(self) -> None:
        self._grant: Grant | None = None  # a ticket may be good once only
        self._find()
        self.await_body()

    def _find(self) -> Durable:
        """The subscription, if the caller may settle what is delivered by it."""
        options = split_options(self.head.query)
        if list(options) != ["durable"]:
            raise BadRequest("Name the subscription, and nothing else, in the query: ?durable=NAME.")
        name = check_name(options["durable"])
        path = parse_address(self.head.path[len(DOOR) + 1 :])
        realm = self.context.realm(self.head.host)
        grant = self._grant
        if grant is None:
            token = credential_of(self.context, self.seam.transport, self.head, token_of(self.head))
            grant = self._grant = grant_for(self.context, realm, token, path)
        self.context.authorizer.check(grant)
        grant.require_right(Right.SUBSCRIBE)
        relay = realm.find(path)
        is_here = relay is not None and realm.namespace.relays.get(relay.key) is relay and len(relay.name) == len(path)
        if relay is None or not is_here or not grant.meets(relay, relay.name):  # whoever does not reach it is not told
            raise EndpointNotFound("There is no such relay; deliveries are acknowledged at /-/acks/{relay}.")
        durable = self.context.durables.find(realm, relay, name, grant)
        grant.require_all(Right.SUBSCRIBE, relay, durable.pattern)
        return durable

    def on_whole_body(self, body: bytes) -> None:
        acks, nacks = _parsed(body)
        durable = self._find()  # again: the body may have taken its time
        done: dict[str, list[str]] = {"acked": [], "nacked": [], "unknown": []}
        for id in acks:
            number = durable.number_of(id)
            done["unknown" if number is None or durable.ack(durable.holder, (number,)) else "acked"].append(id)
        for id, delay, reason in nacks:
            number = durable.number_of(id)
            is_unknown = number is None or durable.nack(durable.holder, (number,), delay, reason)
            done["unknown" if is_unknown else "nacked"].append(id)
        headers = [("Content-Type", "application/json"), *cors_headers(self.context, self.head)]
        self.respond(200, headers, orjson.dumps(done))


def _parsed(body: bytes) -> tuple[list[str], list[_Nack]]:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from error
    if not isinstance(said, dict) or not said or not said.keys() <= {"ack", "nack"}:
        raise BadRequest('The body is an object with "ack", "nack", or both.')
    acks, nacks = said.get("ack", []), said.get("nack", [])
    if not isinstance(acks, list) or not isinstance(nacks, list):
        raise BadRequest("'ack' and 'nack' are lists.")
    if len(acks) + len(nacks) > MOST_IDS:
        raise PayloadTooLarge(f"At most {MOST_IDS} deliveries are settled at once.")
    return [_id(each) for each in acks], [_nack(each) for each in nacks]


def _id(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 64:
        raise BadRequest("A delivery is named by the text of its 'fanwaydelivery'.")
    return value


def _nack(value: Any) -> _Nack:
    if isinstance(value, str):
        return _Nack(_id(value), NACK_DELAY_SECONDS, "")
    if not isinstance(value, Mapping) or not value.keys() <= {"d", "delay", "reason"}:
        raise BadRequest("""An element of 'nack' is an id, or {"d": id, "delay": seconds, "reason": text}.""")
    delay = parse_delay(value.get("delay"), NACK_DELAY_SECONDS)
    return _Nack(_id(value.get("d")), delay, parse_reason(value.get("reason")))
