"""AWS's operations over HTTP, one row each: how it is asked, what command of ours it is, and what it answers.

Sources: botocore's models of `iot` and `iot-jobs-data`, to which a test holds every row; the order is that of AWS's own
lists: jobs, templates, tags, things, groups, settings, and the data plane.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from schema import aws_shapes as shapes
from schema.aws_errors import IOT, JOBS_DATA
from schema.errors import Code
from schema.rights import Role
from schema.topics import Operation

Body = dict[str, Any]
# From what our command answered, and what was asked, to what AWS answers.
Answer = Callable[[Body, Body], Body]

_CONFLICT: Final = ("ConflictException", 409)
_INVALID: Final = ("InvalidRequestException", 400)
_CONFIGS: Final = "presignedUrlConfig jobExecutionsRolloutConfig abortConfig timeoutConfig jobExecutionsRetryConfig"


@dataclass(frozen=True, slots=True)
class AwsOperation:
    """One operation of AWS's.

    verb is a command's in `schema.rights`, on the data plane a device's request; "" is answered without either. query
    and body are the members it takes, by words; refused those that AWS has and jobbroker does not. also are members the
    command is given beside them. gone_is_done: what is not there any more counts as deleted. errors: where AWS has
    another exception for a code than usual, as name and status.
    """

    name: str
    method: str
    path: str
    verb: str
    answer: Answer = shapes.nothing
    query: str = ""
    body: str = ""
    refused: str = ""
    required: str = ""
    also: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    gone_is_done: bool = False
    service: str = IOT
    least_role: Role | None = None

    @property
    def template(self) -> list[str]:
        """The path by its segments; {name} stands for any."""
        return self.path.split("/")


_STATE: Final[Mapping[str, tuple[str, int]]] = {Code.INVALID_STATE_TRANSITION: _INVALID}
_JOB_ONLY: Final = {"includeExecutions": False, "includeDocument": False}

_JOBS: Final = (
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
_TEMPLATES: Final = (
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
_THINGS: Final = (
    AwsOperation(
        "CreateThing",
        "POST",
        "/things/{thingName}",
        "things/create",
        shapes.pick("thingName thingArn thingId"),
        body="thingTypeName attributePayload",
        refused="billingGroupName",
    ),
    AwsOperation(
        "DescribeThing",
        "GET",
        "/things/{thingName}",
        "things/get",
        shapes.pick("defaultClientId thingName thingId thingArn thingTypeName attributes version"),
    ),
    AwsOperation(
        "ListThings",
        "GET",
        "/things",
        "things/list",
        shapes.pick("things nextToken"),
        query="nextToken maxResults attributeName attributeValue thingTypeName usePrefixAttributeValue",
    ),
    AwsOperation(
        "UpdateThing",
        "PATCH",
        "/things/{thingName}",
        "things/update",
        body="thingTypeName attributePayload expectedVersion removeThingType",
    ),
    AwsOperation(
        "DeleteThing",
        "DELETE",
        "/things/{thingName}",
        "things/delete",
        query="expectedVersion",
        gone_is_done=True,
    ),
)
_GROUP: Final = "/thing-groups/{thingGroupName}"
_DYNAMIC: Final = "/dynamic-thing-groups/{thingGroupName}"
_QUERY: Final = "indexName queryString queryVersion"
_GROUPS: Final = (
    AwsOperation(
        "CreateThingGroup",
        "POST",
        _GROUP,
        "groups/create",
        shapes.pick("thingGroupName thingGroupArn thingGroupId"),
        body="parentGroupName thingGroupProperties tags",
    ),
    AwsOperation(
        "DescribeThingGroup",
        "GET",
        _GROUP,
        "groups/get",
        shapes.pick(
            "thingGroupName thingGroupId thingGroupArn version thingGroupProperties thingGroupMetadata"
            f" {_QUERY} status"
        ),
    ),
    AwsOperation(
        "UpdateThingGroup",
        "PATCH",
        _GROUP,
        "groups/update",
        shapes.pick("version"),
        body="thingGroupProperties expectedVersion",
    ),
    AwsOperation(
        "DeleteThingGroup",
        "DELETE",
        _GROUP,
        "groups/delete",
        query="expectedVersion",
        gone_is_done=True,
    ),
    AwsOperation(
        "ListThingGroups",
        "GET",
        "/thing-groups",
        "groups/list",
        shapes.groups,
        query="nextToken maxResults parentGroup namePrefixFilter recursive",
    ),
    AwsOperation(
        "AddThingToThingGroup",
        "PUT",
        "/thing-groups/addThingToThingGroup",
        "groups/add",
        body="thingGroupName thingGroupArn thingName thingArn overrideDynamicGroups",
    ),
    AwsOperation(
        "RemoveThingFromThingGroup",
        "PUT",
        "/thing-groups/removeThingFromThingGroup",
        "groups/remove",
        body="thingGroupName thingGroupArn thingName thingArn",
    ),
    AwsOperation(
        "UpdateThingGroupsForThing",
        "PUT",
        "/thing-groups/updateThingGroupsForThing",
        "groups/add",
        body="thingName thingGroupsToAdd thingGroupsToRemove overrideDynamicGroups",
        required="thingName",
    ),
    AwsOperation(
        "ListThingsInThingGroup",
        "GET",
        _GROUP + "/things",
        "groups/members",
        shapes.pick("things nextToken"),
        query="recursive nextToken maxResults",
    ),
    AwsOperation(
        "ListThingGroupsForThing",
        "GET",
        "/things/{thingName}/thing-groups",
        "things/get",
        shapes.groups_of_thing,
        query="nextToken maxResults",
    ),
    AwsOperation(
        "CreateDynamicThingGroup",
        "POST",
        _DYNAMIC,
        "groups/create",
        shapes.pick(f"thingGroupName thingGroupArn thingGroupId {_QUERY}"),
        body=f"thingGroupProperties tags {_QUERY}",
        required="queryString",
    ),
    AwsOperation(
        "UpdateDynamicThingGroup",
        "PATCH",
        _DYNAMIC,
        "groups/update",
        shapes.pick("version"),
        body=f"thingGroupProperties expectedVersion {_QUERY}",
    ),
    AwsOperation(
        "DeleteDynamicThingGroup",
        "DELETE",
        _DYNAMIC,
        "groups/delete",
        query="expectedVersion",
        gone_is_done=True,
    ),
)
_SETTINGS: Final = (
    AwsOperation("DescribeEndpoint", "GET", "/endpoint", "", query="endpointType"),
    AwsOperation(
        "DescribeEventConfigurations",
        "GET",
        "/event-configurations",
        "event-configurations/get",
        shapes.pick("eventConfigurations creationDate lastModifiedDate"),
    ),
    AwsOperation(
        "UpdateEventConfigurations",
        "PATCH",
        "/event-configurations",
        "event-configurations/update",
        body="eventConfigurations",
    ),
)
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
OPERATIONS: Final = (*_JOBS, *_TEMPLATES, *_THINGS, *_GROUPS, *_SETTINGS, *_DATA)


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
