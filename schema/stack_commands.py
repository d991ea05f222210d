"""The commands on connections to The Things Stack and on devices there: one model each, in the seeds' spelling.

A secret that is wrong is told by its field alone: no message ever shows a value that might be a key.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from schema.commands import Command, Part
from schema.fields import ClientToken, PageToken
from schema.limits import is_plain_text
from schema.paging import PAGE_MOST, PAGE_USUAL

# An id of The Things Stack (reference/the-things-stack.md 1).
_STACK_ID: Final = r"^[a-z0-9](?:-?[a-z0-9]){2,}$"
_API_KEY: Final = re.compile(r"NNSXS\.[A-Z2-7]{39}\.[A-Z2-7]{52}")
_ROOT_KEY: Final = re.compile(r"[0-9A-Fa-f]{32}")
DEVICES_MOST: Final = 500
"""Devices of one command; a fleet comes in several of one batch."""
BATCH_LINES_MOST: Final = 100_000
NOT_SHOWN: Final = "not_shown"
"""The type of an error whose value may be a key: it stays unsaid."""


def _secret(pattern: re.Pattern[str], words: str) -> BeforeValidator:
    def check(value: object) -> str:
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            raise PydanticCustomError(NOT_SHOWN, "is not {words}", {"words": words})
        return value

    return BeforeValidator(check)


def _upper(value: str) -> str:
    return value.upper()


def _plain(value: str) -> str:
    if not is_plain_text(value):
        msg = "has control characters"
        raise ValueError(msg)
    return value


StackId = Annotated[str, Field(pattern=_STACK_ID, max_length=36)]
OrganizationId = Annotated[
    str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
]
Eui = Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{16}$"), AfterValidator(_upper)]
ApiKey = Annotated[str, _secret(_API_KEY, "an API key, NNSXS.<39 of A-Z2-7>.<52 of A-Z2-7>")]
RootKey = Annotated[
    str, _secret(_ROOT_KEY, "a key of 32 hexadecimal digits"), AfterValidator(_upper)
]
Name = Annotated[str, Field(min_length=1, max_length=50), AfterValidator(_plain)]
Region = Annotated[str, Field(pattern=r"^[a-z0-9]{1,16}$")]
Host = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9.:\[\]-]+$")]
WebhookUrl = Annotated[str, Field(max_length=2048, pattern=r"^https?://[!-~]+$")]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,64}$")]


class StackCommand(Command):
    """A command in the seeds' spelling; its clientToken is as everywhere.

    organization_id may be left out: it is then the tenant's only connection, or the tenant itself.
    """

    model_config = ConfigDict(alias_generator=None)

    client_token: ClientToken | None = Field(None, alias="clientToken")
    organization_id: OrganizationId | None = None


class GetStatus(StackCommand):
    """ttn/status: where provisioning stands."""


class ListConnections(Command):
    """ttn/connections: the tenant's connections by organization."""

    model_config = ConfigDict(alias_generator=None)

    client_token: ClientToken | None = Field(None, alias="clientToken")
    limit: Annotated[int, Field(ge=1, le=PAGE_MOST)] = PAGE_USUAL
    next_token: PageToken | None = None


class GetCredentials(StackCommand):
    """ttn/credentials/get: the credentials, opened."""


class SetCredentials(StackCommand):
    """ttn/credentials/set: bring a key in, and say where the server is; what is left out stays.

    api_key is a user's (or an organization's) at the server; all else is made with it. region: TTN Sandbox, or with
    tenant The Things Stack Cloud; or the hosts of one's own. application_id and app_api_key bring an existing
    application in.
    """

    organization_name: Name | None = None
    api_key: ApiKey | None = None
    region: Region | None = None
    tenant: StackId | None = None
    identity_host: Host | None = None
    regional_host: Host | None = None
    ttn_organization_id: StackId | None = None
    application_id: StackId | None = None
    app_api_key: ApiKey | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.region is not None and (self.identity_host or self.regional_host):
            msg = "region and identity_host with regional_host exclude each other"
            raise ValueError(msg)
        if self.tenant is not None and self.region is None:
            msg = "tenant: goes with region"
            raise ValueError(msg)
        if (self.identity_host is None) and self.regional_host is not None:
            msg = "regional_host: goes with identity_host"
            raise ValueError(msg)
        return self


class Provision(StackCommand):
    """ttn/provision: make what is missing at the server, or go on with what is half-made.

    owner: whom the application is to belong to, the key's user or an organization that is made. The ids are chosen
    where none are named. Without webhook_url there is no webhook.
    """

    owner: Literal["user", "organization"] | None = None
    organization_name: Name | None = None
    ttn_organization_id: StackId | None = None
    application_id: StackId | None = None
    webhook_url: WebhookUrl | None = None
    gateway_key: bool | None = None


class StartFresh(StackCommand):
    """ttn/start-fresh: forget the credentials that were made, and the ids that were named; the brought key stays."""


class DeepClean(StackCommand):
    """ttn/deep-clean: take all away at the server, as a run."""

    force: bool = False
    dry_run: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.force and self.dry_run:
            msg = "force and dry_run exclude each other"
            raise ValueError(msg)
        return self


class StackPart(Part):
    """An object inside such a command."""

    model_config = ConfigDict(alias_generator=None)


class DeviceToRegister(StackPart):
    """One device that joins over the air (OTAA)."""

    device_id: StackId
    dev_eui: Eui
    join_eui: Eui = "0000000000000000"
    app_key: RootKey
    nwk_key: RootKey | None = None
    name: Name | None = None
    lorawan_version: Word = "MAC_V1_0_3"
    lorawan_phy_version: Word = "PHY_V1_0_3_REV_A"
    frequency_plan_id: Word


class _DeviceCommand(StackCommand):
    """What commands on devices share: they belong to the connection's application."""

    batch_id: OrganizationId | None = None


class RegisterDevices(_DeviceCommand):
    """ttn/devices/register: 1 to 500 devices, each in all four registries; with batch_id, more of the same batch."""

    devices: Annotated[list[DeviceToRegister], Field(min_length=1, max_length=DEVICES_MOST)]


class RemoveDevices(_DeviceCommand):
    """ttn/devices/remove: 1 to 500 devices out of all four registries; with batch_id, more of the same batch."""

    device_ids: Annotated[list[StackId], Field(min_length=1, max_length=DEVICES_MOST)]


class ListDevices(StackCommand):
    """ttn/devices/list: devices on our record by id."""

    limit: Annotated[int, Field(ge=1, le=PAGE_MOST)] = PAGE_USUAL
    next_token: PageToken | None = None


class GetBatch(Command):
    """ttn/devices/batch: how far a batch is, and a page of its lines."""

    model_config = ConfigDict(alias_generator=None)

    client_token: ClientToken | None = Field(None, alias="clientToken")
    batch_id: OrganizationId
    status: Literal["PENDING", "OK", "ERROR"] | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_MOST)] = PAGE_USUAL
    next_token: PageToken | None = None
