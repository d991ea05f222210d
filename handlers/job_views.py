"""jobs/list and jobs/{id}/get: AWS's members, and beside them the seeds' for jobs created in the seeds' words."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from handlers import approvals, job_documents, stages
from handlers.context import Context, Outcome, not_found
from handlers.holds import Hold
from schema import paging
from schema.device import seconds
from schema.events import process_details
from schema.lifecycle import Status
from schema.limits import JOBS_SEARCHED
from schema.placeholders import compile_document
from schema.sql import queries
from schema.windows import SchedulingConfig, rollouts_shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from schema.arns import Home
    from schema.commands import GetJob, ListJobs

_SQL = queries("jobs")
_NEWEST: Final = 2**63 - 1  # above every job_uid
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime(1, 1, 2, tzinfo=UTC)  # before and after every job
_LAST: Final = datetime(9999, 12, 30, tzinfo=UTC)
_MICROSECONDS: Final = (_LAST - _EPOCH) // timedelta(microseconds=1)


async def list_jobs(context: Context, command: ListJobs) -> Outcome:
    """Jobs, newest first, of what is asked for (AWS: ListJobs; description, counts and configurations beyond it).

    A list by more than status looks at 50,000 jobs for one page: its page may be short, and yet have a nextToken.
    Raises Rejected (ResourceNotFound) for a group that is not there.
    """
    if not command.is_plain:
        return await _list_filtered(context, command)
    before = paging.decode("jobs", command.next_token, (int,))
    page = (context.tenant_id, before[0] if before else _NEWEST, command.max_results + 1)
    if command.status is None:
        rows = await context.connection.fetch(_SQL["list_jobs"], *page)
    else:
        rows = await context.connection.fetch(_SQL["list_jobs_in_status"], *page, command.status)
    shown = rows[: command.max_results]
    body: dict[str, object] = {"jobs": [_summary(context.home, row) for row in shown]}
    if len(rows) > len(shown):
        body["nextToken"] = paging.encode("jobs", shown[-1]["job_uid"])
    return Outcome(body)


async def _list_filtered(context: Context, command: ListJobs) -> Outcome:
    group = await _group(context, command)
    since = _moment(command.created_after) or _FIRST
    start = _start(command)
    floor = await context.connection.fetchrow(
        _SQL["find_list_floor"], context.tenant_id, *start, since, JOBS_SEARCHED
    )
    rows = await context.connection.fetch(
        _SQL["list_jobs_filtered"],
        *(context.tenant_id, *start, *(floor or (since, 0)), command.max_results + 1),
        *(command.status, command.target_selection, group, command.thing_name),
        *(command.tag_key, command.tag_value),
        command.search and command.search.lower(),
    )
    shown = rows[: command.max_results]
    body: dict[str, object] = {"jobs": [_summary(context.home, row) for row in shown]}
    last = shown[-1] if len(rows) > len(shown) else floor
    if last is not None:
        place = (_microseconds(last["created_at"]), last["job_uid"])
        body["nextToken"] = paging.encode("jobs, filtered", *place)
    return Outcome(body)


def _start(command: ListJobs) -> tuple[datetime, int]:
    """Before which job a page begins, by when it was created and its number."""
    before = paging.decode("jobs, filtered", command.next_token, (int, int))
    if before is not None:
        passed = timedelta(microseconds=min(int(before[0]), _MICROSECONDS))
        return _EPOCH + passed, int(before[1])
    return _moment(command.created_before) or _LAST, 0


def _moment(epoch: int | None) -> datetime | None:
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


async def _group(context: Context, command: ListJobs) -> str | None:
    """The name of the group whose jobs are asked for."""
    asked = command.thing_group_name or command.thing_group_id
    if asked is None:
        return None
    found: str | None = await context.connection.fetchval(
        _SQL["find_group"], context.tenant_id, command.thing_group_name, command.thing_group_id
    )
    if found is None:
        raise not_found("group", asked)
    return found


async def get_job(context: Context, command: GetJob, job_id: str) -> Outcome:
    """One job: `job` (AWS: DescribeJob), `document`, and a page of `executions` by thing, by status if asked.

    Raises Rejected (ResourceNotFound) when there is no such job.
    """
    after = paging.decode(f"jobs/{job_id}", command.next_token, (str, int)) or ("", 0)
    row = await context.connection.fetchrow(_SQL["get_job"], context.tenant_id, job_id)
    if row is None:
        raise not_found("job", job_id)
    body: dict[str, object] = {"job": described(context.home, row)}
    place = (context.connection, context.tenant_id, job_id)
    if row["stage"] is not None:
        body["stages"] = await stages.shown(*place, row["now"])
    if row["required_approvals"] is not None:
        body["approval"] = await approvals.shown(*place)
    body |= _present({"documentSource": row["document_source"]})
    if command.include_document:
        body["document"] = _document(row, before_substitution=command.before_substitution)
    if row["dialect"] == "seed":
        body |= _seed_words(row)
    if command.include_executions:
        body |= await _executions(context, command, row, after)
    return Outcome(body)


async def _executions(
    context: Context, command: GetJob, job: asyncpg.Record, after: tuple[str | int, ...]
) -> dict[str, object]:
    rows = await context.connection.fetch(
        _SQL["list_executions"],
        context.tenant_id,
        job["job_id"],
        command.status,
        *after,
        command.max_results + 1,
    )
    shown = rows[: command.max_results]
    seed = job["dialect"] == "seed"
    page: dict[str, object] = {
        "executions": [_execution(context.home, row, seed=seed) for row in shown]
    }
    if len(rows) > len(shown):
        last = shown[-1]
        page["nextToken"] = paging.encode(
            f"jobs/{job['job_id']}", last["thing_name"], last["execution_number"]
        )
    return page


def _present(members: Mapping[str, object]) -> dict[str, object]:
    """Without the members that have no value: AWS leaves them out."""
    return {name: value for name, value in members.items() if value is not None}


def _at(moment: datetime | None) -> int | None:
    return None if moment is None else seconds(moment)


def _config(text: str | None) -> object:
    return None if text is None else json.loads(text)


def _config_of_approval(required: int | None) -> object:
    return None if required is None else {"requiredApprovals": required}


def _counts(row: asyncpg.Record) -> dict[str, int]:
    return process_details({status.lower(): row[status.lower()] for status in Status})


def _summary(home: Home, row: asyncpg.Record) -> dict[str, object]:
    return _present(
        {
            "jobArn": home.arn("job", row["job_id"]),
            "jobId": row["job_id"],
            "targetSelection": row["target_selection"],
            "status": row["status"],
            "createdAt": seconds(row["created_at"]),
            "lastUpdatedAt": seconds(row["updated_at"]),
            "completedAt": _at(row["completed_at"]),
            "isConcurrent": row["pending_work"] is not None,
            "paused": (Hold.PAUSE in row["holds"]) or None,
            "description": row["description"],
            "jobProcessDetails": _counts(row),
            "executionCount": row["total_targets"],
            "jobExecutionsRolloutConfig": _config(row["rollout_config"]),
            "abortConfig": _config(row["abort_config"]),
        }
    )


def described(home: Home, row: asyncpg.Record) -> dict[str, object]:
    """A job in AWS's members (DescribeJob), by its row of `get_job`; configurations as they were sent."""
    minutes = row["in_progress_timeout_minutes"]
    rolling_out = row["pending_work"] == "ROLLOUT"
    return _present(
        {
            **_summary(home, row),
            "targets": row["targets"],
            "retryOf": row["retry_of"],
            "forceCanceled": row["force_canceled"] or None,
            "reasonCode": row["reason_code"],
            "comment": row["comment"],
            "timeoutConfig": {} if minutes is None else {"inProgressTimeoutInMinutes": minutes},
            "jobExecutionsRolloutConfig": json.loads(row["rollout_config"] or "{}"),
            "jobExecutionsRetryConfig": _config(row["retry_config"]),
            "jobProcessDetails": {
                **({"processingTargets": row["targets"]} if rolling_out else {}),
                **_counts(row),
            },
            "presignedUrlConfig": json.loads(row["presigned_url_config"]),
            "jobTemplateArn": row["job_template_arn"],
            "schedulingConfig": _config(row["scheduling_config"]),
            "scheduledJobRollouts": _rollouts(row),
            "holds": row["holds"] or None,
            "priority": row["priority"] or None,
            "exclusive": row["is_exclusive"] or None,
            "stages": [json.loads(one) for one in row["stage_configs"]] or None,
            "approvalConfig": _config_of_approval(row["required_approvals"]),
            "documentParameters": job_documents.given_parameters(row),
            "createdBy": row["created_by"],
            "expiresAt": _at(row["expires_at"]),
        }
    )


def _rollouts(row: asyncpg.Record) -> list[dict[str, str]] | None:
    """AWS: scheduledJobRollouts, of a job with maintenance windows."""
    if row["scheduling_config"] is None or row["has_ended"]:
        return None
    schedule = SchedulingConfig.from_text(row["scheduling_config"]).schedule()
    return rollouts_shown(schedule, row["now"]) if schedule.windows else None


def _document(row: asyncpg.Record, *, before_substitution: bool) -> str:
    """With its parameters filled in, and all that differs from device to device as written (AWS: GetJobDocument)."""
    text: str = row["document"]
    if before_substitution or row["document_plain"]:
        return text
    return compile_document(text, job_documents.parameters_of(row)).shown


def _seed_words(row: asyncpg.Record) -> dict[str, object]:
    """The seeds' columns (seed 004), times in epoch seconds as everywhere on MQTT."""
    return _present(
        {
            "job_id": row["job_id"],
            "status": row["status"],
            "document_type": row["document_type"],
            "document_params": json.loads(row["document_params"]),
            "target_device_id": row["target_device_id"],
            "target_group_id": row["target_group_id"],
            "target_all": row["target_all"],
            "expires_at": _at(row["expires_at"]),
            "created_by": row["created_by"],
            "created_at": seconds(row["created_at"]),
            "updated_at": seconds(row["updated_at"]),
            "execution_count": row["total_targets"],
        }
    )


def _execution(home: Home, row: asyncpg.Record, *, seed: bool) -> dict[str, object]:
    details = row["status_details"]
    return _present(
        {
            "thingName": row["thing_name"],
            "thingArn": home.arn("thing", row["thing_name"]),
            "device_id": row["thing_name"] if seed else None,
            "status": row["status"],
            "statusDetails": None if details in (None, "{}") else json.loads(details),
            "forceCanceled": row["force_canceled"] or None,
            "queuedAt": seconds(row["queued_at"]),
            "startedAt": _at(row["started_at"]),
            "lastUpdatedAt": seconds(row["last_updated_at"]),
            "executionNumber": row["execution_number"],
            "versionNumber": row["version_number"],
            "retryAttempt": row["retry_attempt"],
        }
    )
