"""The settings: flags over FANWAY_* variables over a TOML file over defaults.

Each setting's text is written once, beside it; it is the help of `fanway serve` and docs/settings.md.
Unknown keys are refused with their path, so that a typing error never means a default.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.hosts import Bind, is_loopback, parse_bind
from app.identity import Identity
from app.push.options import Push
from app.wire.azure.choices import Choices

PREFIX = "FANWAY_"

# Variables that are the client's, or that Kubernetes sets for a service named `fanway`.
_NOT_OURS = re.compile(
    r"FANWAY_(URL|KEY|KEY_NAME|TOKEN|CA|CONNECTION_STRING|CONFIG|COMMAND|DEBUG|SERVICE_.*|PORT|PORT_.*)"
)


class ConfigurationError(ValueError):
    """A setting or provisioning file that cannot be used; the text names the place and what is wrong."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Part):
    """What one peer may send at once."""

    head_bytes: int = Field(default=32768, ge=1024, description="Largest request head, in bytes; beyond it 431.")
    head_seconds: float = Field(
        default=10, gt=0, description="Time for a request head to arrive in full; beyond it 408."
    )
    url_bytes: int = Field(default=16384, ge=512, description="Longest request target, in bytes; beyond it 414.")
    event_bytes: int = Field(default=1 << 20, ge=1, description="Largest payload of an event, in bytes; beyond it 413.")
    listeners: int = Field(
        default=25, ge=0, description="Most listeners on one relay of Azure's profiles; 0 is no limit. Azure's is 25."
    )
    native_listeners: int = Field(
        default=0, ge=0, description="Most listeners on one relay of the profile `native`; 0 is no limit."
    )
    refused_listens: int = Field(
        default=20,
        ge=1,
        description="Refused listens of one address and path that are answered at once; further ones wait.",
    )
    retained_addresses: int = Field(
        default=100_000, ge=0, description="Most addresses whose last event a relay retains; beyond it 429."
    )
    retained_bytes: int = Field(default=64 << 20, ge=0, description="Most bytes that a relay retains beside history.")
    batch_lines: int = Field(default=10_000, ge=1, description="Most events in one NDJSON or CloudEvents batch.")
    batch_bytes: int = Field(default=1 << 20, ge=1, description="Largest batch, in bytes; beyond it 413.")
    delay_seconds: float = Field(default=604_800, gt=0, description="Longest time until an event's `not-before`.")
    delayed_events: int = Field(default=10_000, ge=0, description="Most events that may wait at one relay.")
    journal_bytes: int = Field(
        default=0,
        ge=0,
        description="Largest size of `journal.db`, where durable relays keep their events; beyond it publishes to them "
        "get 507. 0 is no limit but the disk.",
    )


class Deadlines(_Part):
    """How long the gateway waits, in seconds."""

    accept_seconds: float = Field(default=30, gt=0, description="For a listener to come to a rendezvous.")
    response_seconds: float = Field(default=60, gt=0, description="For a listener to begin its answer to a request.")
    idle_seconds: float = Field(default=60, gt=0, description="For the next bytes of an answer or body that has begun.")
    block_seconds: float = Field(
        default=30, gt=0, description="For who holds up publishers to take something; for a publish that is held up."
    )
    close_seconds: float = Field(
        default=5, gt=0, description="For a peer to finish closing; then its connection is aborted."
    )
    half_close_seconds: float = Field(
        default=60, gt=0, description="For the other side of a half-closed socket to end too."
    )
    channel_seconds: float = Field(
        default=86_400,
        ge=0,
        description="Life of a listener's control channel on Azure's profiles, after which it is to connect again, as "
        "Azure has it; 0 is no end.",
    )
    refusal_seconds: float = Field(
        default=30,
        ge=0,
        description="Longest time between two refusals to an address that goes on trying to listen; it begins with a "
        "second and doubles. 0: nobody waits.",
    )
    ping_seconds: float = Field(default=25, gt=0, description="Between pings on quiet control channels.")
    keep_alive_seconds: float = Field(default=75, gt=0, description="For the next request on an idle HTTP connection.")
    drain_seconds: float = Field(
        default=10, ge=0, description="For requests and rendezvous under way to end when the gateway stops."
    )
    token_grace_seconds: float = Field(default=300, ge=0, description="That a token stays good past its expiry.")


class Budgets(_Part):
    """Bytes that may be owed to slow peers."""

    connection_bytes: int = Field(
        default=1 << 20, ge=1024, description="Bytes owed to one connection before it counts as slow."
    )
    process_bytes: int = Field(
        default=256 << 20,
        ge=1 << 20,
        description="Bytes owed to all; beyond it the worst are shed first. As "
        "much may pend in groups and durable subscriptions; beyond it they take no more before they settle some.",
    )
    unsaved_bytes: int = Field(
        default=64 << 20,
        ge=1 << 20,
        description="Bytes published to durable relays that may wait for the disk. Beyond half of it WebSockets that "
        "publish to them are read no further; beyond it publishes to them get 503.",
    )


class HistoryDefaults(_Part):
    """What a relay remembers unless it says otherwise."""

    keep: Literal["none", "memory", "durable"] = Field(
        default="memory",
        description="Whether events are remembered, and where; `durable` is on disk, and what is left alone of the "
        "others is then 1000000, 604800 and 1073741824.",
    )
    events: int = Field(default=1000, ge=0, description="Most events remembered.")
    seconds: float = Field(default=300, ge=0, description="Longest time an event is remembered.")
    bytes: int = Field(default=1 << 20, ge=0, description="Most payload bytes remembered.")


class Arm(_Part):
    """Azure's management (ARM), and the operators who may use it."""

    enabled: bool = Field(default=True, description="Answer Azure's management at all; else its paths are relayed.")
    operator_token: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Bearer token that opens it. Left alone: made on the first start, in `operator.token`.",
    )
    subscription: str = Field(
        default="00000000-0000-0000-0000-000000000000",
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="Subscription of namespaces that were not made by ARM.",
    )
    resource_group: str = Field(
        default="default",
        pattern=r"^[A-Za-z0-9._()-]{0,89}[A-Za-z0-9_()-]$",
        description="Resource group of these.",
    )
    page_items: int = Field(default=100, ge=1, le=1000, description="Most things on one page of a list.")


class CertificateSettings(_Part):
    """A certificate for one host name or namespace."""

    cert: Path = Field(description="PEM file of the certificate, with its chain.")
    key: Path = Field(description="PEM file of its private key.")


class Settings(BaseSettings):
    """Everything that can be set. `load_settings` makes one."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True, extra="forbid", frozen=True
    )

    listen: str = Field(
        default="127.0.0.1:8480", description="HOST:PORT for plain HTTP and WebSocket; port 0 takes a free one."
    )
    tls_listen: str = Field(
        default="127.0.0.1:8443",
        description="HOST:PORT for TLS. Left alone it follows the host of `listen`, and its port 0.",
    )
    nettcp_listen: str | None = Field(
        default=None, description="HOST:PORT for `net.tcp` clients (WCF). Left out: there is no such door."
    )
    nettcp_tls_listen: str | None = Field(
        default=None, description="HOST:PORT for `net.tcp` inside TLS, when there is a certificate."
    )
    tls: bool = Field(default=True, description="Listen with TLS too, when there is a certificate.")
    dev_tls: bool | None = Field(
        default=None,
        description="Make a local certificate authority and certificate. Left alone: on loopback, or as an emulator.",
    )
    tls_cert: Path | None = Field(
        default=None, description="PEM file of a certificate (with its chain) to use instead."
    )
    tls_key: Path | None = Field(default=None, description="PEM file of its private key.")
    tls_minimum: Literal["1.2", "1.3"] = Field(default="1.2", description="Oldest version of TLS that is spoken.")
    certificates: dict[str, CertificateSettings] = Field(
        default={},
        description="Certificates of their own, `{cert, key}` by host name (`*.NAME`: all names one label below it) or "
        "by namespace.",
    )
    emulator: bool = Field(
        default=False,
        description="For tests: everything in memory, a key that everybody knows, a clock that can be moved, faults on "
        "demand. Only the development certificate is kept in the data folder.",
    )
    data: Path = Field(default=Path(".fanway"), description="Folder for database, keys and certificates.")
    relays: Path | None = Field(
        default=None, description="TOML or JSON file of relays and rules to provision at start."
    )
    namespace: str = Field(
        default="default",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$",
        description="Name of the namespace; also a host name.",
    )
    advertise: str | None = Field(
        default=None,
        pattern=r"^https?://[^/?#@\s]+/?$",
        description="URL by which clients reach the gateway, if not as bound.",
    )
    dynamic_relays: bool | None = Field(
        default=None, description="Let relays come into being by use. Left alone: on loopback, or as an emulator."
    )
    cors_origins: tuple[str, ...] = Field(
        default=("*",), description="Origins whose pages may use `/-/events` and `/-/ask`; `*` is any."
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=(), description="Addresses whose `X-Forwarded-*` headers are believed."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What is logged, to stderr."
    )
    limits: Limits = Field(default=Limits(), description="")
    deadlines: Deadlines = Field(default=Deadlines(), description="")
    budgets: Budgets = Field(default=Budgets(), description="")
    history: HistoryDefaults = Field(default=HistoryDefaults(), description="")
    push: Push = Field(default=Push(), description="")
    identity: Identity = Field(default=Identity(), description="")
    arm: Arm = Field(default=Arm(), description="")
    azure: Choices = Field(default=Choices(), description="")

    @field_validator("listen", "tls_listen", "nettcp_listen", "nettcp_tls_listen")
    @classmethod
    def _is_bind(cls, value: str | None) -> str | None:
        if value is not None:
            parse_bind(value)
        return value

    @property
    def plain_bind(self) -> Bind:
        return parse_bind(self.listen)

    @property
    def tls_bind(self) -> Bind | None:
        """Where to listen with TLS, None when there is no certificate to do it with."""
        if not self.tls or not (self.uses_dev_tls or self.tls_cert or self.certificates):
            return None
        if "tls_listen" in self.model_fields_set:
            return parse_bind(self.tls_listen)
        plain = self.plain_bind
        return Bind(plain.host, 0 if plain.port == 0 else parse_bind(self.tls_listen).port)

    @property
    def is_loopback(self) -> bool:
        """Whether nothing but this machine can reach the gateway."""
        explicit = [self.tls_listen] if self.tls and "tls_listen" in self.model_fields_set else []
        explicit += [text for text in (self.nettcp_listen, self.nettcp_tls_listen) if text is not None]
        return all(is_loopback(parse_bind(text).host) for text in [self.listen, *explicit])

    @property
    def is_for_development(self) -> bool:
        """Whether what is convenient goes before what is strict."""
        return self.is_loopback or self.emulator

    @property
    def uses_dev_tls(self) -> bool:
        if not self.tls or self.tls_cert is not None:
            return False
        return self.is_for_development if self.dev_tls is None else self.dev_tls

    @property
    def allows_dynamic_relays(self) -> bool:
        return self.is_for_development if self.dynamic_relays is None else self.dynamic_relays


def load_settings(flags: Mapping[str, Any] | None = None, file: Path | None = None) -> Settings:
    """Settings from flags (those not None), the environment and a TOML file.

    Raises `ConfigurationError`, one line for each thing that is wrong.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    if file is None and (named := os.environ.get(f"{PREFIX}CONFIG")):
        file = Path(named)
    content = read_table(file) if file is not None else {}

    class Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            *sources: PydanticBaseSettingsSource,
            **named: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return named["init_settings"], named["env_settings"], InitSettingsSource(settings_cls, content)

    _refuse_unknown_variables()
    try:
        settings = Sourced(**given)
        if (settings.tls_cert is None) != (settings.tls_key is None):
            raise ConfigurationError("tls_cert and tls_key: give both or neither")
        return settings
    except ValidationError as error:
        raise ConfigurationError(explain(error)) from None
    except ConfigurationError:
        raise
    except ValueError as error:  # a variable of a structured setting that is not JSON
        raise ConfigurationError(f"{PREFIX}* variables: {error}") from None


def read_table(file: Path) -> dict[str, Any]:
    """The content of a TOML file; raises `ConfigurationError` when it cannot be read."""
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: not TOML: {error}") from None


def explain(error: ValidationError, root: str = "") -> str:
    """What pydantic found wrong, a line each: the path of the key and the reason, never the value."""
    lines = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        path = root
        for step in item["loc"]:
            path += f"[{step}]" if isinstance(step, int) else f"{'.' if path else ''}{step}"
        reason = "is not known here" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        lines.append(f"{path}: {reason}" if path else reason)
    return "\n".join(lines)


def fields(model: type[BaseModel] = Settings, path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every single setting with its dotted path, in order."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields(kind, f"{path}{name}.")
        else:
            yield f"{path}{name}", field


def variable(path: str) -> str:
    """The environment variable of a setting: `limits.head_bytes` is FANWAY_LIMITS__HEAD_BYTES."""
    return PREFIX + path.replace(".", "__").upper()


def flag_of(path: str) -> str:
    """The flag of a top-level setting; a switch shows both forms."""
    flag = "--" + path.replace("_", "-")
    return f"{flag}/--no-{flag[2:]}" if is_switch(Settings.model_fields[path]) else flag


def is_switch(field: FieldInfo) -> bool:
    """Whether it has two flags, on and off."""
    return field.annotation in (bool, bool | None)


def _refuse_unknown_variables() -> None:
    known = {variable(path) for path, _ in fields()} | {variable(name) for name in Settings.model_fields}
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known and not _NOT_OURS.fullmatch(name):
            raise ConfigurationError(f"{name}: is not known here")
