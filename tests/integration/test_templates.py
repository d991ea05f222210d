"""Job templates: made, shown, listed and deleted; jobs made of them, and of AWS's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handlers import templates
from handlers.database import Pool
from tests.factories import add_operator, add_tenant, add_things
from tests.integration.operator_desk import Desk, aws_job

HOME = "arn:aws:iot:us-east-1:000000000000"
INSTALL = '{"operation":"install","version":"${aws:iot:parameter:version}"}'


@pytest.fixture
async def desk(pool: Pool) -> Desk:
    """An owner of a tenant with the things t1 and t2."""
    await add_things(pool, "t1", "t2")
    return Desk(pool)


def template(name: str = "firmware", /, **more: object) -> dict[str, object]:
    """A templates/create."""
    return {"jobTemplateId": name, "description": "d", "document": INSTALL, **more}


def of_template(arn: str, **more: object) -> dict[str, Any]:
    """A jobs/create for t1 by a template."""
    job = {**aws_job("t1", jobTemplateArn=arn), **more}
    del job["document"]
    return job


WINDOWS = [{"startTime": "cron(0 2 ? * SAT,SUN *)", "durationInMinutes": 120}]


async def test_a_templates_windows_are_its_jobs(desk: Desk) -> None:
    """A job without a schedule takes them, one with a schedule has that; a template made from a job has the job's."""
    made = await desk.accepted("templates/create", template(maintenanceWindows=WINDOWS))
    shown = await desk.accepted("templates/get", {"jobTemplateId": "firmware"})
    assert shown["maintenanceWindows"] == WINDOWS
    arn, parameters = made["jobTemplateArn"], {"version": "7"}
    more = {"targetSelection": "CONTINUOUS", "documentParameters": parameters}
    await desk.accepted("jobs/create", of_template(arn, jobId="j1", **more))
    job = await desk.job("j1")
    assert job["schedulingConfig"] == {"maintenanceWindows": WINDOWS}
    own = [{"startTime": "cron(0 4 ? * MON *)", "durationInMinutes": 60}]
    scheduled = of_template(arn, jobId="j2", schedulingConfig={"maintenanceWindows": own}, **more)
    await desk.accepted("jobs/create", scheduled)
    assert (await desk.job("j2"))["schedulingConfig"] == {"maintenanceWindows": own}
    refused = await desk.rejected(
        "jobs/create", of_template(arn, jobId="j3", documentParameters=parameters)
    )
    assert "maintenanceWindows" in refused["message"]
    of_job = {"jobTemplateId": "again", "description": "d", "jobArn": job["jobArn"]}
    await desk.accepted("templates/create", of_job)
    shown = await desk.accepted("templates/get", {"jobTemplateId": "again"})
    assert shown["maintenanceWindows"] == WINDOWS


async def test_a_template_is_made_shown_listed_and_deleted(desk: Desk) -> None:
    """AWS's names and shapes; settings are shown as they were sent; what is deleted is gone."""
    settings = {
        "timeoutConfig": {"inProgressTimeoutInMinutes": 30},
        "presignedUrlConfig": {"expiresInSec": 60, "roleArn": "arn:aws:iam::1:role/abc"},
    }
    made = await desk.accepted("templates/create", template(**settings))
    names = {"jobTemplateId": "firmware", "jobTemplateArn": f"{HOME}:jobtemplate/firmware"}
    assert {**made, **names} == made
    shown = await desk.accepted("templates/get", {"jobTemplateId": "firmware"})
    wanted = {**names, **settings, "description": "d", "document": INSTALL}
    assert {**shown, **wanted} == shown
    assert shown["createdAt"] <= shown["timestamp"]
    await desk.accepted("templates/create", template("other"))
    first = await desk.accepted("templates/list", {"maxResults": 1})
    rest = await desk.accepted("templates/list", {"nextToken": first["nextToken"]})
    assert [one["jobTemplateId"] for one in first["jobTemplates"] + rest["jobTemplates"]] == [
        "firmware",
        "other",
    ]
    assert "nextToken" not in rest
    await desk.accepted("templates/delete", {"jobTemplateId": "firmware"})
    for verb in ("get", "delete"):
        gone = await desk.rejected(f"templates/{verb}", {"jobTemplateId": "firmware"})
        assert (gone["code"], "'firmware' does not exist" in gone["message"]) == (
            "ResourceNotFound",
            True,
        )


async def test_a_template_is_its_tenants(desk: Desk) -> None:
    """Another tenant neither sees it nor makes jobs of it."""
    await add_tenant(desk.pool, "acme")
    await add_things(desk.pool, "t1", tenant="acme")
    await desk.accepted("templates/create", template())
    acme = Desk(desk.pool, tenant="acme")
    assert (await acme.accepted("templates/list"))["jobTemplates"] == []
    refused = await acme.rejected("jobs/create", of_template(f"{HOME}:jobtemplate/firmware"))
    assert refused["code"] == "ResourceNotFound"


async def test_the_same_template_again_is_accepted_and_another_is_not(desk: Desk) -> None:
    """A repeated create finds itself; the id with other content is a conflict."""
    await desk.accepted("templates/create", template())
    await desk.accepted("templates/create", template())
    refused = await desk.rejected("templates/create", template(description="e"))
    assert refused["code"] == "ResourceAlreadyExists"
    assert "'firmware' is taken" in refused["message"]
    [line] = await desk.rows("SELECT action, subject FROM audit_log")
    assert line == {"action": "templates/create", "subject": "template/firmware"}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"document": '{"a":"${nonsense}"}'}, "document.a: '${nonsense}': is not a placeholder"),
        ({"documentSource": "https://x/y"}, "exactly one of document, documentSource and jobArn"),
        ({"jobArn": "arn:x", "document": None}, "jobArn: 'arn:x' is not arn:aws:iot:"),
        ({"description": None}, "description: required"),
        ({"jobTemplateId": "a b"}, "jobTemplateId: 'a b' does not match"),
        (
            {"destinationPackageVersions": []},
            "destinationPackageVersions: templates/create has no such field",
        ),
        ({"maintenanceWindows": [{"startTime": "noon"}]}, "maintenanceWindows.0"),
        (
            {"document": '{"a":"${aws:iot:s3-presigned-url:https://s3.x/b/k}"}'},
            "no store for presigned URLs is set up here",
        ),
    ],
)
async def test_a_wrong_template_is_refused(desk: Desk, more: dict[str, object], says: str) -> None:
    """The member and what is wrong are named, and nothing is kept."""
    refused = await desk.rejected("templates/create", template(**more))
    assert refused["code"] == "InvalidRequest"
    assert says in refused["message"]
    assert (await desk.accepted("templates/list"))["jobTemplates"] == []


async def test_there_is_a_most_of_templates(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One beyond it is LimitExceeded; the same as before is not one more."""
    monkeypatch.setattr(templates, "TEMPLATES", 1)
    await desk.accepted("templates/create", template())
    await desk.accepted("templates/create", template())
    refused = await desk.rejected("templates/create", template("second"))
    assert (refused["code"], refused["message"]) == (
        "LimitExceeded",
        "there are 1 job templates, at most 1 may be",
    )


async def test_a_viewer_reads_templates_and_makes_none(desk: Desk) -> None:
    """Listing takes viewer, making and deleting manager."""
    await add_operator(desk.pool, "bob", "viewer")
    bob = Desk(desk.pool, role=None, name="bob")
    assert (await bob.accepted("templates/list"))["jobTemplates"] == []
    assert len((await bob.accepted("managed-templates/list"))["managedJobTemplates"]) == 8
    assert (await bob.rejected("templates/create", template()))["code"] == "Unauthorized"


async def test_a_job_takes_its_templates_settings_unless_it_says_otherwise(desk: Desk) -> None:
    """Document, description and timeout come from the template; what the request says holds instead."""
    made = await desk.accepted(
        "templates/create", template(timeoutConfig={"inProgressTimeoutInMinutes": 30})
    )
    arn = made["jobTemplateArn"]
    parameters = {"version": "7"}
    await desk.accepted("jobs/create", of_template(arn, jobId="a", documentParameters=parameters))
    own = {"timeoutConfig": {"inProgressTimeoutInMinutes": 5}, "description": "mine"}
    await desk.accepted(
        "jobs/create", of_template(arn, jobId="b", documentParameters=parameters, **own)
    )
    job = await desk.job("a")
    assert (job["description"], job["timeoutConfig"]) == ("d", {"inProgressTimeoutInMinutes": 30})
    assert (job["jobTemplateArn"], job["documentParameters"]) == (arn, parameters)
    job = await desk.job("b")
    assert (job["description"], job["timeoutConfig"]) == ("mine", own["timeoutConfig"])
    # It has what it needs of the template.
    await desk.accepted("templates/delete", {"jobTemplateId": "firmware"})
    shown = await desk.accepted("jobs/a/get")
    assert shown["document"] == '{"operation":"install","version":"7"}'
    raw = await desk.accepted("jobs/a/get", {"beforeSubstitution": True})
    assert raw["document"] == INSTALL
    # And is found again by a repeated create.
    again = of_template(arn, jobId="a", documentParameters=parameters)
    assert (await desk.accepted("jobs/create", again))["jobId"] == "a"


@pytest.mark.parametrize(
    ("arn", "parameters", "says"),
    [
        (f"{HOME}:jobtemplate/none", {}, "job template 'none' does not exist"),
        (f"{HOME}:jobtemplate/firmware", {}, "documentParameters has no such parameter"),
        (
            f"{HOME}:jobtemplate/firmware",
            {"version": "7", "more": "x"},
            "documentParameters: the document has no ${aws:iot:parameter:more}",
        ),
        (
            "arn:aws:iot:us-east-1::jobtemplate/AWS-Download-File:1.0",
            {"filePath": "/x"},
            "documentParameters: AWS-Download-File needs downloadUrl",
        ),
        (
            "arn:aws:iot:us-east-1::jobtemplate/AWS-Reboot:9.9",
            {},
            "managed job template 'AWS-Reboot:9.9' does not exist",
        ),
    ],
)
async def test_a_job_that_does_not_fit_its_template_is_refused(
    desk: Desk, arn: str, parameters: dict[str, str], says: str
) -> None:
    """The template or the parameter is named, and there is no job."""
    await desk.accepted("templates/create", template())
    refused = await desk.rejected("jobs/create", of_template(arn, documentParameters=parameters))
    assert says in refused["message"], refused
    assert (await desk.accepted("jobs/list"))["jobs"] == []


async def test_a_job_of_a_managed_template(desk: Desk) -> None:
    """Optional parameters that were left out are filled with nothing, and not shown as given."""
    shown = await desk.accepted("managed-templates/get", {"templateName": "AWS-Reboot"})
    assert [one["key"] for one in shown["documentParameters"]] == ["runAsUser", "pathToHandler"]
    job = of_template(shown["templateArn"], jobId="j", documentParameters={"runAsUser": "root"})
    await desk.accepted("jobs/create", job)
    body = await desk.accepted("jobs/j/get")
    [step] = json.loads(body["document"])["steps"]
    assert step["action"] == {
        "name": "Reboot",
        "type": "runHandler",
        "input": {"handler": "reboot.sh", "path": ""},
        "runAsUser": "root",
    }
    assert body["job"]["documentParameters"] == {"runAsUser": "root"}


async def test_managed_templates_come_in_pages(desk: Desk) -> None:
    """All eight by name, a page at a time, or the one of a name."""
    names, token = [], None
    while True:
        page = {"maxResults": 3, **({"nextToken": token} if token else {})}
        body = await desk.accepted("managed-templates/list", page)
        names += [one["templateName"] for one in body["managedJobTemplates"]]
        if (token := body.get("nextToken")) is None:
            break
    assert names == sorted(set(names))
    assert len(names) == 8
    one = await desk.accepted("managed-templates/list", {"templateName": "AWS-Reboot"})
    assert [found["templateVersion"] for found in one["managedJobTemplates"]] == ["1.0"]


async def test_a_template_of_a_job(desk: Desk) -> None:
    """With jobArn the document and the settings are the job's, but for what is said; parameters are to come anew."""
    job = aws_job(
        "t1",
        jobId="j",
        document=INSTALL,
        documentParameters={"version": "7"},
        timeoutConfig={"inProgressTimeoutInMinutes": 9},
        presignedUrlConfig={"expiresInSec": 100},
    )
    await desk.accepted("jobs/create", job)
    asked = template(jobArn=f"{HOME}:job/j", presignedUrlConfig={"expiresInSec": 200})
    await desk.accepted("templates/create", {**asked, "document": None})
    shown = await desk.accepted("templates/get", {"jobTemplateId": "firmware"})
    assert shown["document"] == INSTALL
    assert shown["timeoutConfig"] == {"inProgressTimeoutInMinutes": 9}
    assert shown["presignedUrlConfig"] == {"expiresInSec": 200}
    gone = template("x", jobArn=f"{HOME}:job/none", document=None)
    assert (await desk.rejected("templates/create", gone))["code"] == "ResourceNotFound"
