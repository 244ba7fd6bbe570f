"""`GetRuntimeInformationAsync` of Azure's SDKs: a GET on an entity's path that is meant for the relay itself."""

from __future__ import annotations

from app.access.grant import MISSING_TOKEN
from app.edge.exchange import Exchange
from app.edge.realm import NO_ENDPOINT
from app.edge.refusal import Door
from app.errors import ClaimMissing, EndpointNotFound, MethodNotAllowed, Unauthorized
from app.hosts import host_name
from app.namespace import Right, fold
from app.wire.azure.atom import ENTRY_CONTENT_TYPE, RuntimeInformation, encode_entry
from app.wire.azure.handshake import matching_path, token_from


class EntityRead(Exchange):
    """Any right at the entity suffices to read it."""

    door = Door.AZURE

    def start(self) -> None:
        head, context = self.head, self.context
        realm = context.realm(head.host)
        if head.method != "GET":
            raise MethodNotAllowed("Of Atom management this version offers GET on an entity; use /-/api to change it.")
        relay = realm.namespace.relays.get(fold(matching_path(head.path.removeprefix("/"))))
        token, _ = token_from(head.headers, head.query)
        if token is None:
            raise Unauthorized(MISSING_TOKEN)
        grant = context.authorizer.authorize(token, realm.namespace, relay)
        if relay is None:
            raise EndpointNotFound(NO_ENDPOINT)
        if not any(grant.permits(right, relay, relay.name) for right in (Right.LISTEN, Right.SEND)):
            raise ClaimMissing("Unauthorized access. The token does not reach this entity.")
        information = RuntimeInformation(
            relay.name,
            relay.created_at,
            relay.updated_at,
            relay.requires_client_authorization,
            relay.user_metadata,
            realm.roster.count(relay.key),
        )
        entry = encode_entry(information, f"https://{head.host}{head.target}", host_name(head.host))
        self.respond(200, [("Content-Type", ENTRY_CONTENT_TYPE), ("Date", self.seam.date())], entry)
