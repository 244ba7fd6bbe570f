"""What a call of Azure's management is about: its version, the namespace, the relay, found from path and query.

Operators manage everything, so these look for no right: whoever gets here was let in (`app.manage.arm.application`).
"""

from __future__ import annotations

from typing import Annotated, Protocol

from fastapi import Path, Query, Request

from app.access.operator import Operators
from app.errors import EndpointNotFound, ParentNotFound
from app.hosts import Hosts
from app.manage.arm.endpoint import Endpoint
from app.manage.arm.versions import NewerVersion, Version
from app.manage.arm.views import Viewer
from app.manage.names import relay_pattern
from app.manage.reached import origin_of
from app.namespace import Namespace, Profile, Relay, Rule, fold
from app.store.registry import Registry
from app.store.settings import check_relay_name
from fanout.address import MAX_ADDRESS_BYTES

_NAMESPACE, _RULE = r"^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$", r"^[A-Za-z0-9._~-]{1,256}$"

SubscriptionId = Annotated[str, Path(alias="subscriptionId", pattern=r"^[A-Za-z0-9-]{1,64}$")]
GroupName = Annotated[
    str, Path(alias="resourceGroupName", pattern=r"^[A-Za-z0-9._()-]{0,89}[A-Za-z0-9_()-]$", description="Any.")
]
NamespaceName = Annotated[str, Path(alias="namespaceName", pattern=_NAMESPACE)]
RelayName = Annotated[
    str,
    Path(
        alias="relayName",
        description="A '/' in it is sent as '~' or '%2F'.",
        json_schema_extra={"pattern": relay_pattern("[A-Za-z0-9._-]", "[~/]"), "maxLength": MAX_ADDRESS_BYTES},
    ),
]
RuleName = Annotated[str, Path(alias="authorizationRuleName", pattern=_RULE)]
# What is there already may be called more than what is made here, which those who make it say in words.
NEW_NAMESPACE, NEW_RULE = "[A-Za-z][A-Za-z0-9-]{4,48}[A-Za-z0-9]", "[A-Za-z0-9](?:[A-Za-z0-9._-]{0,48}[A-Za-z0-9])?"
NewNamespaceName = Annotated[
    str, Path(alias="namespaceName", pattern=_NAMESPACE, json_schema_extra={"pattern": f"^{NEW_NAMESPACE}$"})
]
NewRuleName = Annotated[
    str, Path(alias="authorizationRuleName", pattern=_RULE, json_schema_extra={"pattern": f"^{NEW_RULE}$"})
]
ApiVersion = Annotated[Version, Query(alias="api-version")]


class ArmContext(Protocol):
    """What Azure's management needs of the gateway."""

    registry: Registry

    @property
    def operators(self) -> Operators: ...

    @property
    def hosts(self) -> Hosts: ...

    @property
    def arm(self) -> ArmSettings: ...

    @property
    def tls_minimum(self) -> str:
        """The oldest version of TLS that is spoken, such as `1.2`."""

    def counts(self, namespace: Namespace, relay: Relay) -> tuple[int, int]:
        """How many listeners and subscriptions a relay has."""

    def endpoint(self, namespace: Namespace, reached: str) -> Endpoint:
        """Where clients reach a namespace; `reached` is the URL by which the caller came."""


class ArmSettings(Protocol):
    """The settings in `[arm]`."""

    @property
    def subscription(self) -> str: ...

    @property
    def resource_group(self) -> str: ...

    @property
    def page_items(self) -> int: ...


class Call:
    """Any call: what was asked, by which version."""

    def __init__(self, request: Request, api_version: ApiVersion) -> None:
        self.request = request
        self.version: Version = api_version
        self.context: ArmContext = request.app.state.context
        self.registry: Registry = self.context.registry

    @property
    def origin(self) -> str:
        """The URL by which the caller reached the gateway, as far as that is known: without path or last '/'."""
        return origin_of(self.request)

    def home(self, namespace: Namespace) -> tuple[str, str]:
        """Subscription and resource group of a namespace; the settings' for one that ARM did not make."""
        settings = self.context.arm
        return namespace.subscription or settings.subscription, namespace.resource_group or settings.resource_group

    def viewer(self, namespace: Namespace) -> Viewer:
        return Viewer(self.version, namespace, *self.home(namespace), self.context.tls_minimum)


class OfSubscription(Call):
    """A call on a subscription. Any name is one: there is nothing to be in it before a namespace is."""

    def __init__(self, request: Request, api_version: ApiVersion, subscription: SubscriptionId) -> None:
        super().__init__(request, api_version)
        self.subscription = subscription

    def namespaces(self) -> list[Namespace]:
        """All of the subscription, by name."""
        found = [each for each in self.registry.namespaces if fold(self.home(each)[0]) == fold(self.subscription)]
        return sorted(found, key=lambda namespace: fold(namespace.name))


class OfGroup(OfSubscription):
    """A call on a resource group, which is any name too."""

    def __init__(
        self, request: Request, api_version: ApiVersion, subscription: SubscriptionId, group: GroupName
    ) -> None:
        super().__init__(request, api_version, subscription)
        self.group = group

    def namespaces(self) -> list[Namespace]:
        """All of the group, by name."""
        return [each for each in super().namespaces() if self.is_home(each)]

    def is_home(self, namespace: Namespace) -> bool:
        subscription, group = self.home(namespace)
        return fold(subscription) == fold(self.subscription) and fold(group) == fold(self.group)


class OnNamespace(OfGroup):
    """A call on a namespace that may be there or not."""

    def __init__(
        self,
        request: Request,
        api_version: ApiVersion,
        subscription: SubscriptionId,
        group: GroupName,
        name: NamespaceName,
    ) -> None:
        super().__init__(request, api_version, subscription, group)
        self.name = name

    def find(self) -> Namespace | None:
        """The namespace, when it is in this group."""
        namespace = self.registry.find_namespace(self.name)
        return namespace if namespace is not None and self.is_home(namespace) else None

    def get(self) -> Namespace:
        """The namespace. Raises `EndpointNotFound`."""
        namespace = self.find()
        if namespace is None:
            raise EndpointNotFound(
                f"The Resource 'Microsoft.Relay/namespaces/{self.name}' under resource group '{self.group}' was not "
                "found."
            )
        return namespace


class PutNamespace(OnNamespace):
    """A call that may make the namespace."""

    def __init__(
        self,
        request: Request,
        api_version: ApiVersion,
        subscription: SubscriptionId,
        group: GroupName,
        name: NewNamespaceName,
    ) -> None:
        super().__init__(request, api_version, subscription, group, name)


class InNamespace(OnNamespace):
    """A call on something in a namespace, which is there. Raises `ParentNotFound`."""

    def __init__(
        self,
        request: Request,
        api_version: ApiVersion,
        subscription: SubscriptionId,
        group: GroupName,
        name: NamespaceName,
    ) -> None:
        super().__init__(request, api_version, subscription, group, name)
        try:
            self.namespace = self.get()
        except EndpointNotFound as error:
            raise ParentNotFound(error.message) from None
        self.view = self.viewer(self.namespace)

    @property
    def endpoint(self) -> Endpoint:
        return self.context.endpoint(self.namespace, self.origin)


class OnNetwork(InNamespace):
    """A call on who may reach a namespace, of which older versions know nothing."""

    def __init__(
        self,
        request: Request,
        api_version: Annotated[NewerVersion, Query(alias="api-version")],
        subscription: SubscriptionId,
        group: GroupName,
        name: NamespaceName,
    ) -> None:
        super().__init__(request, api_version, subscription, group, name)


class Rules(InNamespace):
    """A call on the rules of a namespace."""

    relay: Relay | None = None

    @property
    def rules(self) -> dict[str, Rule]:
        return self.namespace.rules if self.relay is None else self.relay.rules

    def rule(self, name: str) -> Rule:
        """Raises `EndpointNotFound`."""
        rule = self.rules.get(fold(name))
        if rule is None:
            raise EndpointNotFound("The authorization rule does not exist.")
        return rule


class RulesOfRelay(Rules):
    """A call on the rules of a relay, which is there. Raises `ParentNotFound`."""

    is_wcf: bool

    def __init__(
        self,
        request: Request,
        api_version: ApiVersion,
        subscription: SubscriptionId,
        group: GroupName,
        name: NamespaceName,
        relay_name: RelayName,
    ) -> None:
        super().__init__(request, api_version, subscription, group, name)
        self.relay = find_relay(self.namespace, relay_name, self.is_wcf)
        if self.relay is None:
            raise ParentNotFound("The relay does not exist.")


class RulesOfHybridConnection(RulesOfRelay):
    """A call on the rules of a hybrid connection."""

    is_wcf = False


class RulesOfWcfRelay(RulesOfRelay):
    """A call on the rules of a WCF relay."""

    is_wcf = True


def relay_path(namespace: Namespace, name: str) -> str:
    """The path that a name in ARM means: `~` is a '/' there, but for a relay that itself is called so.

    Raises `BadRequest`, or `InvalidAddress` where the address grammar refuses it.
    """
    return check_relay_name(name if fold(name) in namespace.relays else name.replace("~", "/"))


def find_relay(namespace: Namespace, name: str, is_wcf: bool) -> Relay | None:
    """The relay of that name and kind. Raises as `relay_path`."""
    relay = namespace.relays.get(fold(relay_path(namespace, name)))
    return relay if relay is not None and is_shown(relay, is_wcf) else None


def is_shown(relay: Relay, is_wcf: bool) -> bool:
    """Whether a relay is one of WCF's, or else a hybrid connection; those of our own are neither."""
    return relay.profile.is_wcf if is_wcf else relay.profile is Profile.HYBRID_CONNECTION
