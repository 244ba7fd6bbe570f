"""The bodies that Azure's management takes: property names compare ignoring case, null is as good as left out.

What is unknown or read-only is passed over, as Azure does it: tools send back what they have read.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

from app.namespace import IpRule, NetworkRules, Right
from app.store.settings import MAX_IP_RULES, MAX_METADATA

Text = dict[str, str]

MAX_TAGS = 50  # of one thing, as Azure has it
RIGHTS = {"Listen": Right.LISTEN, "Send": Right.SEND, "Manage": Right.MANAGE}


class ArmShape(BaseModel):
    """Names are camelCase; types are taken strictly."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _fold_names(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        spelled = {name.lower(): name for name in (to_camel(field) for field in cls.model_fields)}
        folded: dict[str, Any] = {}
        for name, value in body.items():
            known = spelled.get(name.lower())
            if known is None:
                continue
            if known in folded:
                raise ValueError(f"'{known}' is given twice")
            folded[known] = value
        return {name: value for name, value in folded.items() if value is not None}


def _choice(*names: str) -> BeforeValidator:
    """One of these words, whose case does not matter."""
    spelled = {name.lower(): name for name in names}
    return BeforeValidator(lambda given: spelled.get(given.lower(), given) if isinstance(given, str) else given)


Action = Annotated[Literal["Allow", "Deny"], _choice("Allow", "Deny")]
_Access = Literal["Enabled", "Disabled", "SecuredByPerimeter"]
Access = Annotated[_Access, _choice(*get_args(_Access))]
Standard = Annotated[Literal["Standard"], _choice("Standard")]
RightName = Annotated[Literal["Listen", "Send", "Manage"], _choice(*RIGHTS)]
RelayType = Annotated[Literal["NetTcp", "Http"], _choice("NetTcp", "Http")]
KeyType = Annotated[Literal["PrimaryKey", "SecondaryKey"], _choice("PrimaryKey", "SecondaryKey")]
Metadata = Annotated[str, Field(max_length=MAX_METADATA)]
Tags = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=512)], Annotated[str, Field(max_length=256)]],
    Field(max_length=MAX_TAGS),
]


class Sku(ArmShape):
    """There is one only."""

    name: Standard | None = None
    tier: Standard | None = None


class NamespaceProperties(ArmShape):
    """Of a namespace, what can be chosen beside its place and its tags."""

    public_network_access: Access | None = Field(default=None, description="Disabled: no caller gets in.")
    minimum_tls_version: Literal["1.2", "1.3"] | None = Field(
        default=None, description="At most the gateway's own, which is a setting of it."
    )
    private_endpoint_connections: Annotated[list[dict[str, Any]], Field(max_length=0)] | None = None


class NamespaceBody(ArmShape):
    """A namespace to create or replace."""

    location: str = Field(pattern=r"^[A-Za-z0-9 ()-]{1,90}$", description="Any; the namespace is on this gateway.")
    tags: Tags | None = None
    sku: Sku | None = None
    properties: NamespaceProperties | None = None


class NamespacePatch(ArmShape):
    """What shall change of a namespace; tags are replaced as a whole."""

    tags: Tags | None = None
    sku: Sku | None = None
    properties: NamespaceProperties | None = None


class HybridConnectionProperties(ArmShape):
    """Of a hybrid connection, what can be chosen; what is left out gets its default."""

    requires_client_authorization: bool | None = Field(default=None, description="False: senders need no token.")
    user_metadata: Metadata | None = None


class HybridConnectionBody(ArmShape):
    """A hybrid connection to create or replace."""

    properties: HybridConnectionProperties | None = None


class WcfRelayProperties(HybridConnectionProperties):
    """Of a WCF relay, what can be chosen; what is left out gets its default."""

    relay_type: RelayType | None = Field(default=None, description="NetTcp unless it says otherwise; it never changes.")
    requires_transport_security: bool | None = Field(default=None, description="Senders must come by TLS.")


class WcfRelayBody(ArmShape):
    """A WCF relay to create or replace."""

    properties: WcfRelayProperties | None = None


_RIGHTS_SCHEMA: dict[str, Any] = {
    "type": "array",
    "uniqueItems": True,
    "anyOf": [
        {"items": {"enum": ["Listen", "Send"]}, "minItems": 1, "maxItems": 2},
        {"items": {"enum": ["Listen", "Send", "Manage"]}, "minItems": 3, "maxItems": 3},
    ],
}


class RuleProperties(ArmShape):
    """What a rule lets its holder do."""

    rights: Annotated[list[RightName], Field(min_length=1, max_length=3), WithJsonSchema(_RIGHTS_SCHEMA)]

    @model_validator(mode="after")
    def _has_what_manage_needs(self) -> RuleProperties:
        if len(set(self.rights)) != len(self.rights):
            raise ValueError("rights: one is given twice")
        if "Manage" in self.rights and len(self.rights) < 3:
            raise ValueError("rights: 'Manage' needs 'Listen' and 'Send' too")
        return self

    def right(self) -> Right:
        total = Right.NONE
        for name in self.rights:
            total |= RIGHTS[name]
        return total


class RuleBody(ArmShape):
    """An authorization rule to create or change."""

    properties: RuleProperties


class RegenerateBody(ArmShape):
    """Which key of a rule to renew. A key that is given is taken as it is."""

    key_type: KeyType
    key: Annotated[str, Field(pattern=r"^[!-:<-~]{1,256}$", description="Printable ASCII without ';'.")] | None = None


class NameBody(ArmShape):
    """A name that a namespace might get."""

    name: str


def _is_network(mask: str) -> str:
    try:
        ipaddress.ip_network(mask)
    except ValueError as error:
        raise ValueError(f"{error}: should be an address, or a network such as 10.0.0.0/24") from None
    return mask


class IpRuleShape(ArmShape):
    """Callers from a network, and what becomes of them."""

    ip_mask: Annotated[str, AfterValidator(_is_network)] = Field(
        json_schema_extra={"format": "ip-network"}, description="`10.0.0.0/24`, or a single address."
    )
    action: Action | None = None


class NetworkRuleSetProperties(ArmShape):
    """Who may reach a namespace; the first rule that matches counts, else the default."""

    default_action: Action | None = None
    public_network_access: Access | None = Field(default=None, description="Left out: stays as it is.")
    trusted_service_access_enabled: bool | None = None
    ip_rules: Annotated[list[IpRuleShape], Field(max_length=MAX_IP_RULES)] | None = None

    def over(self, now: NetworkRules) -> NetworkRules:
        return NetworkRules(
            self.default_action or "Allow",
            self.public_network_access or now.public_network_access,
            bool(self.trusted_service_access_enabled),
            tuple(IpRule(rule.ip_mask, rule.action or "Allow") for rule in self.ip_rules or ()),
        )


class NetworkRuleSetBody(ArmShape):
    """The network rules of a namespace."""

    properties: NetworkRuleSetProperties
