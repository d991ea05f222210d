"""The commands on deprovisioning runs: one model each, in the seeds' words (seed 000)."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from schema.commands import Command
from schema.fields import ClientToken, PageToken
from schema.paging import PAGE_MOST
from schema.stack_commands import OrganizationId, StackCommand, StackId
from schema.things_stack_runs import RunStatus

_STATUSES: Final = frozenset(RunStatus)


def _statuses(value: str) -> str:
    unknown = [one for one in value.split(",") if one.strip() not in _STATUSES]
    if unknown:
        msg = f"has {unknown[0][:80]!r}, which is none of {', '.join(RunStatus)}"
        raise ValueError(msg)
    return value


Statuses = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_statuses)]


class RunCommand(Command):
    """A command on one run, which the topic names, in the seeds' spelling."""

    model_config = ConfigDict(alias_generator=None)

    client_token: ClientToken | None = Field(None, alias="clientToken")


class Deprovision(StackCommand):
    """ttn/deprovision: an organization's connection with all it has there, one application, or one device.

    force clears the local connection even when not
    everything is gone. dry_run looks, and changes nothing.
    """

    application_id: StackId | None = None
    device: StackId | None = None
    force: bool = False
    dry_run: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Deprovision:
        if self.force and self.dry_run:
            msg = "force and dry_run exclude each other"
            raise ValueError(msg)
        return self


class ListRuns(RunCommand):
    """ttn/runs/list: newest first; status may name several, by commas. With job_id, that run as ttn/runs/{id}/get."""

    job_id: OrganizationId | None = None
    organization_id: OrganizationId | None = None
    status: Statuses | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_MOST)] = 50
    next_token: PageToken | None = None

    @model_validator(mode="after")
    def _fits(self) -> ListRuns:
        if self.job_id is not None and (self.organization_id or self.status):
            msg = "job_id goes without organization_id and status"
            raise ValueError(msg)
        return self


class GetRun(RunCommand):
    """ttn/runs/{id}/get: the run and a page of its steps in their order."""

    limit: Annotated[int, Field(ge=1, le=PAGE_MOST)] = PAGE_MOST
    next_token: PageToken | None = None
