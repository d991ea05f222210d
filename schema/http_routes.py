"""/api/v1: the one table from each operator command to its method and path, with an example of what is asked for.

The names in a path are members of the command, but for those of jobs, which the topic has over MQTT as well. What is
read by GET has its other members in the query string, all else in a JSON body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

API: Final = "/api/v1"
EVENTS_PATH: Final = f"{API}/events"  # beside the commands: a stream of what happens


@dataclass(frozen=True, slots=True)
class Route:
    """How one command is reached; `example` is its body, or its query, without the names in the path."""

    verb: str
    method: str
    path: str
    summary: str
    example: dict[str, object] = field(default_factory=dict)
    status: int = 200

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the path, in order."""
        return tuple(re.findall(r"{(\w+)}", self.path))

    @property
    def is_of_job(self) -> bool:
        """Whether the path's names are the topic's, and no members of the command."""
        return self.verb.startswith(("jobs/", "ttn/runs/"))

    @property
    def group(self) -> str:
        """Under which heading it is shown."""
        return self.verb.partition("/")[0]


_THING_ARN: Final = "arn:aws:iot:us-east-1:000000000000:thing/pump-1"
_JOB_ARN: Final = "arn:aws:iot:us-east-1:000000000000:job/fw-7"
_JOB: Final = "/jobs/{jobId}"
_EXECUTION: Final = _JOB + "/executions/{thingName}"
_PAGE: Final[dict[str, object]] = {"maxResults": 20}

ROUTES: Final = (
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
        {**_PAGE, "status": "IN_PROGRESS", "tagKey": "team", "createdAfter": 1700000000},
    ),
    Route("jobs/counts", "GET", "/job-counts", "How many jobs are in each status, up to a bound"),
    Route(
        "jobs/progress",
        "GET",
        _JOB + "/progress",
        "A job's things by name, a letter each, and when they were told, began and ended",
        {"mostThings": 1000, "bucketSeconds": 60, "includeNames": False},
    ),
    Route("jobs/get", "GET", _JOB, "A job, its document and a page of its executions", _PAGE),
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
        {**_PAGE, "failureType": "FAILED", "search": "space"},
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
        {**_PAGE, "status": "FAILED"},
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
    Route(
        "templates/create",
        "POST",
        "/templates",
        "Create a job template",
        {"jobTemplateId": "reboot", "description": "Reboot", "document": {"operation": "reboot"}},
        201,
    ),
    Route("templates/list", "GET", "/templates", "Job templates by id", _PAGE),
    Route("templates/get", "GET", "/templates/{jobTemplateId}", "A job template"),
    Route("templates/delete", "DELETE", "/templates/{jobTemplateId}", "Delete a job template"),
    Route(
        "managed-templates/list",
        "GET",
        "/managed-templates",
        "AWS's managed templates by name",
        {"templateName": "AWS-Reboot"},
    ),
    Route(
        "managed-templates/get",
        "GET",
        "/managed-templates/{templateName}",
        "A managed template, with its document",
        {"templateVersion": "1.0"},
    ),
    Route(
        "things/create",
        "POST",
        "/things",
        "Register a thing",
        {"thingName": "pump-1", "attributes": {"site": "basement"}, "issueToken": True},
        201,
    ),
    Route("things/list", "GET", "/things", "Things by name", {**_PAGE, "namePrefixFilter": "pump"}),
    Route(
        "things/search",
        "GET",
        "/thing-search",
        "Things that a query fits, by name",
        {"queryString": "attributes.site:basement", **_PAGE},
    ),
    Route("things/get", "GET", "/things/{thingName}", "A thing"),
    Route(
        "things/update",
        "PATCH",
        "/things/{thingName}",
        "Change a thing's attributes or type",
        {"attributePayload": {"attributes": {"site": "roof"}, "merge": True}},
    ),
    Route("things/delete", "DELETE", "/things/{thingName}", "Remove a thing, with all it has"),
    Route(
        "credentials/list",
        "GET",
        "/things/{thingName}/credentials",
        "What lets a thing in, without what is secret",
    ),
    Route(
        "credentials/issue",
        "POST",
        "/things/{thingName}/credentials",
        "A new token for a thing, shown this once; the one before stops working",
        status=201,
    ),
    Route(
        "credentials/revoke",
        "DELETE",
        "/things/{thingName}/credentials",
        "Take a thing's credentials away",
        {"kind": "token"},
    ),
    Route(
        "groups/create",
        "POST",
        "/groups",
        "Create a group, or a dynamic one by a query",
        {"thingGroupName": "basement", "queryString": "attributes.site:basement"},
        201,
    ),
    Route("groups/list", "GET", "/groups", "Groups by name", _PAGE),
    Route("groups/get", "GET", "/groups/{thingGroupName}", "A group"),
    Route(
        "groups/update",
        "PATCH",
        "/groups/{thingGroupName}",
        "Change a group",
        {"thingGroupProperties": {"thingGroupDescription": "Below the ground"}},
    ),
    Route("groups/delete", "DELETE", "/groups/{thingGroupName}", "Delete a group, not its things"),
    Route(
        "groups/members",
        "GET",
        "/groups/{thingGroupName}/members",
        "A group's things by name",
        _PAGE,
    ),
    Route(
        "groups/add",
        "POST",
        "/groups/{thingGroupName}/members",
        "Put things into a group",
        {"thingNames": ["pump-1", "pump-2"]},
    ),
    Route(
        "groups/remove",
        "DELETE",
        "/groups/{thingGroupName}/members",
        "Take things out of a group",
        {"thingNames": ["pump-2"]},
    ),
    Route(
        "operators/create",
        "POST",
        "/operators",
        "Register an operator, with a token",
        {"operatorName": "bob", "role": "viewer"},
        201,
    ),
    Route("operators/list", "GET", "/operators", "Operators by name", _PAGE),
    Route("operators/whoami", "GET", "/whoami", "The operator that the token belongs to"),
    Route("system/get", "GET", "/system", "How the installation does, and what it refused lately"),
    Route("operators/delete", "DELETE", "/operators/{operatorName}", "Remove an operator"),
    Route(
        "tokens/create",
        "POST",
        "/operators/{operatorName}/tokens",
        "One more token for HTTP, shown this once",
        {"label": "nightly build", "expiresInDays": 30},
        201,
    ),
    Route("tokens/list", "GET", "/tokens", "Operators' tokens, without the secret", _PAGE),
    Route("tokens/revoke", "DELETE", "/tokens/{tokenId}", "Take a token for HTTP away"),
    Route(
        "audit/list",
        "GET",
        "/audit",
        "Who did what, newest first",
        {"subject": "job/fw-7", **_PAGE},
    ),
    Route("ttn/status", "GET", "/ttn/status", "Where provisioning at The Things Stack stands"),
    Route(
        "ttn/connections",
        "GET",
        "/ttn/connections",
        "Connections to The Things Stack, one for each organization",
        {"limit": 20},
    ),
    Route(
        "ttn/credentials/get",
        "POST",
        "/ttn/credentials/reveal",
        "The credentials for The Things Stack, opened; each reading is on record",
    ),
    Route(
        "ttn/credentials/set",
        "PUT",
        "/ttn/credentials",
        "Bring a key of The Things Stack in, and say where the server is",
        {"organization_name": "Acme", "ttn_organization_id": "acme-org"},
    ),
    Route(
        "ttn/provision",
        "POST",
        "/ttn/provision",
        "Make what is missing at The Things Stack, or go on with what is half-made",
        {"webhook_url": "http://127.0.0.1:8000/up", "gateway_key": True},
        202,
    ),
    Route(
        "ttn/start-fresh",
        "POST",
        "/ttn/start-fresh",
        "Forget the credentials that were made at The Things Stack",
    ),
    Route(
        "ttn/deep-clean",
        "POST",
        "/ttn/deep-clean",
        "Take all away at The Things Stack, as a run, to provision anew",
        {"dry_run": True},
        202,
    ),
    Route(
        "ttn/devices/register",
        "POST",
        "/ttn/devices",
        "Register devices in all four registries of The Things Stack",
        {
            "devices": [
                {
                    "device_id": "pump-1",
                    "dev_eui": "70B3D57ED0000001",
                    "join_eui": "0000000000000000",
                    "app_key": "000102030405060708090A0B0C0D0E0F",
                    "frequency_plan_id": "EU_863_870_TTN",
                }
            ]
        },
        202,
    ),
    Route(
        "ttn/devices/remove",
        "POST",
        "/ttn/devices/remove",
        "Take devices out of all four registries of The Things Stack",
        {"device_ids": ["pump-1"]},
        202,
    ),
    Route(
        "ttn/devices/list",
        "GET",
        "/ttn/devices",
        "Devices at The Things Stack that are on our record",
        {"limit": 20},
    ),
    Route(
        "ttn/devices/batch",
        "GET",
        "/ttn/devices/batches/{batch_id}",
        "How far a batch of devices is, line by line",
        {"limit": 20, "status": "ERROR"},
    ),
    Route(
        "ttn/deprovision",
        "POST",
        "/ttn/deprovision",
        "Take an organization, an application or a device out of The Things Stack",
        {"application_id": "acme-sensors", "dry_run": True},
        202,
    ),
    Route(
        "ttn/runs/list",
        "GET",
        "/ttn/runs",
        "Deprovisioning runs, newest first",
        {"status": "RUNNING,QUEUED", "limit": 50},
    ),
    Route("ttn/runs/get", "GET", "/ttn/runs/{jobId}", "A run and its steps", {"limit": 50}),
    Route("ttn/runs/cancel", "POST", "/ttn/runs/{jobId}/cancel", "End a run between two steps"),
    Route(
        "ttn/runs/resume",
        "POST",
        "/ttn/runs/{jobId}/resume",
        "Let a run that failed begin anew with what it knows",
    ),
)
