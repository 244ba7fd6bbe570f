"""What Azure's management answers: ids and types in Azure's own mixed case, times with seven digits.

What a version does not know yet is left out, and so is whatever has no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from app.manage.arm.shapes import RIGHTS
from app.manage.arm.versions import NETWORKING, TLS, Version
from app.namespace import Namespace, Profile, Relay, Rule

WCF_TYPES = {
    Profile.HTTP: "Http",
    Profile.NET_TCP: "NetTcp",
    Profile.NET_ONEWAY: "NetOneway",
    Profile.NET_EVENT: "NetEvent",
}


class ArmView(BaseModel):
    """Names are camelCase on the wire."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class SystemData(ArmView):
    """When a thing was made and changed; by whom is not remembered."""

    created_at: str
    last_modified_at: str


class Resource(ArmView):
    """What everything has that has a place of its own."""

    id: str
    name: str
    type: str
    location: str | None = None
    system_data: SystemData | None = None


class SkuView(ArmView):
    name: Literal["Standard"] = "Standard"
    tier: Literal["Standard"] = "Standard"


class NamespacePropertiesView(ArmView):
    provisioning_state: Literal["Succeeded"] = "Succeeded"
    status: Literal["Active"] | None = None
    created_at: str
    updated_at: str
    service_bus_endpoint: str
    metric_id: str
    public_network_access: str | None = None
    private_endpoint_connections: list[Resource] | None = None
    minimum_tls_version: str | None = None


class NamespaceView(Resource):
    """A namespace."""

    tags: dict[str, str]
    sku: SkuView = SkuView()
    properties: NamespacePropertiesView


class HybridConnectionPropertiesView(ArmView):
    created_at: str
    updated_at: str
    listener_count: int
    requires_client_authorization: bool
    user_metadata: str | None = None


class HybridConnectionView(Resource):
    """A hybrid connection."""

    properties: HybridConnectionPropertiesView


class WcfRelayPropertiesView(HybridConnectionPropertiesView):
    is_dynamic: bool
    relay_type: str
    requires_transport_security: bool


class WcfRelayView(Resource):
    """A WCF relay."""

    properties: WcfRelayPropertiesView


class RulePropertiesView(ArmView):
    rights: list[str]


class RuleView(Resource):
    """An authorization rule without its keys."""

    properties: RulePropertiesView


class KeysView(ArmView):
    """The keys of a rule, and strings that clients take as they are."""

    key_name: str
    primary_key: str
    secondary_key: str
    primary_connection_string: str
    secondary_connection_string: str


class IpRuleView(ArmView):
    ip_mask: str
    action: str


class NetworkRuleSetPropertiesView(ArmView):
    default_action: str
    public_network_access: str
    trusted_service_access_enabled: bool
    ip_rules: list[IpRuleView]


class NetworkRuleSetView(Resource):
    """The network rules of a namespace."""

    properties: NetworkRuleSetPropertiesView


class PrivateLinkPropertiesView(ArmView):
    group_id: str = "namespace"
    required_members: list[str] = ["namespace"]
    required_zone_names: list[str] = ["privatelink.servicebus.windows.net"]


class PrivateLinkView(Resource):
    """What a private link would lead to."""

    properties: PrivateLinkPropertiesView = PrivateLinkPropertiesView()


class AvailabilityView(ArmView):
    """Whether a namespace may have a name."""

    name_available: bool
    reason: Literal["None", "InvalidName", "NameInUse"]
    message: str | None = None


class OperationDisplay(ArmView):
    provider: str
    resource: str
    operation: str


class OperationView(ArmView):
    """Something that one can be allowed to do."""

    name: str
    is_data_action: bool
    display: OperationDisplay


class NamespaceList(ArmView):
    value: Sequence[NamespaceView]
    next_link: str | None = None


class HybridConnectionList(ArmView):
    value: Sequence[HybridConnectionView]
    next_link: str | None = None


class WcfRelayList(ArmView):
    value: Sequence[WcfRelayView]
    next_link: str | None = None


class RuleList(ArmView):
    value: Sequence[RuleView]
    next_link: str | None = None


class PrivateLinkList(ArmView):
    value: Sequence[PrivateLinkView]
    next_link: str | None = None


class PrivateEndpointList(ArmView):
    value: Sequence[Resource]
    next_link: str | None = None


class OperationList(ArmView):
    value: Sequence[OperationView]
    next_link: str | None = None


class ArmFailure(ArmView):
    code: str = Field(description="A stable name for programs.")
    message: str = Field(description="What is wrong, ending in a tracking id.")


class ArmFailureBody(ArmView):
    """Every refusal on this door."""

    error: ArmFailure


class Viewer:
    """Makes views as one version has them. `subscription` and `group` are the namespace's own, `tls` is the oldest
    version of TLS that it is reached by."""

    def __init__(self, version: Version, namespace: Namespace, subscription: str, group: str, tls: str) -> None:
        self._version = version
        self._namespace = namespace
        self._subscription = subscription
        self._tls = tls
        home = f"/subscriptions/{subscription}/resourceGroups/{group}"
        self.id = f"{home}/providers/Microsoft.Relay/namespaces/{namespace.name}"

    def namespace(self, endpoint: str) -> NamespaceView:
        """`endpoint` is the URL by which the namespace is reached."""
        namespace, is_newer = self._namespace, self._version >= NETWORKING
        return NamespaceView(
            id=self.id,
            name=namespace.name,
            type="Microsoft.Relay/Namespaces",
            location=namespace.location,
            system_data=self._system_data(namespace),
            tags=namespace.tags,
            properties=NamespacePropertiesView(
                status="Active" if is_newer else None,
                created_at=stamp(namespace.created_at),
                updated_at=stamp(namespace.updated_at),
                service_bus_endpoint=endpoint,
                metric_id=f"{self._subscription}:{namespace.name.lower()}",
                public_network_access=namespace.network.public_network_access if is_newer else None,
                private_endpoint_connections=[] if is_newer else None,
                minimum_tls_version=self._tls if self._version >= TLS else None,
            ),
        )

    def hybrid_connection(self, relay: Relay, listeners: int) -> HybridConnectionView:
        return HybridConnectionView(
            **self._resource("HybridConnections", relay.name, relay),
            properties=HybridConnectionPropertiesView(
                created_at=stamp(relay.created_at),
                updated_at=stamp(relay.updated_at),
                listener_count=listeners,
                requires_client_authorization=relay.requires_client_authorization,
                user_metadata=relay.user_metadata or None,
            ),
        )

    def wcf_relay(self, relay: Relay, listeners: int) -> WcfRelayView:
        return WcfRelayView(
            **self._resource("WcfRelays", relay.name, relay),
            properties=WcfRelayPropertiesView(
                created_at=stamp(relay.created_at),
                updated_at=stamp(relay.updated_at),
                listener_count=listeners,
                requires_client_authorization=relay.requires_client_authorization,
                user_metadata=relay.user_metadata or None,
                is_dynamic=relay.is_dynamic,
                relay_type=WCF_TYPES[relay.profile],
                requires_transport_security=relay.requires_transport_security,
            ),
        )

    def rule(self, relay: Relay | None, rule: Rule) -> RuleView:
        rights = [name for name, right in RIGHTS.items() if right in rule.rights]
        scope = ""
        if relay is not None:
            kind = "WcfRelays" if relay.profile.is_wcf else "HybridConnections"
            scope = f"{kind}/{relay.name.replace('/', '~')}/"
        return RuleView(
            **self._resource("AuthorizationRules", rule.name, None, scope),
            properties=RulePropertiesView(rights=rights),
        )

    def network(self) -> NetworkRuleSetView:
        network = self._namespace.network
        return NetworkRuleSetView(
            **self._resource("networkRuleSets", "default", self._namespace),
            properties=NetworkRuleSetPropertiesView(
                default_action=network.default_action,
                public_network_access=network.public_network_access,
                trusted_service_access_enabled=network.trusted_service_access,
                ip_rules=[IpRuleView(ip_mask=rule.mask, action=rule.action) for rule in network.ip_rules],
            ),
        )

    def private_link(self) -> PrivateLinkView:
        return PrivateLinkView(**self._resource("privateLinkResources", "namespace", None))

    def _resource(self, kind: str, name: str, dated: Namespace | Relay | None, scope: str = "") -> dict[str, Any]:
        """What a thing in the namespace has; a name stays one segment of the id."""
        typed = kind[0].upper() + kind[1:]
        types = f"{scope.partition('/')[0]}/{typed}" if scope else typed
        return {
            "id": f"{self.id}/{scope}{kind}/{name.replace('/', '~')}",
            "name": name,
            "type": f"Microsoft.Relay/Namespaces/{types}",
            "location": self._namespace.location if self._version >= NETWORKING else None,
            "system_data": self._system_data(dated) if dated is not None else None,
        }

    def _system_data(self, dated: Namespace | Relay) -> SystemData | None:
        if self._version < NETWORKING:
            return None
        return SystemData(created_at=stamp(dated.created_at), last_modified_at=stamp(dated.updated_at))


def stamp(unix_time: float) -> str:
    """A time as Azure's management writes it."""
    return datetime.fromtimestamp(unix_time, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"
