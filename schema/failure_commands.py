"""What failed, over all jobs, and sending it again: the payloads of failures/list and failures/retry."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from schema.commands import Page, Part
from schema.fields import JobId, SearchText, Text
from schema.job_commands import CommentedCommand, FailureKind
from schema.limits import FAILURE_GROUPS, REASON_CHARS, RETRY_ID, RETRY_SOURCES

_Kind = Annotated[FailureKind, Field(strict=False)]


class ListFailures(Page):
    """failures/list: of the newest jobs that have any, by status and reason; maxResults is how many jobs.

    search: a part of the reason, in any case.
    """

    failure_type: _Kind = FailureKind.ALL
    job_id: JobId | None = None
    search: SearchText | None = None


class Failure(Part):
    """Executions that ended alike: a status other than ALL, and the reason in the words of failures/list."""

    status: _Kind
    reason: Annotated[str, Field(min_length=1, max_length=REASON_CHARS)]

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.status is FailureKind.ALL:
            msg = "status: FAILED, REJECTED or TIMED_OUT is needed"
            raise ValueError(msg)
        return self


class RetryFailures(CommentedCommand):
    """failures/retry: what is in these groups is sent again, the things of each document as one new job.

    retryId names the new job, and is the tag `retry` of all of them. jobIds: only failures of these jobs.
    """

    failures: Annotated[
        tuple[Failure, ...], Field(strict=False, min_length=1, max_length=FAILURE_GROUPS)
    ]
    job_ids: (
        Annotated[tuple[JobId, ...], Field(strict=False, min_length=1, max_length=RETRY_SOURCES)]
        | None
    ) = None
    retry_id: Annotated[str, Field(pattern=RETRY_ID)] | None = None
    description: Text | None = None
