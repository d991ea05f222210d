"""Commands on jobs that are there, and on their executions: their payloads."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schema.abort import AbortConfig
from schema.commands import Command, Page, Part, TimeoutConfig
from schema.fields import JobId, Text, ThingName, Version
from schema.lifecycle import Status
from schema.presign import PresignedUrlConfig
from schema.retries import RetryConfig
from schema.rollout import RolloutConfig


class CommentedCommand(Command):
    """jobs/{id}/pause, resume and the like: nothing but a comment, which the audit keeps."""

    comment: Text | None = None


class UpdateJob(Command):
    """jobs/{id}/update (AWS: UpdateJob): what is named is replaced, what is not stays as it is."""

    description: Text | None = None
    presigned_url_config: PresignedUrlConfig | None = None
    job_executions_rollout_config: RolloutConfig | None = None
    abort_config: AbortConfig | None = None
    timeout_config: TimeoutConfig | None = None
    job_executions_retry_config: RetryConfig | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.model_fields_set - {"client_token"}:
            msg = "nothing is to be updated: name description or a configuration"
            raise ValueError(msg)
        return self


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
