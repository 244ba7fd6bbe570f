"""The JSON of a namespace: its settings, as given and as they are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from app.hosts import own_names
from app.manage.shapes import AliasList, AliasView, Shape
from app.namespace import IpRule, Namespace, NetworkRules
from app.store.settings import NamespaceSettings


class IpRuleShape(Shape):
    """A network, or a single address, and what becomes of callers from there."""

    mask: str = Field(
        min_length=1,
        max_length=64,
        json_schema_extra={"format": "ip-network"},
        description="`10.0.0.0/24`, or an address.",
    )
    action: Literal["Allow", "Deny"] = "Allow"


class NetworkShape(Shape):
    """Who may reach the namespace at all: the first rule that matches counts, else the default."""

    default_action: Literal["Allow", "Deny"] = "Allow"
    public_network_access: Literal["Enabled", "Disabled", "SecuredByPerimeter"] = "Enabled"
    trusted_service_access: bool = False
    ip_rules: list[IpRuleShape] = Field(default=[], max_length=128)

    def rules(self) -> NetworkRules:
        ip_rules = tuple(IpRule(rule.mask, rule.action) for rule in self.ip_rules)
        return NetworkRules(self.default_action, self.public_network_access, self.trusted_service_access, ip_rules)

    @classmethod
    def of(cls, network: NetworkRules) -> NetworkShape:
        return cls(
            default_action=network.default_action,
            public_network_access=network.public_network_access,
            trusted_service_access=network.trusted_service_access,
            ip_rules=[IpRuleShape(mask=rule.mask, action=rule.action) for rule in network.ip_rules],
        )


class NamespaceShape(Shape):
    """The settings of a namespace; what is left out stays as it is."""

    subscription: str = Field(default="", max_length=256, description="As Azure's management knows it.")
    resource_group: str = Field(default="", max_length=256, description="As Azure's management knows it.")
    location: str = Field(default="local", max_length=256)
    tags: dict[str, str] = Field(default={}, max_length=50)
    network: NetworkShape = Field(default_factory=NetworkShape)

    def over(self, settings: NamespaceSettings) -> NamespaceSettings:
        """These settings, with those given where nothing was said."""
        names = self.model_fields_set & set(NamespaceSettings.__dataclass_fields__)
        said = {name: getattr(self, name) for name in names}
        if "network" in said:
            said["network"] = self.network.rules()
        return replace(settings, **said)


class NamespaceView(NamespaceShape):
    """A namespace as it is now."""

    name: str
    is_primary: bool = Field(description="The gateway was started for it; it cannot be removed.")
    hosts: list[str] = Field(description="The host names that it has by its own name.")
    aliases: list[AliasView]
    relay_count: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, namespace: Namespace, *, is_primary: bool) -> NamespaceView:
        return cls(
            name=namespace.name,
            is_primary=is_primary,
            hosts=list(own_names(namespace.name)),
            aliases=AliasList.of(namespace).aliases,
            subscription=namespace.subscription,
            resource_group=namespace.resource_group,
            location=namespace.location,
            tags=namespace.tags,
            network=NetworkShape.of(namespace.network),
            relay_count=len(namespace.relays),
            created_at=datetime.fromtimestamp(namespace.created_at, UTC),
            updated_at=datetime.fromtimestamp(namespace.updated_at, UTC),
        )


class NamespaceList(Shape):
    """All namespaces of a gateway."""

    namespaces: list[NamespaceView]
