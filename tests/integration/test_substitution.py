"""Placeholders and presigned URLs on their way to devices; documents that are read from a URL."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from handlers import store
from handlers.context import Outside
from handlers.database import Pool, tenant_transaction
from handlers.documents import Documents
from schema.errors import Code, Rejected
from schema.presign import S3Store, StoredObject
from schema.sql import queries
from tests.factories import add_operator, add_things
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job

_STATEMENTS = queries("executions")
STORE = S3Store("http://store.test:9000", "us-east-1", "key", "secret")
LOCALS = {
    "name": "${thingName}",
    "where": ["${jobId}/${executionNumber}", "at ${thing:attributes.site}"],
    "shell": "$${HOME}",
}


def filled(thing: str, site: str) -> dict[str, object]:
    """LOCALS as a device is given it for the job j."""
    return {"name": thing, "where": ["j/1", f"at {site}"], "shell": "${HOME}"}


@pytest.fixture
async def desk(pool: Pool) -> Desk:
    """An owner of a tenant with the things t1, in the north, and t2, of which nothing is known."""
    desk = Desk(pool)
    north = {"thingName": "t1", "attributes": {"site": "north"}}
    await desk.accepted("things/create", north)
    await desk.accepted("things/create", {"thingName": "t2"})
    return desk


async def test_devices_are_given_filled_documents(desk: Desk) -> None:
    """Start-next, describe and update fill in each thing's own values; a missing attribute is empty."""
    await desk.accepted("jobs/create", aws_job("t1", "t2", jobId="j", document=LOCALS))
    plane = Plane(desk.pool)
    answers, _ = await plane.batch(plane.ask("t1/jobs/start-next"), plane.ask("t2/jobs/$next/get"))
    given = [body["execution"]["jobDocument"] for _, body in answers]
    assert given == [filled("t1", "north"), filled("t2", "")]
    asked = {"status": "IN_PROGRESS", "includeJobDocument": True}
    updated = await plane.accepted("t1/jobs/j/update", asked)
    assert updated["jobDocument"] == filled("t1", "north")
    shown = await desk.accepted("jobs/j/get")
    assert json.loads(shown["document"]) == {**LOCALS, "shell": "${HOME}"}


@pytest.mark.parametrize("cached", [0, 1000_000])
async def test_notify_next_brings_the_filled_document(desk: Desk, cached: int) -> None:
    """Whether the document was kept or not: the next job's is filled for the thing that is told."""
    await desk.accepted("jobs/create", aws_job("t1", jobId="first"))
    await desk.accepted("jobs/create", aws_job("t1", jobId="j", document=LOCALS))
    plane = Plane(desk.pool, documents=Documents(cached))
    for job in ("first", "j"):
        done = {"status": "SUCCEEDED"}
        _, told = await plane.batch(plane.ask(f"t1/jobs/{job}/update", done))
        [following] = [body for topic, body in told if topic.endswith("notify-next")]
        if job == "first":
            assert following["execution"]["jobDocument"] == filled("t1", "north")
        else:
            assert "execution" not in following


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ({"a": 1}, {"load_documents"}),
        ({"a": "${thingName}"}, {"load_documents"}),
        ({"a": "${thing:attributes.site}"}, {"load_documents", "load_attributes"}),
    ],
)
async def test_attributes_are_read_only_where_they_are_shown(
    desk: Desk, document: object, wanted: set[str]
) -> None:
    """One statement more for such a batch; a document that is kept takes none."""
    await desk.accepted("jobs/create", aws_job("t1", "t2", jobId="j", document=document))
    documents = Documents()
    async with desk.pool.acquire() as connection, tenant_transaction(connection, "default"):
        queues = await store.load_queues(connection, "default", ["t1", "t2"])
        asked = [one for queue in queues.values() for one in queue]
        for expected in (wanted, wanted - {"load_documents"}):
            ran: list[str] = []
            with connection.query_logger(lambda record, ran=ran: ran.append(record.query)):
                texts = await documents.load(connection, "default", asked, now=datetime.now(UTC))
                await connection.execute("SELECT 1")  # by then the others are logged
            assert {name for name, text in _STATEMENTS.items() if text in ran} == expected
            assert len({texts.of(one) for one in asked}) == (1 if document == {"a": 1} else 2)


async def test_kept_documents_are_bounded(desk: Desk) -> None:
    """Whatever is asked for, no more characters are kept than may be; what is asked for is given."""
    documents = Documents(60)
    for job in range(5):
        document = {"a": "${jobId}" + "x" * 20}
        await desk.accepted("jobs/create", aws_job("t1", jobId=f"j{job}", document=document))
    async with desk.pool.acquire() as connection, tenant_transaction(connection, "default"):
        queue = (await store.load_queues(connection, "default", ["t1"]))["t1"]
        texts = await documents.load(connection, "default", queue, now=datetime.now(UTC))
    assert [json.loads(texts.of(one))["a"][:2] for one in queue] == ["j0", "j1", "j2", "j3", "j4"]
    assert len(documents._kept) == 1
    assert documents._held <= 60


async def test_only_documents_with_placeholders_are_not_plain(desk: Desk) -> None:
    """What needs nothing filled in is marked so when it is created, however it was made."""
    documents = {
        "a": '{"a":"$ {x}"}',
        "b": '{"a":"$${x}"}',
        "c": {"x": "${jobId}"},
        "d": '{"a":"\\u0024"}',
    }
    for job, document in documents.items():
        await desk.accepted("jobs/create", aws_job("t1", jobId=job, document=document))
    await desk.accepted(
        "jobs/create",
        {"job_id": "e", "document_type": "${thingName}", "target_device_id": "t1"},
    )
    rows = await desk.rows("SELECT job_id, document_plain FROM jobs")
    plain = {row["job_id"] for row in rows if row["document_plain"]}
    assert plain == {"a", "d"}


async def test_a_wrong_placeholder_is_named_with_its_place(desk: Desk) -> None:
    """In AWS's words and in the shorter ones; there is no job afterwards."""
    wrong = aws_job("t1", document={"steps": [{"args": ["x", "${HOME}"]}]})
    refused = await desk.rejected("jobs/create", wrong)
    assert refused["message"].startswith("document.steps[0].args[1]: '${HOME}': is not")
    seed = {"document_type": "x", "document_params": {"a": "${"}, "target_all": True}
    assert "document.params.a" in (await desk.rejected("jobs/create", seed))["message"]
    assert (await desk.accepted("jobs/list"))["jobs"] == []


def _presigned(url: str, *, expires: int | None = None) -> dict[str, object]:
    more: dict[str, object] = {} if expires is None else {"expiresInSec": expires}
    document = {"from": f"${{aws:iot:s3-presigned-url:{url}}}"}
    return aws_job("t1", jobId="j", document=document, presignedUrlConfig=more)


@pytest.mark.parametrize(("expires", "good_for"), [(None, 3600), (60, 60)])
async def test_a_url_is_signed_when_the_document_is_sent(
    desk: Desk, expires: int | None, good_for: int
) -> None:
    """It is that of the store for the time of the answer, for as long as the job says; shown as written."""
    signing = Desk(desk.pool, outside=Outside(signer=STORE))
    await signing.accepted(
        "jobs/create", _presigned("http://store.test:9000/firmware/7.bin", expires=expires)
    )
    plane = Plane(desk.pool, documents=Documents(signer=STORE))
    body = await plane.accepted("t1/jobs/start-next")
    url = body["execution"]["jobDocument"]["from"]
    at = datetime.strptime(url.split("X-Amz-Date=")[1][:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert abs(at.timestamp() - body["timestamp"]) <= 1
    assert url == STORE.presign("GET", StoredObject("firmware", "7.bin"), at, expires=good_for)
    shown = await signing.accepted("jobs/j/get")
    assert "${aws:iot:s3-presigned-url:" in shown["document"]
    assert "secret" not in url


async def test_urls_need_a_store_and_must_be_its_own(desk: Desk) -> None:
    """Without a store, or for another one's URL, the job is refused with the placeholder."""
    refused = await desk.rejected(
        "jobs/create", _presigned("http://store.test:9000/firmware/7.bin")
    )
    assert "no store for presigned URLs is set up here" in refused["message"]
    signing = Desk(desk.pool, outside=Outside(signer=STORE))
    refused = await signing.rejected("jobs/create", _presigned("https://other.test/fw/7.bin"))
    assert "is not in the store http://store.test:9000" in refused["message"]


async def test_a_store_that_is_gone_is_said(desk: Desk) -> None:
    """The device is refused with the reason; the notification comes without the document, and the rest is told."""
    signing = Desk(desk.pool, outside=Outside(signer=STORE))
    await desk.accepted("jobs/create", aws_job("t1", jobId="first"))
    await signing.accepted("jobs/create", _presigned("http://store.test:9000/firmware/7.bin"))
    plane = Plane(desk.pool)
    _, told = await plane.batch(plane.ask("t1/jobs/first/update", {"status": "SUCCEEDED"}))
    [following] = [body for topic, body in told if topic.endswith("notify-next")]
    assert following["execution"]["jobId"] == "j"
    assert "jobDocument" not in following["execution"]
    refused = await plane.rejected("t1/jobs/start-next")
    assert refused["code"] == "InternalError"
    assert "nothing signs" in refused["message"]


@dataclass(slots=True)
class Shelf:
    """Documents at URLs, and what was read of them."""

    texts: dict[str, str]
    read: list[str] = field(default_factory=list)

    async def at(self, url: str) -> str:
        """The document at a URL, or a refusal."""
        self.read.append(url)
        if url not in self.texts:
            raise Rejected(Code.INVALID_REQUEST, f"documentSource: {url!r}: answered 404")
        return self.texts[url]


def from_source(url: str, **more: object) -> dict[str, object]:
    """A jobs/create for t1 whose document is at a URL."""
    return {**aws_job("t1"), "document": None, "documentSource": url, **more}


async def test_a_document_is_read_from_its_source_once(desk: Desk) -> None:
    """At creation; a repeated create does not read again, and what the source says later does not matter."""
    shelf = Shelf({"https://docs/1": '{"a":"${thingName}"}'})
    reading = Desk(desk.pool, outside=Outside(read_source=shelf.at))
    job = from_source("https://docs/1", jobId="j", clientToken="c")
    await reading.accepted("jobs/create", job)
    await reading.accepted("jobs/create", job)
    await reading.accepted("jobs/create", {**job, "clientToken": "d"})
    assert shelf.read == ["https://docs/1"]
    shelf.texts["https://docs/1"] = "{}"
    assert (await desk.accepted("jobs/j/get"))["documentSource"] == "https://docs/1"
    body = await Plane(desk.pool).accepted("t1/jobs/start-next")
    assert body["execution"]["jobDocument"] == {"a": "t1"}


async def test_a_templates_source_is_read_when_it_is_made(desk: Desk) -> None:
    """Jobs of the template have its document and show its source."""
    shelf = Shelf({"https://docs/1": '{"a":1}'})
    reading = Desk(desk.pool, outside=Outside(read_source=shelf.at))
    asked = {"jobTemplateId": "t", "description": "d", "documentSource": "https://docs/1"}
    made = await reading.accepted("templates/create", asked)
    job = {**aws_job("t1", jobId="j"), "document": None, "jobTemplateArn": made["jobTemplateArn"]}
    await desk.accepted("jobs/create", job)
    shown = await desk.accepted("jobs/j/get")
    assert (shown["document"], shown["documentSource"]) == ('{"a":1}', "https://docs/1")
    assert shelf.read == ["https://docs/1"]


async def test_nothing_is_read_for_a_command_that_is_wrong(desk: Desk) -> None:
    """Who may not create, and who names a thing that does not exist, cause no request to anywhere."""
    await add_operator(desk.pool, "bob", "viewer")
    await add_things(desk.pool, "t3")
    shelf = Shelf({})
    outside = Outside(read_source=shelf.at)
    bob = Desk(desk.pool, role=None, name="bob", outside=outside)
    refused = await bob.rejected("jobs/create", from_source("https://docs/1"))
    assert refused["code"] == "Unauthorized"
    job = {**from_source("https://docs/1"), "targets": ["arn:aws:iot:::thing/nobody"]}
    refused = await Desk(desk.pool, outside=outside).rejected("jobs/create", job)
    assert refused["code"] == "ResourceNotFound"
    assert shelf.read == []


async def test_a_source_that_cannot_be_read_is_a_refusal(desk: Desk) -> None:
    """With the reader's reason and the clientToken; where nothing is offered, that is said."""
    reading = Desk(desk.pool, outside=Outside(read_source=Shelf({}).at))
    job = from_source("https://docs/2", jobId="j", clientToken="c")
    refused = await reading.rejected("jobs/create", job)
    assert (refused["code"], refused["clientToken"]) == ("InvalidRequest", "c")
    assert "answered 404" in refused["message"]
    refused = await desk.rejected("jobs/create", job)
    assert "not offered here; JOBBROKER_DOCUMENT_HOSTS" in refused["message"]
    assert (await desk.rejected("jobs/j/get"))["code"] == "ResourceNotFound"
