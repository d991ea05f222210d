"""What can be set: JOBBROKER_* in the environment, checked as a whole before anything starts.

Read once at the edge and handed down; nothing else in the project reads the environment.
"""

from __future__ import annotations

import difflib
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from broker.local_settings import PREFIX, LocalSettings, SettingsError, issuer_url
from broker.mqtt.address import ServerUrl, parse_url
from schema.errors import shorten

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

_OFF: Final = "off"


def _about(name: str) -> str | None:
    return LocalSettings.model_fields[name].description


class Settings(LocalSettings):
    """Everything that the serving process can be told; see `LocalSettings` for the rest."""

    database_url: SecretStr = Field(description=_about("database_url"))
    mqtt_url: SecretStr = Field(description=_about("mqtt_url"))
    pool_size: int = Field(10, ge=2, le=500, description="most connections to PostgreSQL at once")
    mqtt_ca_file: Path | None = Field(
        None, description="certificates (PEM) to trust with mqtts://; the system's when unset"
    )
    mqtt_cert_file: Path | None = Field(
        None, description="our client certificate (PEM) with mqtts://, together with MQTT_KEY_FILE"
    )
    mqtt_key_file: Path | None = Field(None, description="the key (PEM) of MQTT_CERT_FILE")
    http_host: str = Field("127.0.0.1", description="the address to listen on for HTTP")
    http_port: int | None = Field(
        8000,
        ge=0,
        le=65535,
        description="the port to listen on for HTTP, 0 for a free one, off for none; unset: 8000, with `up` another"
        " when that is taken",
    )
    http_iot_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="a port of its own for AWS's `iot`, for clients whose signature does not say"
        " which service they mean; unset: none",
    )
    http_jobs_data_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="a port of its own for AWS's `iot-jobs-data`, as HTTP_IOT_PORT; unset: none",
    )
    http_token_rate: float = Field(
        200, ge=0, le=1e6, description="requests a second with one token over HTTP; 0: no limit"
    )
    http_address_rate: float = Field(
        1000, ge=0, le=1e6, description="requests a second from one address over HTTP; 0: no limit"
    )
    oidc_issuer: str | None = Field(
        None,
        description="the OpenID issuer whose tokens are taken over HTTP beside our own: its URL, as its tokens have it"
        " in iss; unset: none",
    )
    oidc_audience: str | None = Field(
        None, description="what a token of OIDC_ISSUER must have in aud; with OIDC_ISSUER"
    )
    oidc_role_claim: str = Field(
        "roles", description="the claim with roles; inner claims by dots: realm_access.roles"
    )
    oidc_role_prefix: str = Field(
        "", description="what stands before owner, admin, manager and viewer in OIDC_ROLE_CLAIM"
    )
    oidc_tenant_claim: str | None = Field(
        None, description="the claim with the tenant; unset: everybody is of OIDC_TENANT"
    )
    oidc_tenant: str = Field("default", description="the tenant, where OIDC_TENANT_CLAIM is unset")
    oidc_name_claim: str = Field(
        "sub", description="the claim with the name that logs and the audit log show, as oidc/NAME"
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^/\s]+",
        description="the OpenTelemetry collector (OTLP over HTTP) that is sent spans, http://HOST:4318; needs the extra"
        " `traces`; unset: none are made",
    )
    otlp_ratio: float = Field(
        0.1, ge=0, le=1, description="the share of spans kept of what has no sampled traceparent"
    )
    metrics_token: SecretStr | None = Field(
        None, description="the Bearer token that /metrics asks for; unset: it asks for none"
    )
    access_dir: Path | None = Field(
        None,
        description="where Mosquitto's passwd, acl and crl.pem are written; unset: they are not",
    )
    mqtt_pid_file: Path | None = Field(
        None,
        description="Mosquitto's pid_file: it is sent SIGHUP after its files were written; unset:"
        " somebody else reloads it",
    )
    batch_most: int = Field(
        512, ge=1, le=4096, description="most requests that are decided in one transaction"
    )
    receive_maximum: int = Field(
        1000, ge=1, le=65535, description="most requests taken from the MQTT server unacknowledged"
    )
    lanes: int = Field(
        4, ge=1, le=64, description="batches at work at once while few requests are on their way"
    )
    answer_qos: int = Field(
        0,
        ge=0,
        le=1,
        description="QoS of answers to devices: 0 as on AWS; 1 keeps them for devices that are away",
    )
    document_cache_bytes: int = Field(
        64 * 1024 * 1024, ge=0, description="memory for job documents that were sent lately, bytes"
    )
    retention_days: int = Field(
        730,
        ge=1,
        le=36500,
        description="jobs that ended longer ago are deleted with their executions, and audit lines"
        " of that age; 730 as on AWS",
    )

    @field_validator("http_port", mode="before")
    @classmethod
    def _may_be_off(cls, value: object) -> object:
        return None if value == _OFF else value

    @field_validator("mqtt_ca_file", "mqtt_cert_file", "mqtt_key_file")
    @classmethod
    def _is_readable(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                value.open("rb").close()
            except OSError as error:
                raise ValueError(f"cannot be read: {error.strerror}") from None
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _is_issuer(cls, value: str | None) -> str | None:
        return issuer_url(value)

    @model_validator(mode="after")
    def _issuer_fits(self) -> Self:
        if (self.oidc_issuer is None) != (self.oidc_audience is None):
            raise ValueError("JOBBROKER_OIDC_ISSUER and JOBBROKER_OIDC_AUDIENCE belong together")
        return self

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if (self.mqtt_cert_file is None) != (self.mqtt_key_file is None):
            raise ValueError("JOBBROKER_MQTT_CERT_FILE and JOBBROKER_MQTT_KEY_FILE belong together")
        if not self.mqtt.address.tls and (self.mqtt_ca_file or self.mqtt_cert_file):
            raise ValueError(
                "JOBBROKER_MQTT_URL: certificates are set, but mqtt:// uses none; write mqtts://"
            )
        return self

    @property
    def has_http(self) -> bool:
        """Whether to listen for HTTP anywhere."""
        ports = (self.http_port, self.http_iot_port, self.http_jobs_data_port)
        return ports != (None, None, None)

    @property
    def http_url(self) -> str | None:
        """Where HTTP is reached from this machine; None when that is nowhere, or not known before it listens."""
        if not self.http_port:
            return None
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to
        host = everywhere.get(self.http_host, self.http_host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.http_port}"

    @property
    def mqtt(self) -> ServerUrl:
        """JOBBROKER_MQTT_URL in its parts."""
        return parse_url(self.mqtt_url.get_secret_value())

    def tls_context(self) -> ssl.SSLContext | None:
        """What to speak TLS with; None for mqtt://. Raises SettingsError for files that do not fit."""
        if not self.mqtt.address.tls:
            return None
        try:
            context = ssl.create_default_context(
                cafile=str(self.mqtt_ca_file) if self.mqtt_ca_file else None
            )
            if self.mqtt_cert_file is not None:
                context.load_cert_chain(self.mqtt_cert_file, self.mqtt_key_file)
        except ssl.SSLError as error:
            raise SettingsError(
                f"JOBBROKER_MQTT_CA_FILE, JOBBROKER_MQTT_CERT_FILE, JOBBROKER_MQTT_KEY_FILE: {error}"
            ) from error
        return context


def load_settings(**instead: object) -> Settings:
    """Read and check everything; `instead` has values that take the environment's place.

    Raises SettingsError with a line for each variable that is missing, wrong or unknown.
    """
    return _load(Settings, instead)


def local_settings(**instead: object) -> LocalSettings:
    """Read and check what commands need. Raises SettingsError as above."""
    return _load(LocalSettings, instead)


def describe() -> list[tuple[str, str, str]]:
    """Every variable as (name, default, what it is), in the order of this file."""
    rows = []
    for name, field in Settings.model_fields.items():
        required = field.is_required()
        default = "required" if required else _default_words(field)
        rows.append((PREFIX + name.upper(), default, field.description or ""))
    return rows


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """One line for each JOBBROKER_* variable that nothing reads, with what it may have meant."""
    known = [name.upper() for name in Settings.model_fields]
    problems = []
    for name in sorted(environ):
        said = name.upper().removeprefix(PREFIX)
        if name.upper().startswith(PREFIX) and said not in known:
            near = difflib.get_close_matches(said, known, n=1)
            hint = f"; did you mean {PREFIX}{near[0]}?" if near else "; see `jobbroker settings`"
            problems.append(f"{name} is not a setting{hint}")
    return problems


_Model = TypeVar("_Model", bound=LocalSettings)


def _load(model: type[_Model], instead: Mapping[str, Any]) -> _Model:
    problems = unknown_variables(os.environ)
    try:
        settings = model(**instead)
    except ValidationError as error:
        problems += [_told(one) for one in error.errors()]
    else:
        if not problems:
            return settings
    raise SettingsError("\n".join(problems))


def _told(error: ErrorDetails) -> str:
    text = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return text
    name = str(error["loc"][0])
    variable = PREFIX + name.upper()
    if error["type"] == "missing":
        return f"{variable} is required: {Settings.model_fields[name].description}"
    if error["type"] == "extra_forbidden":
        return f"{variable} is not a setting"
    # A URL holds a password, a key is one: what it was stays unsaid.
    is_secret = name.endswith(("_url", "_key", "_token"))
    shown = "" if is_secret else f" {shorten(error['input'])}"
    return f"{variable}{shown}: {text}"


def _default_words(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "$XDG_DATA_HOME/jobbroker or ~/.local/share/jobbroker"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return "unset" if field.default is None else str(field.default)
