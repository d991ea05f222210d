"""/api/v1: jobs, executions, failures, and what is said about jobs: events, approvals, tags."""

from __future__ import annotations

from typing import Final

from schema.http_route import PAGE, Route

_THING_ARN: Final = "arn:aws:iot:us-east-1:000000000000:thing/pump-1"
_JOB_ARN: Final = "arn:aws:iot:us-east-1:000000000000:job/fw-7"
_JOB: Final = "/jobs/{jobId}"
_EXECUTION: Final = _JOB + "/executions/{thingName}"

JOB_ROUTES: Final = (
    Route(
        "jobs/create",
        "POST",
        "/jobs",
        "Create a job, in AWS's words or in the seeds'",
        {"jobId": "fw-7", "targets": [_THING_ARN], "document": {"operation": "reboot"}},
        201,
    ),
    Route(
        "jobs/preview",
        "POST",
        "/jobs/preview",
        "What a job would come to, without creating it",
        {
            "targets": [_THING_ARN],
            "document": {"operation": "reboot", "for": "${thingName}"},
            "jobExecutionsRolloutConfig": {"maximumPerMinute": 50},
        },
    ),
    Route(
        "jobs/list",
        "GET",
        "/jobs",
        "Jobs, newest first",
        {**PAGE, "status": "IN_PROGRESS", "tagKey": "team", "createdAfter": 1700000000},
    ),
    Route("jobs/counts", "GET", "/job-counts", "How many jobs are in each status, up to a bound"),
    Route(
        "jobs/progress",
        "GET",
        _JOB + "/progress",
        "A job's things by name, a letter each, and when they were told, began and ended",
        {"mostThings": 1000, "bucketSeconds": 60, "includeNames": False},
    ),
    Route("jobs/get", "GET", _JOB, "A job, its document and a page of its executions", {**PAGE}),
    Route("jobs/delete", "DELETE", _JOB, "Delete a job and its executions", {"force": True}),
    Route(
        "jobs/cancel",
        "POST",
        _JOB + "/cancel",
        "Cancel a job",
        {"reasonCode": "WRONG_VERSION", "comment": "7.1 is out", "force": False},
    ),
    Route(
        "jobs/pause",
        "POST",
        _JOB + "/pause",
        "Hold a job: nothing of it is begun until it is resumed",
        {"comment": "somebody is at the pumps"},
    ),
    Route("jobs/resume", "POST", _JOB + "/resume", "Let a paused job go on"),
    Route(
        "jobs/approve",
        "POST",
        _JOB + "/approve",
        "Say yes to a job that waits for approval",
        {"comment": "seen on the bench"},
    ),
    Route(
        "jobs/deny",
        "POST",
        _JOB + "/deny",
        "Say no to a job that waits for approval; it is canceled",
        {"comment": "7.1 is out"},
    ),
    Route(
        "jobs/start-next-stage",
        "POST",
        _JOB + "/start-next-stage",
        "Start a job's next stage, whatever its gate says",
        {"comment": "the two that fail are known"},
    ),
    Route(
        "jobs/retry-failed",
        "POST",
        _JOB + "/retry-failed",
        "Try again what failed, of a stage or of the whole job",
        {"failureType": "FAILED", "stage": 1},
    ),
    Route(
        "jobs/update",
        "PATCH",
        _JOB,
        "Change a job's rate, brakes, retries, timeout or description",
        {"jobExecutionsRolloutConfig": {"maximumPerMinute": 500}},
    ),
    Route(
        "failures/list",
        "GET",
        "/failures",
        "What failed in the newest jobs, by status and reason",
        {**PAGE, "failureType": "FAILED", "search": "space"},
    ),
    Route(
        "failures/retry",
        "POST",
        "/failures/retry",
        "Send what failed again: the things of each document as one new job",
        {
            "retryId": "again-1",
            "failures": [{"status": "FAILED", "reason": "reason: no space left"}],
            "jobIds": ["fw-7"],
        },
        201,
    ),
    Route(
        "jobs/executions/get",
        "GET",
        _EXECUTION,
        "One execution, the latest unless a number is named",
        {"executionNumber": 1},
    ),
    Route(
        "jobs/executions/delete",
        "DELETE",
        _EXECUTION,
        "Delete one execution",
        {"executionNumber": 1, "force": True},
    ),
    Route(
        "things/executions",
        "GET",
        "/things/{thingName}/executions",
        "A thing's executions of all jobs",
        {**PAGE, "status": "FAILED"},
    ),
    Route("event-configurations/get", "GET", "/event-configurations", "Which events leave"),
    Route(
        "event-configurations/update",
        "PATCH",
        "/event-configurations",
        "Switch events on and off",
        {"eventConfigurations": {"JOB_EXECUTION_PROGRESS": {"Enabled": False}}},
    ),
    Route("approval/get", "GET", "/approval", "How many approvals jobs need at least"),
    Route(
        "approval/update",
        "PATCH",
        "/approval",
        "Say how many approvals jobs need at least",
        {"approvalConfig": {"requiredApprovals": 0}},
    ),
    Route("tags/list", "GET", "/tags", "Tags of a resource", {"resourceArn": _JOB_ARN}),
    Route(
        "tags/add",
        "POST",
        "/tags",
        "Tag a job, a template or a group",
        {"resourceArn": _JOB_ARN, "tags": [{"Key": "team", "Value": "pumps"}]},
    ),
    Route(
        "tags/remove",
        "POST",
        "/untag",
        "Take tags away",
        {"resourceArn": _JOB_ARN, "tagKeys": ["team"]},
    ),
    Route(
        "jobs/associate",
        "POST",
        _JOB + "/targets",
        "Add groups to a continuous job",
        {"targets": ["arn:aws:iot:us-east-1:000000000000:thinggroup/basement"]},
    ),
    Route(
        "jobs/executions/cancel",
        "POST",
        _EXECUTION + "/cancel",
        "Cancel a job on one thing",
        {"force": True, "statusDetails": {"why": "it is being replaced"}},
    ),
)
