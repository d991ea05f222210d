"""AWS's operations on jobs, executions, templates and tags; a table as `schema.aws_operations` has it whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schema import aws_shapes as shapes
from schema.aws_operation import AwsOperation
from schema.errors import Code

_CONFLICT: Final = ("ConflictException", 409)
_INVALID: Final = ("InvalidRequestException", 400)
_CONFIGS: Final = "presignedUrlConfig jobExecutionsRolloutConfig abortConfig timeoutConfig jobExecutionsRetryConfig"
_STATE: Final[Mapping[str, tuple[str, int]]] = {Code.INVALID_STATE_TRANSITION: _INVALID}
_JOB_ONLY: Final = {"includeExecutions": False, "includeDocument": False}

JOBS: Final = (
    AwsOperation(
        "CreateJob",
        "PUT",
        "/jobs/{jobId}",
        "jobs/create",
        shapes.pick("jobArn jobId description"),
        body=f"targets document documentSource description targetSelection tags jobTemplateArn {_CONFIGS}"
        " documentParameters schedulingConfig",
        refused="namespaceId destinationPackageVersions",
    ),
    AwsOperation(
        "DescribeJob",
        "GET",
        "/jobs/{jobId}",
        "jobs/get",
        shapes.job,
        query="beforeSubstitution",
        also=_JOB_ONLY,
    ),
    AwsOperation(
        "GetJobDocument",
        "GET",
        "/jobs/{jobId}/job-document",
        "jobs/get",
        shapes.pick("document"),
        query="beforeSubstitution",
        also={"includeExecutions": False},
    ),
    AwsOperation(
        "ListJobs",
        "GET",
        "/jobs",
        "jobs/list",
        shapes.jobs,
        query="status targetSelection maxResults nextToken thingGroupName thingGroupId",
        refused="namespaceId",
    ),
    AwsOperation(
        "UpdateJob",
        "PATCH",
        "/jobs/{jobId}",
        "jobs/update",
        body=f"description {_CONFIGS}",
        refused="namespaceId",
        errors=_STATE,
    ),
    AwsOperation(
        "CancelJob",
        "PUT",
        "/jobs/{jobId}/cancel",
        "jobs/cancel",
        shapes.pick("jobArn jobId description"),
        query="force",
        body="reasonCode comment",
        errors=_STATE,
    ),
    AwsOperation(
        "DeleteJob", "DELETE", "/jobs/{jobId}", "jobs/delete", query="force", refused="namespaceId"
    ),
    AwsOperation(
        "AssociateTargetsWithJob",
        "POST",
        "/jobs/{jobId}/targets",
        "jobs/associate",
        shapes.pick("jobArn jobId description"),
        body="targets comment",
        refused="namespaceId",
        errors=_STATE,
    ),
    AwsOperation(
        "CancelJobExecution",
        "PUT",
        "/things/{thingName}/jobs/{jobId}/cancel",
        "jobs/executions/cancel",
        query="force",
        body="expectedVersion statusDetails",
    ),
    AwsOperation(
        "DeleteJobExecution",
        "DELETE",
        "/things/{thingName}/jobs/{jobId}/executionNumber/{executionNumber}",
        "jobs/executions/delete",
        query="force",
        refused="namespaceId",
    ),
    AwsOperation(
        "DescribeJobExecution",
        "GET",
        "/things/{thingName}/jobs/{jobId}",
        "jobs/executions/get",
        shapes.execution,
        query="executionNumber",
    ),
    AwsOperation(
        "ListJobExecutionsForJob",
        "GET",
        "/jobs/{jobId}/things",
        "jobs/get",
        shapes.executions_of_job,
        query="status maxResults nextToken",
        also={"includeDocument": False},
    ),
    AwsOperation(
        "ListJobExecutionsForThing",
        "GET",
        "/things/{thingName}/jobs",
        "things/executions",
        shapes.pick("executionSummaries nextToken"),
        query="status maxResults nextToken jobId",
        refused="namespaceId",
    ),
)
TEMPLATES: Final = (
    AwsOperation(
        "CreateJobTemplate",
        "PUT",
        "/job-templates/{jobTemplateId}",
        "templates/create",
        shapes.pick("jobTemplateArn jobTemplateId"),
        body=f"jobArn document documentSource description tags {_CONFIGS} maintenanceWindows",
        refused="destinationPackageVersions",
        errors={Code.RESOURCE_ALREADY_EXISTS: _CONFLICT},
    ),
    AwsOperation(
        "DescribeJobTemplate",
        "GET",
        "/job-templates/{jobTemplateId}",
        "templates/get",
        shapes.pick(
            f"jobTemplateArn jobTemplateId description documentSource document createdAt {_CONFIGS}"
            " maintenanceWindows"
        ),
    ),
    AwsOperation(
        "ListJobTemplates",
        "GET",
        "/job-templates",
        "templates/list",
        shapes.pick("jobTemplates nextToken"),
        query="maxResults nextToken",
    ),
    AwsOperation(
        "DeleteJobTemplate", "DELETE", "/job-templates/{jobTemplateId}", "templates/delete"
    ),
    AwsOperation(
        "DescribeManagedJobTemplate",
        "GET",
        "/managed-job-templates/{templateName}",
        "managed-templates/get",
        shapes.pick(
            "templateName templateArn description templateVersion environments documentParameters document"
        ),
        query="templateVersion",
    ),
    AwsOperation(
        "ListManagedJobTemplates",
        "GET",
        "/managed-job-templates",
        "managed-templates/list",
        shapes.pick("managedJobTemplates nextToken"),
        query="templateName maxResults nextToken",
    ),
    AwsOperation("TagResource", "POST", "/tags", "tags/add", body="resourceArn tags"),
    AwsOperation("UntagResource", "POST", "/untag", "tags/remove", body="resourceArn tagKeys"),
    AwsOperation(
        "ListTagsForResource",
        "GET",
        "/tags",
        "tags/list",
        shapes.pick("tags nextToken"),
        query="resourceArn nextToken",
    ),
)
