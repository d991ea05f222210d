"""AWS's own dialect over HTTP: boto3 as it is does every operation, and raises the exceptions that it models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError

from broker.embedded.postgres import connected
from schema.aws_operations import OPERATIONS
from tests.acceptance.aws_site import ARN, AwsSite, aws_site, call
from tests.acceptance.devices import devices
from tests.conftest import clone, mosquittos
from tests.helpers import PATIENCE, eventually
from tests.servers import Choice, PostgresServer

Client = Any
DOCUMENT = '{"operation": "reboot", "n": 1.0}'
CONFIGS: dict[str, Any] = {
    "presignedUrlConfig": {"expiresInSec": 600},
    "jobExecutionsRolloutConfig": {
        "maximumPerMinute": 1000,
        "exponentialRate": {
            "baseRatePerMinute": 1000,
            "incrementFactor": 1.5,
            "rateIncreaseCriteria": {"numberOfNotifiedThings": 10},
        },
    },
    "abortConfig": {
        "criteriaList": [
            {
                "failureType": "FAILED",
                "action": "CANCEL",
                "thresholdPercentage": 99.5,
                "minNumberOfExecutedThings": 50,
            }
        ]
    },
    "timeoutConfig": {"inProgressTimeoutInMinutes": 5},
    "jobExecutionsRetryConfig": {
        "criteriaList": [{"failureType": "TIMED_OUT", "numberOfRetries": 2}]
    },
}


@pytest.fixture(scope="module")
async def site(
    servers: Choice,
    postgres_server: PostgresServer,
    template_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[AwsSite]:
    """One broker for this file; each test has names of its own."""
    place = tmp_path_factory.mktemp("aws")
    async with (
        clone(postgres_server, template_database) as database,
        mosquittos(servers, place) as start,
        aws_site(start, database, place) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def iot(site: AwsSite) -> Client:
    """The control plane, as an owner."""
    return site.client("iot", "boss")


async def failure(
    client: Client, name: str, function: Callable[..., Any], **members: object
) -> dict[str, Any]:
    """What a modelled exception of a client says, raised as such."""
    with pytest.raises(getattr(client.exceptions, name)) as raised:
        await call(function, **members)
    found: dict[str, Any] = raised.value.response
    assert found["ResponseMetadata"]["RequestId"]
    assert found["Error"]["Message"] == found["message"]
    return found


async def refusal(function: Callable[..., Any], **members: object) -> tuple[str, int]:
    """Code and status of an exception that is not modelled."""
    with pytest.raises(ClientError) as raised:
        await call(function, **members)
    response = raised.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


async def pages(client: Client, operation: str, members: str, **asked: object) -> list[Any]:
    """All that a paginator of boto3's finds, in pages of one, which are as many."""

    def walk() -> list[Any]:
        paginator = client.get_paginator(operation)
        # Tags alone cannot be asked for by the page.
        config = {} if operation == "list_tags_for_resource" else {"PageSize": 1}
        found = paginator.paginate(**asked, PaginationConfig=config)
        return [one for page in found for one in page[members] if len(page[members]) == 1]

    return await asyncio.to_thread(walk)


async def test_jobs_from_creation_to_deletion(site: AwsSite, iot: Client) -> None:
    """Every operation on jobs and their executions, each with what AWS answers."""
    for name in ("t1", "t2", "t3"):
        await site.thing(name)
    group = await call(iot.create_thing_group, thingGroupName="g1")
    await call(iot.add_thing_to_thing_group, thingGroupName="g1", thingName="t1")
    made = await call(
        iot.create_job,
        jobId="j1",
        targets=[f"{ARN}:thinggroup/g1", f"{ARN}:thing/t2"],
        document=DOCUMENT,
        description="First",
        tags=[{"Key": "team", "Value": "pumps"}],
        **CONFIGS,
    )
    assert made == {"jobArn": f"{ARN}:job/j1", "jobId": "j1", "description": "First"}

    async def rolled_out() -> dict[str, Any]:
        job: dict[str, Any] = (await call(iot.describe_job, jobId="j1"))["job"]
        assert job["jobProcessDetails"]["numberOfQueuedThings"] == 2
        assert not job["isConcurrent"]
        return job

    job = await eventually(rolled_out)
    assert {name: job[name] for name in CONFIGS} == CONFIGS
    assert job["targets"] == [f"{ARN}:thinggroup/g1", f"{ARN}:thing/t2"]
    assert (job["status"], job["targetSelection"]) == ("IN_PROGRESS", "SNAPSHOT")
    assert abs((datetime.now(UTC) - job["createdAt"]).total_seconds()) < 600
    document = await call(iot.get_job_document, jobId="j1", beforeSubstitution=True)
    assert document == {"document": DOCUMENT}
    await call(iot.update_job, jobId="j1", description="Again")
    assert (await call(iot.describe_job, jobId="j1"))["job"]["description"] == "Again"
    await call(
        iot.create_job,
        jobId="j2",
        targets=[f"{ARN}:thing/t1"],
        document=DOCUMENT,
        targetSelection="CONTINUOUS",
    )
    associated = await call(
        iot.associate_targets_with_job, jobId="j2", targets=[f"{ARN}:thinggroup/g1"], comment="more"
    )
    assert associated["jobId"] == "j2"
    assert [one["jobId"] for one in await pages(iot, "list_jobs", "jobs")] == ["j2", "j1"]
    for asked, found in (
        ({"status": "COMPLETED"}, []),
        ({"targetSelection": "SNAPSHOT"}, ["j1"]),
        ({"thingGroupName": "g1"}, ["j2", "j1"]),
        ({"thingGroupId": group["thingGroupId"], "status": "IN_PROGRESS"}, ["j2", "j1"]),
        ({"thingGroupName": "g1", "targetSelection": "CONTINUOUS"}, ["j2"]),
    ):
        listed = (await call(iot.list_jobs, **asked))["jobs"]
        assert [one["jobId"] for one in listed] == found, asked
    await _executions(iot)
    canceled = await call(
        iot.cancel_job, jobId="j1", reasonCode="WRONG_VERSION", comment="no", force=True
    )
    assert canceled == {"jobArn": f"{ARN}:job/j1", "jobId": "j1", "description": "Again"}
    job = (await call(iot.describe_job, jobId="j1"))["job"]
    assert (job["status"], job["reasonCode"], job["comment"]) == ("CANCELED", "WRONG_VERSION", "no")
    await call(iot.delete_job, jobId="j1", force=True)

    async def gone() -> bool:
        return "j1" not in [one["jobId"] for one in (await call(iot.list_jobs))["jobs"]]

    await eventually(gone)
    await failure(iot, "ResourceNotFoundException", iot.describe_job, jobId="j1")
    await call(iot.delete_job, jobId="j2", force=True)


async def _executions(iot: Client) -> None:
    found = await pages(iot, "list_job_executions_for_job", "executionSummaries", jobId="j1")
    assert [one["thingArn"] for one in found] == [f"{ARN}:thing/t1", f"{ARN}:thing/t2"]
    assert found[0]["jobExecutionSummary"]["status"] == "QUEUED"
    found = await pages(iot, "list_job_executions_for_thing", "executionSummaries", thingName="t1")
    assert [one["jobId"] for one in found] == ["j1", "j2"]
    of_j2 = await call(iot.list_job_executions_for_thing, thingName="t1", jobId="j2")
    assert [one["jobId"] for one in of_j2["executionSummaries"]] == ["j2"]
    execution = (await call(iot.describe_job_execution, jobId="j1", thingName="t1"))["execution"]
    assert execution["thingArn"] == f"{ARN}:thing/t1"
    assert execution["statusDetails"] == {}
    assert (execution["versionNumber"], execution["executionNumber"]) == (1, 1)
    await call(
        iot.cancel_job_execution,
        jobId="j1",
        thingName="t1",
        expectedVersion=1,
        statusDetails={"why": "replaced"},
    )
    execution = (
        await call(iot.describe_job_execution, jobId="j1", thingName="t1", executionNumber=1)
    )["execution"]
    assert execution["status"] == "CANCELED"
    assert execution["statusDetails"] == {"detailsMap": {"why": "replaced"}}
    await call(iot.delete_job_execution, jobId="j1", thingName="t1", executionNumber=1)
    await failure(
        iot, "ResourceNotFoundException", iot.describe_job_execution, jobId="j1", thingName="t1"
    )


async def test_templates_and_tags(site: AwsSite, iot: Client) -> None:
    """A template from a document and one from a job, AWS's managed ones, a job from each; tags of all that has some."""
    await site.thing("p1")
    windows = [{"startTime": "cron(0 2 ? * SUN *)", "durationInMinutes": 60}]
    made = await call(
        iot.create_job_template,
        jobTemplateId="boot",
        description="Reboot",
        document=DOCUMENT,
        tags=[{"Key": "a", "Value": "1"}],
        maintenanceWindows=windows,
        **CONFIGS,
    )
    arn = f"{ARN}:jobtemplate/boot"
    assert made == {"jobTemplateArn": arn, "jobTemplateId": "boot"}
    shown = await call(iot.describe_job_template, jobTemplateId="boot")
    assert {name: shown[name] for name in CONFIGS} == CONFIGS
    assert (shown["description"], shown["document"]) == ("Reboot", DOCUMENT)
    assert shown["maintenanceWindows"] == windows
    await call(
        iot.create_job,
        jobId="p-j1",
        targets=[f"{ARN}:thing/p1"],
        targetSelection="CONTINUOUS",
        jobTemplateArn=arn,
    )
    job = (await call(iot.describe_job, jobId="p-j1"))["job"]
    assert (job["jobTemplateArn"], job["timeoutConfig"]) == (arn, CONFIGS["timeoutConfig"])
    assert job["schedulingConfig"] == {"maintenanceWindows": windows}
    assert len(job["scheduledJobRollouts"]) == 7
    await call(
        iot.create_job_template, jobTemplateId="of-job", description="x", jobArn=job["jobArn"]
    )
    found = await pages(iot, "list_job_templates", "jobTemplates")
    assert [one["jobTemplateId"] for one in found] == ["boot", "of-job"]
    managed = await pages(iot, "list_managed_job_templates", "managedJobTemplates")
    assert "AWS-Reboot" in [one["templateName"] for one in managed]
    one = await call(iot.describe_managed_job_template, templateName="AWS-Download-File")
    needed = [each["key"] for each in one["documentParameters"] if not each["optional"]]
    await call(
        iot.create_job,
        jobId="p-j2",
        targets=[f"{ARN}:thing/p1"],
        jobTemplateArn=one["templateArn"],
        documentParameters=dict.fromkeys(needed, "/a/file"),
    )
    assert "/a/file" in (await call(iot.get_job_document, jobId="p-j2"))["document"]
    for resource in (arn, f"{ARN}:job/p-j1"):
        await call(iot.tag_resource, resourceArn=resource, tags=[{"Key": "b", "Value": "2"}])
        await call(iot.untag_resource, resourceArn=resource, tagKeys=["a"])
        found = await pages(iot, "list_tags_for_resource", "tags", resourceArn=resource)
        assert found == [{"Key": "b", "Value": "2"}]
    for name in ("boot", "of-job"):
        await call(iot.delete_job_template, jobTemplateId=name)
    await failure(iot, "ResourceNotFoundException", iot.describe_job_template, jobTemplateId="boot")


async def test_things_and_groups(iot: Client) -> None:
    """Every operation on things, groups and dynamic groups."""
    payload = {"attributes": {"site": "north"}}
    made = await call(
        iot.create_thing, thingName="r:1", thingTypeName="pump", attributePayload=payload
    )
    assert made["thingArn"] == f"{ARN}:thing/r:1"
    shown = await call(iot.describe_thing, thingName="r:1")
    assert shown == {
        "defaultClientId": "r:1",
        **made,
        "thingTypeName": "pump",
        "attributes": {"site": "north"},
        "version": 1,
    }
    await call(iot.create_thing, thingName="r:2", attributePayload=payload)
    found = await pages(iot, "list_things", "things", attributeName="site", attributeValue="north")
    assert [one["thingName"] for one in found] == ["r:1", "r:2"]
    assert (found[0]["thingTypeName"], found[0]["version"]) == ("pump", 1)
    await call(
        iot.update_thing,
        thingName="r:1",
        attributePayload={"attributes": {"firmware": "7"}, "merge": True},
        removeThingType=True,
        expectedVersion=1,
    )
    shown = await call(iot.describe_thing, thingName="r:1")
    assert shown["attributes"] == {"site": "north", "firmware": "7"}
    assert "thingTypeName" not in shown
    properties = {"thingGroupDescription": "All", "attributePayload": {"attributes": {"a": "1"}}}
    top = await call(
        iot.create_thing_group,
        thingGroupName="r-top",
        thingGroupProperties=properties,
        tags=[{"Key": "k", "Value": "v"}],
    )
    await call(iot.create_thing_group, thingGroupName="r-sub", parentGroupName="r-top")
    shown = await call(iot.describe_thing_group, thingGroupName="r-top")
    assert (shown["thingGroupId"], shown["thingGroupProperties"]) == (
        top["thingGroupId"],
        properties,
    )
    shown = await call(iot.describe_thing_group, thingGroupName="r-sub")
    assert shown["thingGroupMetadata"]["parentGroupName"] == "r-top"
    changed = await call(
        iot.update_thing_group,
        thingGroupName="r-top",
        thingGroupProperties={"thingGroupDescription": "Some"},
        expectedVersion=1,
    )
    assert changed == {"version": 2}
    await call(
        iot.add_thing_to_thing_group, thingGroupArn=top["thingGroupArn"], thingArn=made["thingArn"]
    )
    await call(
        iot.update_thing_groups_for_thing,
        thingName="r:2",
        thingGroupsToAdd=["r-top", "r-sub"],
        overrideDynamicGroups=False,
    )
    found = await pages(iot, "list_things_in_thing_group", "things", thingGroupName="r-top")
    assert found == ["r:1", "r:2"]
    found = await pages(iot, "list_thing_groups_for_thing", "thingGroups", thingName="r:2")
    assert [one["groupName"] for one in found] == ["r-sub", "r-top"]
    await call(iot.update_thing_groups_for_thing, thingName="r:2", thingGroupsToRemove=["r-top"])
    recursive = await call(iot.list_things_in_thing_group, thingGroupName="r-top", recursive=True)
    assert recursive["things"] == ["r:1", "r:2"]
    await call(iot.remove_thing_from_thing_group, thingGroupName="r-top", thingName="r:1")
    assert (await call(iot.list_things_in_thing_group, thingGroupName="r-top"))["things"] == []
    found = await pages(iot, "list_thing_groups", "thingGroups", namePrefixFilter="r-")
    assert found[1] == {"groupName": "r-top", "groupArn": top["thingGroupArn"]}
    below = await call(iot.list_thing_groups, parentGroup="r-top", recursive=False)
    assert [one["groupName"] for one in below["thingGroups"]] == ["r-sub"]
    await _dynamic_group(iot)
    for name in ("r-sub", "r-top", "r-never-was"):
        await call(iot.delete_thing_group, thingGroupName=name)
    for name in ("r:1", "r:2", "r:never-was"):
        await call(iot.delete_thing, thingName=name)
    await failure(iot, "ResourceNotFoundException", iot.describe_thing, thingName="r:1")


async def _dynamic_group(iot: Client) -> None:
    dynamic = await call(
        iot.create_dynamic_thing_group, thingGroupName="r-dyn", queryString="attributes.site:north"
    )
    assert (dynamic["indexName"], dynamic["queryVersion"]) == ("AWS_Things", "2017-09-30")
    assert len((await call(iot.list_things_in_thing_group, thingGroupName="r-dyn"))["things"]) == 2
    changed = await call(
        iot.update_dynamic_thing_group,
        thingGroupName="r-dyn",
        thingGroupProperties={"thingGroupDescription": "Seven"},
        queryString="attributes.firmware:7",
    )
    assert changed == {"version": 2}
    shown = await call(iot.describe_thing_group, thingGroupName="r-dyn")
    assert (shown["status"], shown["queryString"]) == ("ACTIVE", "attributes.firmware:7")
    found = await call(iot.list_things_in_thing_group, thingGroupName="r-dyn")
    assert found["things"] == ["r:1"]
    await call(iot.delete_dynamic_thing_group, thingGroupName="r-dyn", expectedVersion=2)


async def test_event_configurations_and_endpoints(site: AwsSite, iot: Client) -> None:
    """Switches are read and set; each kind of endpoint is where we listen."""
    found = (await call(iot.describe_event_configurations))["eventConfigurations"]
    assert found["JOB"] == {"Enabled": True}
    await call(iot.update_event_configurations, eventConfigurations={"JOB": {"Enabled": False}})
    shown = await call(iot.describe_event_configurations)
    assert shown["eventConfigurations"]["JOB"] == {"Enabled": False}
    assert shown["lastModifiedDate"] >= shown["creationDate"]
    await call(iot.update_event_configurations, eventConfigurations={"JOB": {"Enabled": True}})
    for kind in ("iot:Data-ATS", "iot:Data"):
        found = await call(iot.describe_endpoint, endpointType=kind)
        assert found == {"endpointAddress": "127.0.0.1"}
    port = site.port_of("iot-jobs-data")
    found = await call(iot.describe_endpoint, endpointType="iot:Jobs")
    assert found == {"endpointAddress": f"127.0.0.1:{port}"}
    await failure(
        iot,
        "InvalidRequestException",
        iot.describe_endpoint,
        endpointType="iot:CredentialProvider",
    )


async def test_a_device_that_has_http_alone(site: AwsSite, iot: Client) -> None:
    """It does all its operations by iot-jobs-data, and MQTT hears the same as of any other."""
    await site.thing("d1")
    device = site.client("iot-jobs-data", "d1")
    async with devices(site.http.site.device_port) as heard:
        nothing = await call(device.start_next_pending_job_execution, thingName="d1")
        assert nothing == {}
        for job_id in ("d-j1", "d-j2"):
            await call(iot.create_job, jobId=job_id, targets=[f"{ARN}:thing/d1"], document=DOCUMENT)

        def told(expected: str | None) -> bool:
            return heard.next_told["d1"].get("jobId") == expected

        await eventually(lambda: told("d-j1"))
        pending = await call(device.get_pending_job_executions, thingName="d1")
        assert [one["jobId"] for one in pending["queuedJobs"]] == ["d-j1", "d-j2"]
        assert pending["inProgressJobs"] == []
        assert type(pending["queuedJobs"][0]["queuedAt"]) is int
        shown = await call(device.describe_job_execution, thingName="d1", jobId="$next")
        assert shown["execution"]["jobDocument"] == DOCUMENT
        shown = await call(
            device.describe_job_execution,
            thingName="d1",
            jobId="d-j2",
            includeJobDocument=False,
            executionNumber=1,
        )
        assert shown["execution"]["status"] == "QUEUED"
        assert "jobDocument" not in shown["execution"]
        started = await call(
            device.start_next_pending_job_execution,
            thingName="d1",
            statusDetails={"step": "begin"},
            stepTimeoutInMinutes=3,
        )
        execution = started["execution"]
        assert (execution["jobId"], execution["versionNumber"]) == ("d-j1", 2)
        assert execution["statusDetails"] == {"step": "begin"}
        assert 0 < execution["approximateSecondsBeforeTimedOut"] <= 180
        updated = await call(
            device.update_job_execution,
            thingName="d1",
            jobId="d-j1",
            status="IN_PROGRESS",
            statusDetails={"step": "middle"},
            expectedVersion=2,
            includeJobExecutionState=True,
            includeJobDocument=True,
        )
        state = {"status": "IN_PROGRESS", "versionNumber": 3, "statusDetails": {"step": "middle"}}
        assert updated == {"executionState": state, "jobDocument": DOCUMENT}
        ended = await call(
            device.update_job_execution, thingName="d1", jobId="d-j1", status="SUCCEEDED"
        )
        assert ended == {}
        await eventually(lambda: told("d-j2"))
        # The other way round: what is done over MQTT is seen over HTTP.
        await heard.accepted("$aws/things/d1/jobs/start-next")
        pending = await call(device.get_pending_job_executions, thingName="d1")
        assert [one["jobId"] for one in pending["inProgressJobs"]] == ["d-j2"]
        await call(device.update_job_execution, thingName="d1", jobId="d-j2", status="FAILED")
        await eventually(lambda: told(None))
    await failure(
        device,
        "InvalidStateTransitionException",
        device.update_job_execution,
        thingName="d1",
        jobId="d-j1",
        status="IN_PROGRESS",
    )
    await failure(
        device,
        "TerminalStateException",
        device.describe_job_execution,
        thingName="d1",
        jobId="d-j1",
    )


async def test_what_is_wrong_is_raised_as_modelled(site: AwsSite, iot: Client) -> None:
    """A wrong field, an unknown job, a duplicate and a stale version: botocore's own exceptions, on both planes."""
    await site.thing("w1")
    target = [f"{ARN}:thing/w1"]
    await call(iot.create_job, jobId="w-j1", targets=target, document=DOCUMENT)
    # The same once more is no duplicate: clients ask again when an answer is lost.
    await call(iot.create_job, jobId="w-j1", targets=target, document=DOCUMENT)
    found = await failure(
        iot,
        "ResourceAlreadyExistsException",
        iot.create_job,
        jobId="w-j1",
        targets=target,
        document="{}",
    )
    assert (found["resourceId"], found["ResponseMetadata"]["HTTPStatusCode"]) == ("w-j1", 409)
    await call(iot.create_job_template, jobTemplateId="w-t", description="x", document=DOCUMENT)
    creations: list[tuple[str, Any, dict[str, Any]]] = [
        ("InvalidRequestException", iot.create_job, {"document": "no JSON"}),
        ("InvalidRequestException", iot.create_job, {"document": "{}", "namespaceId": "n"}),
        ("ResourceNotFoundException", iot.create_job, {"targets": [f"{ARN}:thing/nobody"]}),
    ]
    for name, function, members in creations:
        given = {"jobId": "w-j2", "targets": target, "document": "{}", **members}
        await failure(iot, name, function, **given)
    wrong: list[tuple[str, Any, dict[str, Any]]] = [
        ("InvalidRequestException", iot.describe_job, {"jobId": "no job id"}),
        ("ResourceNotFoundException", iot.describe_job, {"jobId": "nothing"}),
        ("ResourceNotFoundException", iot.list_jobs, {"thingGroupName": "nobody"}),
        ("InvalidRequestException", iot.list_jobs, {"status": "SLEEPING"}),
        ("InvalidRequestException", iot.list_jobs, {"nextToken": "forged"}),
        ("InvalidRequestException", iot.list_jobs, {"namespaceId": "n"}),
        (
            "ConflictException",
            iot.create_job_template,
            {"jobTemplateId": "w-t", "description": "y", "document": "{}"},
        ),
        ("InvalidStateTransitionException", iot.delete_job, {"jobId": "w-j1"}),
        (
            "VersionConflictException",
            iot.cancel_job_execution,
            {"jobId": "w-j1", "thingName": "w1", "expectedVersion": 7},
        ),
        ("VersionConflictException", iot.delete_thing, {"thingName": "w1", "expectedVersion": 9}),
        (
            "InvalidQueryException",
            iot.create_dynamic_thing_group,
            {"thingGroupName": "w-g", "queryString": "((("},
        ),
        (
            "InvalidRequestException",
            iot.add_thing_to_thing_group,
            {"thingGroupArn": f"{ARN}:thing/w1", "thingName": "w1"},
        ),
        ("InvalidRequestException", iot.update_thing_groups_for_thing, {"thingName": "w1"}),
        ("InvalidRequestException", iot.create_thing, {"thingName": "w2", "billingGroupName": "b"}),
    ]
    for name, function, members in wrong:
        await failure(iot, name, function, **members)
    device = site.client("iot-jobs-data", "w1")
    one = {"thingName": "w1", "jobId": "w-j1"}
    reports: list[tuple[str, dict[str, Any]]] = [
        ("InvalidStateTransitionException", {"status": "SUCCEEDED", "expectedVersion": 99}),
        ("InvalidRequestException", {"status": "CANCELED"}),
        ("InvalidRequestException", {"status": "SUCCEEDED", "statusDetails": {"a b": "c"}}),
        ("ResourceNotFoundException", {"status": "SUCCEEDED", "jobId": "nothing"}),
    ]
    for name, members in reports:
        await failure(device, name, device.update_job_execution, **{**one, **members})
    await call(iot.cancel_job, jobId="w-j1", force=True)
    await failure(iot, "InvalidRequestException", iot.update_job, jobId="w-j1", description="late")


async def test_operations_that_are_not_offered(site: AwsSite, iot: Client) -> None:
    """Whatever else a client of `iot` can ask is answered by an error it knows; none of it is a page."""
    model = iot.meta.service_model
    offered = {one.name for one in OPERATIONS}
    others = [name for name in model.operation_names if name not in offered]
    assert len(others) > 200
    for function, members in (
        (iot.list_certificates, {}),
        (iot.create_keys_and_certificate, {"setAsActive": True}),
        (iot.get_indexing_configuration, {}),
        (iot.list_v2_logging_levels, {}),
        (iot.create_thing_type, {"thingTypeName": "pump"}),
    ):
        found = await failure(iot, "InvalidRequestException", function, **members)
        assert "no operation of iot that jobbroker offers" in found["message"]
    data = site.client("iot-jobs-data", "boss")
    await failure(
        data,
        "InvalidRequestException",
        data.start_command_execution,
        targetArn=f"{ARN}:thing/w1",
        commandArn=f"{ARN}:command/c",
    )


async def test_who_may_do_what(site: AwsSite, iot: Client) -> None:
    """A viewer reads, a thing is itself and nobody else, an operator in its place is written down."""
    for name in ("m1", "m2"):
        await site.thing(name)
    await site.operator("eve", "viewer")
    await call(iot.create_job, jobId="m-j1", targets=[f"{ARN}:thing/m1"], document=DOCUMENT)
    viewer = site.client("iot", "eve")
    assert (await call(viewer.describe_job, jobId="m-j1"))["job"]["jobId"] == "m-j1"
    await failure(viewer, "UnauthorizedException", viewer.cancel_job, jobId="m-j1")
    one = {"thingName": "m1"}
    other = site.client("iot-jobs-data", "m2")
    assert await refusal(other.get_pending_job_executions, **one) == ("AccessDeniedException", 403)
    as_thing = site.client("iot", "m1")
    await failure(as_thing, "UnauthorizedException", as_thing.list_jobs)
    looking = site.client("iot-jobs-data", "eve")
    assert len((await call(looking.get_pending_job_executions, **one))["queuedJobs"]) == 1
    assert await refusal(looking.start_next_pending_job_execution, **one) == (
        "AccessDeniedException",
        403,
    )
    await _another_tenant(site)
    instead = site.client("iot-jobs-data", "boss")
    started = await call(instead.start_next_pending_job_execution, **one)
    assert started["execution"]["status"] == "IN_PROGRESS"
    lines = (await site.desk.accepted("audit/list", {"subject": "job/m-j1/thing/m1"}))["lines"]
    assert [(line["actor"], line["action"]) for line in lines] == [("boss", "things/report")]


async def _another_tenant(site: AwsSite) -> None:
    """Its owner sees nothing of ours, and its thing of the same name is another."""
    async with connected(site.http.site.database.admin_url) as admin:
        await admin.execute("INSERT INTO tenants (tenant_id) VALUES ('acme')")
    theirs = replace(site, desk=replace(site.desk, tenant="acme"), keys={})
    await theirs.operator("mel", "owner")
    await theirs.thing("m1")
    owner, device = theirs.client("iot", "mel"), theirs.client("iot-jobs-data", "m1")
    assert (await call(owner.list_jobs))["jobs"] == []
    await failure(owner, "ResourceNotFoundException", owner.describe_job, jobId="m-j1")
    assert (await call(device.get_pending_job_executions, thingName="m1"))["queuedJobs"] == []


async def test_signatures_that_are_no_good(site: AwsSite) -> None:
    """Wrong secret, unknown key, revoked token, no signature on a port of AWS's; none of them gets anything."""
    await site.operator("bob", "manager")
    bob = site.client("iot", "bob")
    assert (await call(bob.list_things, maxResults=1))["things"]
    wrong = site.client("iot", "bob", aws_secret_access_key="x" * 43)
    assert await refusal(wrong.list_things) == ("InvalidSignatureException", 403)
    unknown = site.client("iot", "bob", aws_access_key_id="JBKA" + "A" * 24)
    assert await refusal(unknown.list_things) == ("UnrecognizedClientException", 403)
    other = site.client("iot", "bob", aws_access_key_id="AKIAIOSFODNN7EXAMPLE")
    assert await refusal(other.list_things) == ("UnrecognizedClientException", 403)
    session = site.client("iot", "bob", aws_session_token="left over")
    assert await refusal(session.list_things) == ("UnrecognizedClientException", 403)
    await site.desk.accepted("operators/delete", {"operatorName": "bob"})
    assert await refusal(bob.list_things) == ("UnrecognizedClientException", 403)
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        unsigned = await http.get(f"http://127.0.0.1:{site.port_of('iot')}/jobs")
        assert unsigned.status_code == 403
        assert unsigned.headers["x-amzn-errortype"] == "MissingAuthenticationTokenException"
        ours = await http.get(f"{site.url}/jobs")
        assert ours.status_code == 404
    assert site.keys["bob"]["secretAccessKey"] not in site.http.broker.text()


async def test_requests_altered_on_their_way_and_replayed(
    site: AwsSite, iot: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A presigned request can be used until it is over; an altered or an old one cannot."""
    await site.thing("s1")
    await call(iot.create_job, jobId="s-j1", targets=[f"{ARN}:thing/s1"], document=DOCUMENT)
    url = iot.generate_presigned_url("describe_job", {"jobId": "s-j1"}, ExpiresIn=60)
    sent: list[Any] = []
    iot.meta.events.register("before-send.iot.UpdateJob", lambda request, **_: sent.append(request))
    await call(iot.update_job, jobId="s-j1", description="once")
    (request,) = sent
    headers = {name: _text(value) for name, value in request.headers.items()}
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        read = await http.get(url)
        assert (read.status_code, read.json()["job"]["jobId"]) == (200, "s-j1")
        forged = await http.get(url.replace("s-j1", "s-j2"))
        assert forged.headers["x-amzn-errortype"] == "InvalidSignatureException"
        again = await http.patch(request.url, content=request.body, headers=headers)
        assert again.status_code == 200, again.text
        body = json.dumps({"description": "other"})
        headers.pop("Content-Length", None)
        altered = await http.patch(request.url, content=body, headers=headers)
        assert (altered.status_code, altered.headers["x-amzn-errortype"]) == (
            403,
            "InvalidSignatureException",
        )
    job = (await call(iot.describe_job, jobId="s-j1"))["job"]
    assert job["description"] == "once"
    for minutes in (-6, 6):
        with monkeypatch.context() as elsewhere:
            then = datetime.now(UTC) + timedelta(minutes=minutes)
            for signer in ("botocore.auth", "botocore.crt.auth"):
                elsewhere.setattr(f"{signer}.get_current_datetime", partial(_then, then))
            late = site.client("iot", "boss")
            assert await refusal(late.list_jobs) == ("InvalidSignatureException", 403)


def _then(then: datetime, *, remove_tzinfo: bool = True) -> datetime:
    return then.replace(tzinfo=None) if remove_tzinfo else then


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


async def test_ports_of_their_own(site: AwsSite) -> None:
    """On a port of one service a signature may be for any, as old clients' are; elsewhere it may not."""
    await site.thing("o1")
    keys = site.keys["boss"]
    sign: Callable[..., Any] = SigV4Auth
    owner = ReadOnlyCredentials(keys["accessKeyId"], keys["secretAccessKey"], None)
    signer = sign(owner, "execute-api", "us-east-1")
    make_request: Callable[..., Any] = AWSRequest
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        for port, status in ((site.port_of("iot"), 200), (httpx.URL(site.url).port, 403)):
            url = f"http://127.0.0.1:{port}/things"
            request = make_request("GET", url)
            signer.add_auth(request)
            answer = await http.get(url, headers=dict(request.headers))
            assert answer.status_code == status, answer.text
    device = site.client(
        "iot-jobs-data",
        "o1",
        endpoint_url=f"http://127.0.0.1:{site.port_of('iot-jobs-data')}",
    )
    assert await call(device.get_pending_job_executions, thingName="o1") == {
        "inProgressJobs": [],
        "queuedJobs": [],
    }
