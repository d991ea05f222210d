"""Commands on jobs that are there, and on their executions: their payloads."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from schema.abort import AbortConfig
from schema.approval import ApprovalConfig
from schema.commands import Command, Page, Part, TimeoutConfig
from schema.fields import JobId, Text, ThingName, Version
from schema.lifecycle import Status
from schema.limits import STAGES
from schema.presign import PresignedUrlConfig
from schema.retries import RetryConfig
from schema.rollout import RolloutConfig
from schema.stages import Stages


class CommentedCommand(Command):
    """jobs/{id}/pause, resume and the like: nothing but a comment, which the audit keeps."""

    comment: Text | None = None


class UpdateJob(Command):
    """jobs/{id}/update (AWS: UpdateJob): what is named is replaced, what is not stays as it is.

    stages: all of them, of the sizes that they have; what may change is their gates.
    """

    description: Text | None = None
    presigned_url_config: PresignedUrlConfig | None = None
    job_executions_rollout_config: RolloutConfig | None = None
    abort_config: AbortConfig | None = None
    timeout_config: TimeoutConfig | None = None
    job_executions_retry_config: RetryConfig | None = None
    stages: Stages | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.model_fields_set - {"client_token"}:
            msg = "nothing is to be updated: name description or a configuration"
            raise ValueError(msg)
        return self


class FailureKind(StrEnum):
    """What is tried again: AWS's words for kinds of failure (AWS: AbortCriteria)."""

    ALL = "ALL"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    TIMED_OUT = "TIMED_OUT"

    @property
    def statuses(self) -> tuple[Status, ...]:
        """The statuses that it stands for."""
        return _FAILURES if self is FailureKind.ALL else (Status(self.value),)


_FAILURES: Final = (Status.FAILED, Status.REJECTED, Status.TIMED_OUT)


class RetryFailed(CommentedCommand):
    """jobs/{id}/retry-failed: another execution for things whose latest failed, of one stage or of all."""

    failure_type: Annotated[FailureKind, Field(strict=False)] = FailureKind.ALL
    stage: Annotated[int, Field(ge=1, le=STAGES)] | None = None


class GetApproval(Command):
    """approval/get: how many approvals each job of the tenant needs at least."""


class UpdateApproval(Command):
    """approval/update: how many approvals each job of the tenant needs at least from now on."""

    approval_config: ApprovalConfig


class DeleteExecution(Command):
    """jobs/{id}/executions/{thing}/delete (AWS: DeleteJobExecution)."""

    execution_number: Version
    force: bool = False


class GetExecution(Command):
    """jobs/{id}/executions/{thing}/get (AWS: DescribeJobExecution); without a number the latest."""

    execution_number: Version | None = None


class ListThingExecutions(Page):
    """things/executions (AWS: ListJobExecutionsForThing)."""

    thing_name: ThingName
    job_id: JobId | None = None
    status: Annotated[Status, Field(strict=False)] | None = None


class EventSwitch(Part):
    """AWS: Configuration; AWS writes its only member with a capital."""

    enabled: bool = Field(alias="Enabled")


class GetEventConfigurations(Command):
    """event-configurations/get (AWS: DescribeEventConfigurations)."""


class UpdateEventConfigurations(Command):
    """event-configurations/update (AWS: UpdateEventConfigurations): the switches not named stay as they are."""

    event_configurations: dict[
        Literal[
            "JOB",
            "JOB_EXECUTION",
            "JOB_EXECUTION_QUEUED",
            "JOB_EXECUTION_IN_PROGRESS",
            "JOB_EXECUTION_PROGRESS",
        ],
        EventSwitch,
    ]
