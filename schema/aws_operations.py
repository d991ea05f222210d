"""AWS's operations over HTTP, one row each: how it is asked, what command of ours it is, and what it answers.

Sources: botocore's models of `iot` and `iot-jobs-data`, to which a test holds every row; the order is that of AWS's own
lists: jobs, templates, tags, things, groups, settings, and the data plane.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from schema.aws_errors import JOBS_DATA
from schema.aws_job_operations import JOBS, TEMPLATES
from schema.aws_operation import AwsOperation
from schema.aws_registry_operations import GROUPS, SETTINGS, THINGS
from schema.rights import Role
from schema.topics import Operation

# What things ask for themselves; an operator in their place needs the role.
_DATA: Final = (
    AwsOperation(
        "GetPendingJobExecutions",
        "GET",
        "/things/{thingName}/jobs",
        Operation.GET_PENDING,
        service=JOBS_DATA,
        least_role=Role.VIEWER,
    ),
    AwsOperation(
        "StartNextPendingJobExecution",
        "PUT",
        "/things/{thingName}/jobs/$next",
        Operation.START_NEXT,
        body="statusDetails stepTimeoutInMinutes",
        service=JOBS_DATA,
        least_role=Role.MANAGER,
    ),
    AwsOperation(
        "DescribeJobExecution",
        "GET",
        "/things/{thingName}/jobs/{jobId}",
        Operation.DESCRIBE,
        query="includeJobDocument executionNumber",
        service=JOBS_DATA,
        least_role=Role.VIEWER,
    ),
    AwsOperation(
        "UpdateJobExecution",
        "POST",
        "/things/{thingName}/jobs/{jobId}",
        Operation.UPDATE,
        body="status statusDetails stepTimeoutInMinutes expectedVersion includeJobExecutionState includeJobDocument"
        " executionNumber",
        service=JOBS_DATA,
        least_role=Role.MANAGER,
    ),
)
OPERATIONS: Final = (*JOBS, *TEMPLATES, *THINGS, *GROUPS, *SETTINGS, *_DATA)


def find(service: str, method: str, path: str) -> tuple[AwsOperation, dict[str, str]] | None:
    """The operation at a path, as it came with its percent-escapes, and what the path names; None for no such."""
    segments = [unquote(one) for one in path.split("/")]
    for operation in OPERATIONS:
        if operation.service == service and operation.method == method:
            names = _names(operation.template, segments)
            if names is not None:
                return operation, names
    return None


def _names(template: list[str], segments: list[str]) -> dict[str, str] | None:
    if len(template) != len(segments):
        return None
    names = {}
    for expected, segment in zip(template, segments, strict=True):
        if expected.startswith("{"):
            names[expected[1:-1]] = segment
        elif expected != segment:
            return None
    return names
