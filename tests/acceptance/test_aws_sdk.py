"""AWS's own clients, unmodified, against a running broker: both generations over both MQTT versions."""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from awsiot import iotjobs

from broker.cli.callers import Caller, Where, caller
from broker.embedded.postgres import connected
from tests.acceptance.aws_devices import (
    AwsDevice,
    Certificate,
    SdkRejected,
    V1Device,
    V2Device,
    connect,
    disconnect,
    soon,
)
from tests.acceptance.running_broker import RunningBroker

pytestmark = pytest.mark.local_servers

CLIENTS = [
    pytest.param((generation, version), id=f"{name} over MQTT {version}")
    for (name, generation), version in itertools.product(
        (("IotJobsClient", V1Device), ("IotJobsClientV2", V2Device)), ("3.1.1", "5")
    )
]
DOCUMENT = {"operation": "install", "url": "https://firmware.example/7.bin", "parts": [1, 2]}
THINGS = 24  # one for each test and client, and some to spare


@dataclass(slots=True)
class Bench:
    """One registered thing, its AWS client, and the operator's side."""

    broker: RunningBroker
    operator: Caller
    thing: str
    device: AwsDevice
    errors: type[Any]

    async def create_job(self) -> str:
        """Create a job for the thing, as an operator over MQTT."""
        job_id = f"job-{secrets.token_hex(4)}"
        target = f"arn:aws:iot:us-east-1:000000000000:thing/{self.thing}"
        await self.operator.call(
            "jobs/create",
            {"jobId": job_id, "targets": [target], "document": json.dumps(DOCUMENT)},
        )
        return job_id

    async def rejection(self, operation: str, **fields: object) -> Any:  # noqa: ANN401 - one of two classes
        """The SDK's own error that a request is answered with."""
        with pytest.raises(SdkRejected) as caught:
            await self.device.ask(operation, **fields)
        assert isinstance(caught.value.error, self.errors)
        return caught.value.error

    async def stored(self, sql: str, *values: str) -> asyncpg.Record:
        """One row of PostgreSQL."""
        async with connected(self.broker.database_admin) as connection:
            row = await connection.fetchrow(sql, *values)
        assert row
        return row


@pytest.fixture(scope="module")
async def operator(running_broker: RunningBroker) -> AsyncIterator[Caller]:
    """The operator `admin` over MQTT."""
    where = Where(running_broker.operator_url, None, None, "default", Path())
    async with caller(where) as asked:
        yield asked


@pytest.fixture(scope="module")
async def certificates(
    running_broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Certificate]:
    """Things with certificates from `things add --cert`, a fresh one for each test."""
    out = tmp_path_factory.mktemp("keys")
    names = [f"aws-{number}" for number in range(THINGS)]
    made = await running_broker.cli("things", "add", *names, "--cert", "--out", str(out))
    return iter(
        [
            Certificate(
                one["thingName"],
                running_broker.certificate_port,
                *(Path(one[name]) for name in ("certificate", "key", "caFile")),
            )
            for one in made
        ]
    )


@pytest.fixture
async def bench(
    request: pytest.FixtureRequest,
    running_broker: RunningBroker,
    operator: Caller,
    certificates: Iterator[Certificate],
) -> AsyncIterator[Bench]:
    """A thing with its AWS client of the parametrized kind, connected and listening."""
    generation, version = request.param
    certificate = next(certificates)
    connection = await connect(certificate, version)
    device: AwsDevice = generation(connection, certificate.thing)
    await device.listen()
    generated: Any = iotjobs
    errors = generated.RejectedError if generation is V1Device else generated.V2ErrorResponse
    yield Bench(running_broker, operator, certificate.thing, device, errors)
    await disconnect(connection)


each_client = pytest.mark.parametrize("bench", CLIENTS, indirect=True)


@each_client
async def test_a_job_is_heard_of_started_reported_and_completed(bench: Bench) -> None:
    """Both notifications arrive, the job is started, updated by version, and PostgreSQL agrees."""
    device = bench.device
    empty = await device.ask("get_pending_job_executions")
    assert (empty.in_progress_jobs, empty.queued_jobs) == ([], [])

    job_id = await bench.create_job()
    told = await soon(device.notified)
    assert [one.job_id for one in told.jobs["QUEUED"]] == [job_id]
    following = (await soon(device.next_changed)).execution
    assert (following.job_id, following.status, following.version_number) == (job_id, "QUEUED", 1)

    pending = await device.ask("get_pending_job_executions")
    assert [one.job_id for one in pending.queued_jobs] == [job_id]
    started = (await device.ask("start_next_pending_job_execution")).execution
    assert (started.job_id, started.status, started.version_number) == (job_id, "IN_PROGRESS", 2)
    assert started.execution_number == 1
    assert started.job_document == DOCUMENT
    assert abs(started.started_at.astimezone(UTC) - datetime.now(UTC)) < timedelta(minutes=1)

    current = (await device.ask("describe_job_execution", job_id="$next")).execution
    assert (current.job_id, current.version_number) == (job_id, 2)
    assert current.job_document == started.job_document
    progressed = await device.ask(
        "update_job_execution",
        job_id=job_id,
        status="IN_PROGRESS",
        expected_version=2,
        status_details={"step": "download", "percent": "40"},
        include_job_execution_state=True,
        include_job_document=True,
    )
    assert progressed.execution_state.version_number == 3
    assert progressed.execution_state.status_details == {"step": "download", "percent": "40"}
    assert progressed.job_document == started.job_document
    finished = await device.ask(
        "update_job_execution", job_id=job_id, status="SUCCEEDED", expected_version=3
    )
    assert finished.execution_state is None
    assert (await soon(device.notified)).jobs == {}
    assert (await soon(device.next_changed)).execution is None

    row = await bench.stored(
        "SELECT e.status, e.version_number, e.status_details, j.status AS job, c.succeeded"
        " FROM executions e JOIN jobs j USING (tenant_id, job_id)"
        " JOIN job_counts c USING (tenant_id, job_id) WHERE e.job_id = $1 AND e.thing_name = $2",
        job_id,
        bench.thing,
    )
    assert tuple(row) == (
        *("SUCCEEDED", 4, '{"step":"download","percent":"40"}'),
        *("COMPLETED", 1),
    )


@each_client
async def test_a_stale_version_is_the_sdks_version_mismatch(bench: Bench) -> None:
    """An update that expects an old version is refused with the current state, and changes nothing."""
    job_id = await bench.create_job()
    await bench.device.ask("start_next_pending_job_execution")
    error = await bench.rejection(
        "update_job_execution", job_id=job_id, status="SUCCEEDED", expected_version=1
    )
    assert error.code == "VersionMismatch"
    assert error.message == "Expected version 1 but found version 2"
    assert (error.execution_state.status, error.execution_state.version_number) == (
        "IN_PROGRESS",
        2,
    )
    row = await bench.stored("SELECT status FROM jobs WHERE job_id = $1", job_id)
    assert row["status"] == "IN_PROGRESS"


@each_client
async def test_a_finished_execution_is_the_sdks_invalid_transition(bench: Bench) -> None:
    """An update of a finished execution is refused with its state; describing it, with TerminalStateReached."""
    job_id = await bench.create_job()
    await bench.device.ask("update_job_execution", job_id=job_id, status="REJECTED")
    error = await bench.rejection("update_job_execution", job_id=job_id, status="IN_PROGRESS")
    assert error.code == "InvalidStateTransition"
    assert (error.execution_state.status, error.execution_state.version_number) == ("REJECTED", 2)
    described = await bench.rejection("describe_job_execution", job_id=job_id)
    assert described.code == "TerminalStateReached"
    assert described.execution_state is None


@each_client
async def test_an_unknown_job_is_the_sdks_resource_not_found(bench: Bench) -> None:
    """Updating and describing a job that the thing does not have are refused with ResourceNotFound."""
    for operation, fields in (
        ("update_job_execution", {"status": "SUCCEEDED"}),
        ("describe_job_execution", {}),
    ):
        error = await bench.rejection(operation, job_id="no-such-job", **fields)
        assert error.code == "ResourceNotFound"
        assert "no-such-job" in error.message
        assert error.execution_state is None


@each_client
async def test_the_sdk_hears_which_field_is_wrong(bench: Bench) -> None:
    """A status that only the service may set is refused as InvalidRequest, naming field and value."""
    job_id = await bench.create_job()
    error = await bench.rejection("update_job_execution", job_id=job_id, status="TIMED_OUT")
    assert error.code == "InvalidRequest"
    assert error.message.startswith("status: 'TIMED_OUT' is not one of IN_PROGRESS")
