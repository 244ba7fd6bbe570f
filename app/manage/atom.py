"""Atom management at an entity's own path, as Azure's tools and SDKs use it (protocol guide, "Atom create / update /
delete / list"); `app.edge.management` decides what comes here.

A PUT brings the whole description: what it leaves out has the default, only rules that it does not mention stay, and
so do settings that are not Azure's. Rules are shown, with their keys, to tokens with Manage and to nobody else.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.access.authorize import Authorizer
from app.access.grant import Grant
from app.errors import (
    AddressExists,
    BadRequest,
    ClaimMissing,
    EndpointNotFound,
    MethodNotAllowed,
    PayloadTooLarge,
    RelayError,
    as_relay_error,
)
from app.hosts import Hosts, host_name
from app.manage.audit import identify
from app.manage.reached import origin_of
from app.manage.refusals import note_refusal
from app.namespace import Namespace, Profile, Relay, Right, Rule, fold
from app.store.registry import Registry
from app.store.settings import RelaySettings, RuleSettings, check_relay_name
from app.telemetry import sentence
from app.wire.azure.atom import (
    ENTRY_CONTENT_TYPE,
    FEED_CONTENT_TYPE,
    MAX_BODY_BYTES,
    VERSIONS,
    encode_entry,
    encode_feed,
    parse_entry,
)
from app.wire.azure.choices import SENTENCES, Choices
from app.wire.azure.description import RELAY_TYPES, Description, Kind, RuleDescription
from app.wire.azure.handshake import matching_path, token_from
from app.wire.azure.refusal import XML_CONTENT_TYPE, xml_body

PAGE = 100  # entries of a list when nothing else is asked for
MAX_PAGE = 1000

_log = logging.getLogger("fanway.manage")

_RIGHTS = {right.label: right for right in (Right.LISTEN, Right.SEND, Right.MANAGE)}
_PROFILES = {"NetTcp": Profile.NET_TCP, "Http": Profile.HTTP}
_RELAY_TYPES = {profile: name for name in RELAY_TYPES for profile in Profile if profile.lower() == name.lower()}
_LISTS = {"hybridconnections": Kind.HYBRID_CONNECTION, "relays": Kind.RELAY}


class Context(Protocol):
    """What Atom management needs of the gateway."""

    registry: Registry

    @property
    def authorizer(self) -> Authorizer: ...

    @property
    def hosts(self) -> Hosts: ...

    @property
    def choices(self) -> Choices: ...

    def counts(self, namespace: Namespace, relay: Relay) -> tuple[int, int]:
        """How many listeners and subscriptions a relay has."""


class AtomDoor:
    """Answers what the edge has marked as Atom; all else goes to the application behind it."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope.get("state", {}).get("is_atom"):
            return await self._app(scope, receive, send)
        request = Request(scope, receive)
        try:
            response = await _Call(self._context, request).answer()
        except ClientDisconnect:  # in the middle of its body: there is nobody to answer
            return
        except Exception as error:
            response = _refusal(request, as_relay_error(error), error)
        await response(scope, receive, send)


class _Page(NamedTuple):
    skip: int
    top: int
    is_counted: bool


class _Call:
    """One request: who asks, about what."""

    def __init__(self, context: Context, request: Request) -> None:
        self._context = context
        self._request = request
        self._host = request.headers.get("host", "")
        self._namespace: Namespace = context.hosts.find(self._host)
        self._query = {key.lower(): value for key, value in parse_qsl(request.url.query, keep_blank_values=True)}
        self._token, _ = token_from(request.headers.items(), request.url.query, context.choices)
        raw_path = request.scope["raw_path"].decode("ascii")
        self._path = matching_path(raw_path.removeprefix("/"))
        self._origin = origin_of(request)
        self._here = f"{self._origin}{raw_path}"
        self._url = f"{self._here}?{request.url.query}" if request.url.query else self._here

    async def answer(self) -> Response:
        """The response. Raises RelayError, FanoutError."""
        if not self._path or self._path.startswith("$"):
            grant = self._grant(None)
            self._check_version()
            return self._list(grant)
        relay = self._namespace.relays.get(fold(self._path))
        grant = self._grant(relay)
        self._check_version()
        match self._request.method:
            case "GET" | "HEAD":
                return self._read(relay, grant)
            case "PUT":
                return await self._put(relay, grant)
            case "DELETE":
                return await self._delete(relay, grant)
        raise MethodNotAllowed("An entity takes GET, PUT and DELETE.")

    # --- one entity ---

    def _read(self, relay: Relay | None, grant: Grant) -> Response:
        """Any right at the entity suffices."""
        if relay is None:
            raise EndpointNotFound(SENTENCES[EndpointNotFound])
        if not any(grant.permits(right, relay, relay.name) for right in Right.MANAGE):
            raise ClaimMissing("Unauthorized access. The token does not reach this entity.")
        return self._entry(relay, 200, shows_keys=grant.permits_all(Right.MANAGE, relay))

    async def _put(self, relay: Relay | None, grant: Grant) -> Response:
        is_update = self._is_update()
        if relay is None:
            check_relay_name(self._path)
        wanted = relay or Relay(self._path)
        grant.require_whole(Right.MANAGE, wanted)
        description = parse_entry(await self._body())
        settings = self._settings(description, relay if is_update else None)
        rules = None
        if description.rules is not None:
            rules = [_rule_settings(rule) for rule in description.rules]
        stored = await self._context.registry.put_relay(self._namespace, self._path, settings, rules, exists=is_update)
        return self._entry(stored, 200 if is_update else 201, shows_keys=True)

    async def _delete(self, relay: Relay | None, grant: Grant) -> Response:
        if relay is None:
            raise EndpointNotFound(SENTENCES[EndpointNotFound])
        grant.require_whole(Right.MANAGE, relay)
        await self._context.registry.delete_relay(self._namespace, relay)
        return Response()

    def _is_update(self) -> bool:
        """Whether the PUT is for what exists: `If-Match: *` says so. There are no other entity tags here."""
        tag = self._request.headers.get("if-match")
        if tag is not None and tag.strip() != "*":
            raise BadRequest("If-Match should be '*' (update what exists) or be left out (create).")
        return tag is not None

    def _settings(self, description: Description, old: Relay | None) -> RelaySettings:
        """What the relay will be. An update keeps what it is: of another kind or type it would be another relay."""
        if description.kind is Kind.HYBRID_CONNECTION:
            profile = old.profile if old is not None and not old.profile.is_wcf else Profile.HYBRID_CONNECTION
        elif (known := _PROFILES.get(description.relay_type)) is not None:
            profile = known
        else:
            raise BadRequest(
                f"A relay of the type {description.relay_type} cannot be created: NetOneway and NetEvent come into "
                "being with their first listener, and only NetTcp and Http are provisioned."
            )
        if old is not None and old.profile is not profile:
            raise AddressExists(f"'{old.name}' is of another type, which cannot be changed; delete it first.")
        settings = replace(
            self._context.registry.defaults if old is None else RelaySettings.of(old),
            profile=profile,
            requires_client_authorization=description.requires_client_authorization,
            user_metadata=description.user_metadata,
        )
        if description.kind is Kind.RELAY:
            return replace(settings, requires_transport_security=description.requires_transport_security)
        return settings

    def _entry(self, relay: Relay, status: int, *, shows_keys: bool) -> Response:
        entry = encode_entry(self._describe(relay, shows_keys), self._url, host_name(self._host))
        headers = {"Cache-Control": "no-store"} if shows_keys and relay.rules else None
        return Response(entry, status, headers, ENTRY_CONTENT_TYPE)

    def _describe(self, relay: Relay, shows_keys: bool) -> Description:
        return Description(
            Kind.RELAY if relay.profile.is_wcf else Kind.HYBRID_CONNECTION,
            _RELAY_TYPES.get(relay.profile, ""),
            relay.requires_client_authorization,
            relay.requires_transport_security,
            relay.user_metadata,
            tuple(map(_rule_description, relay.rules.values())) if shows_keys else None,
            relay.is_dynamic,
            relay.name,
            relay.created_at,
            relay.updated_at,
            self._context.counts(self._namespace, relay)[0],
        )

    # --- lists ---

    def _list(self, grant: Grant) -> Response:
        """The entities of one kind, or of both at the root: those that the token manages."""
        kind = None
        if self._path:
            resource = self._path.partition("/")[2].lower()
            if (kind := _LISTS.get(resource)) is None:
                raise EndpointNotFound("There are lists at /$Resources/HybridConnections and /$Resources/Relays.")
        if self._request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("A list takes GET only.")
        grant.require_right(Right.MANAGE)
        page = self._page()
        relays = [
            relay
            for _, relay in sorted(self._namespace.relays.items())
            if (kind is None or (kind is Kind.RELAY) == relay.profile.is_wcf) and grant.permits_all(Right.MANAGE, relay)
        ]
        version = {"api-version": self._query.get("api-version", VERSIONS[-1])}
        entries = [
            (self._describe(relay, True), f"{self._origin}/{quote(relay.name)}?{urlencode(version)}")
            for relay in relays[page.skip : page.skip + page.top]
        ]
        following = None
        if page.top and page.skip + page.top < len(relays):
            query = {"$skip": page.skip + page.top, "$top": page.top, **version}
            following = f"{self._here}?{urlencode(query, safe='$')}"
        count = len(relays) if page.is_counted else None
        feed = encode_feed(entries, self._url, host_name(self._host), count=count, following=following)
        return Response(feed, 200, {"Cache-Control": "no-store"}, FEED_CONTENT_TYPE)

    def _page(self) -> _Page:
        inline = self._query.get("$inlinecount", "none").lower()
        if inline not in ("none", "allpages"):
            raise BadRequest("$inlinecount should be 'allpages' or 'none'.")
        return _Page(self._number("$skip", 0), min(self._number("$top", PAGE), MAX_PAGE), inline == "allpages")

    def _number(self, name: str, default: int) -> int:
        text = self._query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) <= 9):
            raise BadRequest(f"{name} should be a number, 0 or more.")
        return int(text)

    # --- what all have in common ---

    def _grant(self, relay: Relay | None) -> Grant:
        grant = self._context.authorizer.authorize(self._token, self._namespace, relay)
        identify(self._request, grant.holder)
        return grant

    def _check_version(self) -> None:
        version = self._query.get("api-version")
        if version is not None and version not in VERSIONS:
            raise BadRequest(f"The api-version is not known here; known are {' and '.join(VERSIONS)}.")

    async def _body(self) -> bytes:
        body = b""
        async for piece in self._request.stream():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise PayloadTooLarge(f"An entry is at most {MAX_BODY_BYTES} bytes long.")
        return body


def _rule_settings(rule: RuleDescription) -> RuleSettings:
    rights = Right.NONE
    for name in rule.rights:
        rights |= _RIGHTS[name]
    return RuleSettings(rule.name, rights, rule.primary_key, rule.secondary_key)


def _rule_description(rule: Rule) -> RuleDescription:
    rights = tuple(name for name, right in _RIGHTS.items() if right in rule.rights)
    return RuleDescription(rule.name, rights, rule.primary_key, rule.secondary_key)


def _refusal(request: Request, error: RelayError, fault: Exception) -> Response:
    """A refusal in Azure's XML, logged; `fault` is what went wrong on our side."""
    path = request.scope["raw_path"].decode("ascii")
    tracking_id = note_refusal(_log, path, error, fault)
    tracker = f"sb://{request.headers.get('host', '')}{path}"
    headers = {"TrackingId": tracking_id}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    body = xml_body(error.status, sentence(error.message, tracking_id, tracker))
    return Response(body, error.status, headers, XML_CONTENT_TYPE)
