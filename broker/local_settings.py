"""What commands need of JOBBROKER_* in the environment, which the serving process reads as well."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from broker.document_hosts import AllowedHosts
from broker.mqtt.address import parse_url
from broker.secret_keys import parse_keys
from schema.presign import S3Store
from schema.things_stack_hosts import DEFAULT_HOSTS, StackHosts
from schema.topics import TopicMode

PREFIX: Final = "JOBBROKER_"
UrlName = Literal["database_url", "migration_url", "mqtt_url", "operator_url"]


class SettingsError(Exception):
    """The environment cannot be served with; the text has one line for each thing wrong."""


def default_data_dir() -> Path:
    """Where `up` keeps its data when nobody says: $XDG_DATA_HOME/jobbroker or ~/.local/share."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "jobbroker"


def issuer_url(value: str | None) -> str | None:
    """An OpenID issuer's URL: https, or this very machine. Raises ValueError."""
    if value is not None:
        place = urlsplit(value)
        near = place.hostname in ("127.0.0.1", "::1", "localhost")
        if not place.hostname or place.scheme not in (("https", "http") if near else ("https",)):
            raise ValueError("expected https://HOST[/PATH]")
    return value


class LocalSettings(BaseSettings):
    """What commands need of the environment: nothing of it is required, all of it is checked."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True
    )

    database_url: SecretStr | None = Field(
        None,
        description="PostgreSQL for serving: postgresql://user:password@host:port/database; this"
        " login needs no rights but membership in the role jobbroker_serve",
    )
    migration_url: SecretStr | None = Field(
        None,
        description="PostgreSQL for `jobbroker migrate`: a login that owns the tables and may"
        " create roles; DATABASE_URL when unset",
    )
    mqtt_url: SecretStr | None = Field(
        None,
        description="the MQTT server's listener for the broker, without a mount point:"
        " mqtt://user:password@host:port, or mqtts:// for TLS",
    )
    mqtt_topics: TopicMode = Field(
        TopicMode.MOUNTED,
        description="mounted: topics begin with the tenant, as mosquitto.conf sets up; plain: no"
        " prefix, one tenant `default`, one process at a time",
    )
    operator_url: SecretStr | None = Field(
        None,
        description="for commands: act as this operator over MQTT, mqtt://ann:TOKEN@host:port,"
        " instead of on the database",
    )
    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="where `up` keeps PostgreSQL, Mosquitto and their secrets, and where the"
        " certificate authority is (its directory ca)",
    )
    ca_dir: Path | None = Field(
        None, description="the certificate authority's directory; DATA_DIR/ca when unset"
    )
    document_hosts: str | None = Field(
        None,
        description="from where documentSource may be read: HOST, HOST:PORT, and for private"
        " addresses ADDRESS or NETWORK/BITS, by commas; unset: from nowhere",
    )
    s3_endpoint: str | None = Field(
        None,
        description="the store whose URLs are presigned in job documents: S3 or what speaks like"
        " it, https://HOST[:PORT] without a bucket; unset: no such URLs",
    )
    s3_region: str = Field("us-east-1", description="the store's region")
    s3_access_key: str | None = Field(None, description="the store's access key; with S3_ENDPOINT")
    s3_secret_key: SecretStr | None = Field(
        None, description="the secret of S3_ACCESS_KEY, which signs; with S3_ENDPOINT"
    )
    secret_key: SecretStr | None = Field(
        None,
        description="seals stored credentials: a key of `jobbroker secrets new-key`, or several by"
        " commas, of which the first seals and all open; unset: none can be stored",
    )
    s3_path_style: bool = Field(
        default=True,
        description="true: the bucket is in the URL's path (MinIO); false: before the host (AWS)",
    )
    rollout_per_minute: int | None = Field(
        None,
        ge=1,
        description="how many things a minute a job tells that has no maximumPerMinute of its own;"
        " unset: no limit (AWS: 1000)",
    )
    things_stack_hosts: str = Field(
        DEFAULT_HOSTS,
        description="the only hosts of The Things Stack that are ever shown an API key: HOST,"
        " HOST:PORT or *.DOMAIN, by commas; with http:// before one that has no TLS",
    )
    things_stack_concurrency: int = Field(
        4, ge=1, le=32, description="most calls to The Things Stack at once for one run"
    )
    console_api_url: str | None = Field(
        None,
        description="the HTTP API that `jobbroker console` asks, http://HOST:PORT; unset: that of the"
        " `up` that runs here",
    )
    console_host: str = Field("127.0.0.1", description="the address that the console listens on")
    console_port: int = Field(
        8080, ge=0, le=65535, description="the port that the console listens on, 0 for a free one"
    )
    console_prefix: str = Field(
        "", description="the path below which a reverse proxy shows the console, such as /fleet"
    )
    console_secret: SecretStr | None = Field(
        None,
        description="seals sign-ins at the console; unset: a new one at each start, which signs"
        " everybody out",
    )
    console_read_only: bool = Field(
        default=False, description="true: the console sends no command that changes anything"
    )
    console_niceness: int = Field(
        10,
        ge=0,
        le=19,
        description="how far the console stands back where the cores are all in use: 0 for not at all,"
        " 19 for behind everybody",
    )
    console_oidc_issuer: str | None = Field(
        None,
        description="the OpenID issuer that the console offers to sign in at; the API takes its tokens by OIDC_ISSUER;"
        " unset: none",
    )
    console_oidc_client_id: str | None = Field(
        None, description="the console's name at CONSOLE_OIDC_ISSUER; with it"
    )
    console_oidc_client_secret: SecretStr | None = Field(
        None, description="its secret there; unset: it is a public client, which PKCE is enough for"
    )
    console_oidc_scope: str = Field(
        "openid", pattern=r"^[!-~]+( [!-~]+)*$", description="what is asked for there, by spaces"
    )
    console_oidc_token: Literal["id_token", "access_token"] = Field(
        "id_token",
        description="which token the API is shown; OIDC_AUDIENCE is CONSOLE_OIDC_CLIENT_ID for id_token",
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="log lines for people (console) or for machines (json), on stderr"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe log line that is written"
    )

    @field_validator("database_url", "migration_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            expected = "expected postgresql://user:password@host:port/database"
            try:
                url = urlsplit(value.get_secret_value())
            except ValueError:
                raise ValueError(expected) from None  # its own words would show the password
            if url.scheme not in ("postgresql", "postgres") or not url.path.strip("/"):
                raise ValueError(expected)
        return value

    @field_validator("mqtt_url", "operator_url")
    @classmethod
    def _is_mqtt(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_url(value.get_secret_value())
        return value

    @field_validator("console_oidc_issuer")
    @classmethod
    def _is_console_issuer(cls, value: str | None) -> str | None:
        return issuer_url(value)

    @model_validator(mode="after")
    def _console_issuer_fits(self) -> Self:
        if (self.console_oidc_issuer is None) != (self.console_oidc_client_id is None):
            raise ValueError(
                "JOBBROKER_CONSOLE_OIDC_ISSUER and JOBBROKER_CONSOLE_OIDC_CLIENT_ID belong together"
            )
        return self

    @field_validator("document_hosts")
    @classmethod
    def _are_hosts(cls, value: str | None) -> str | None:
        AllowedHosts.parse(value or "")
        return value

    @field_validator("things_stack_hosts")
    @classmethod
    def _are_stack_hosts(cls, value: str) -> str:
        StackHosts.parse(value)
        return value

    @field_validator("s3_endpoint")
    @classmethod
    def _is_store(cls, value: str | None) -> str | None:
        if value is not None:
            S3Store(value, "", "", "")
        return value

    @field_validator("secret_key")
    @classmethod
    def _are_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_keys(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _store_fits(self) -> Self:
        parts = (self.s3_endpoint, self.s3_access_key, self.s3_secret_key)
        if any(one is None for one in parts) and any(one is not None for one in parts):
            raise ValueError(
                "JOBBROKER_S3_ENDPOINT, JOBBROKER_S3_ACCESS_KEY and JOBBROKER_S3_SECRET_KEY"
                " belong together"
            )
        return self

    def text_of(self, name: UrlName) -> str | None:
        """Return a URL with its password, or None when it is unset."""
        value: SecretStr | None = getattr(self, name)
        return None if value is None else value.get_secret_value()

    @property
    def authority_dir(self) -> Path:
        """Where the certificate authority is."""
        return self.ca_dir or self.data_dir / "ca"

    @property
    def owner_url(self) -> str:
        """The login that migrates: MIGRATION_URL, else DATABASE_URL; SettingsError without either."""
        found = self.migration_url or self.database_url
        if found is None:
            raise SettingsError(
                "JOBBROKER_MIGRATION_URL is required, or JOBBROKER_DATABASE_URL:"
                " postgresql://user:password@host:port/database"
            )
        return found.get_secret_value()
