"""/metrics, /healthz, /readyz and the log lines, of a process that serves."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.aws_site import aws_site, call
from tests.acceptance.devices import devices
from tests.conftest import Database, StartMosquitto
from tests.helpers import PATIENCE, eventually
from tests.integration.operator_desk import aws_job

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana.json"
Samples = dict[str, list[tuple[dict[str, str], float]]]


def read(text: str) -> Samples:
    """Samples by name, each with its labels."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    """The sum of the samples that have these labels."""
    return sum(v for have, v in samples[name] if labels.items() <= have.items())


def queries() -> list[str]:
    """Every query of the dashboard."""
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def require_answered(query: str, samples: Samples) -> None:
    """Pass when each metric a query names is there, with the labels it groups or selects by."""
    names = set(re.findall(r"\b((?:jobbroker|process)_\w+)", query))
    assert names, query
    for name in names:
        assert name in samples, f"{name} of {query}"
        labels = {label for have, _ in samples[name] for label in have}
        grouped = re.findall(r"by \(([^)]*)\)", query) + re.findall(r"(\w+)!?=\"", query)
        for label in {one.strip() for group in grouped for one in group.split(",")}:
            assert label in labels, f"{label} of {query}"


def require_shown_and_explained(samples: Samples) -> None:
    """Pass when the dashboard's queries find theirs, and the page for operators says of each figure what it is."""
    for query in queries():
        require_answered(query, samples)
    page = DASHBOARD.with_name("operations.md").read_text("utf-8")
    names = {re.sub("_(bucket|count|sum|created)$", "", name) for name in samples}
    ours = sorted(name for name in names if name.startswith("jobbroker_"))
    assert [name for name in ours if f"`{name}`" not in page] == []


async def by_seeds_rest(http: httpx.AsyncClient, token: str) -> None:
    """A device takes its execution and ends it in the seeds' words."""
    own = {"X-Provision-Token": token}
    for status in ("IN_PROGRESS", "SUCCEEDED"):
        path = "/device/v1/jobs/j1/execution"
        answer = await http.put(path, json={"status": status}, headers=own)
        assert answer.status_code == 200, answer.text


async def by_aws_over_http(device: Any) -> None:  # noqa: ANN401 - boto3's clients have no types
    """A device does the same with AWS's SDK over HTTP."""
    taken = await call(device.start_next_pending_job_execution, thingName="t3")
    job_id = taken["execution"]["jobId"]
    await call(device.update_job_execution, jobId=job_id, thingName="t3", status="SUCCEEDED")


async def test_what_a_process_tells_of_itself(
    mosquitto_server: StartMosquitto, database: Database, tmp_path: Path
) -> None:
    """Figures move with what is done, however devices report; dashboards find theirs; no token is in the log."""
    async with aws_site(mosquitto_server, database, tmp_path) as aws:
        desk, served = aws.desk, aws.http
        token = (
            await desk.accepted("operators/create", {"operatorName": "bob", "role": "manager"})
        )["token"]
        thing = await desk.accepted("things/create", {"thingName": "t1", "issueToken": True})
        seeds = await desk.accepted("things/create", {"thingName": "t2", "issueToken": True})
        await aws.thing("t3")
        bearer = {"Authorization": f"Bearer {token}"}
        async with (
            httpx.AsyncClient(base_url=served.url, timeout=PATIENCE) as http,
            # What is counted is not to be sent again because the machine is slow.
            devices(served.site.device_port, retry_seconds=PATIENCE) as fleet,
        ):
            assert (await http.get("/healthz")).json() == {"status": "ok"}
            assert (await http.get("/")).headers["location"] == "docs"
            assert (await http.get("/readyz")).json() == {"status": "ready"}
            made = await http.post(
                "/api/v1/jobs", json=aws_job("t1", "t2", "t3", jobId="j1"), headers=bearer
            )
            assert made.status_code == 201, made.text
            await fleet.accepted("$aws/things/t1/jobs/start-next")
            await fleet.accepted("$aws/things/t1/jobs/j1/update", {"status": "SUCCEEDED"})
            await fleet.ask("$aws/things/t1/jobs/j1/update", {"status": "FAILED"})
            wrong = {"X-Provision-Token": "not-a-token-of-anybody"}
            assert (await http.get("/device/v1/jobs/pending", headers=wrong)).status_code == 401
            own = {"X-Provision-Token": thing["token"]}
            assert (await http.get("/device/v1/jobs/pending", headers=own)).status_code == 200

            async def told() -> Samples:
                samples = read((await http.get("/metrics")).text)
                assert value(samples, "jobbroker_create_notify_seconds_count") == 1
                return samples

            samples = await eventually(told)
            assert value(samples, "jobbroker_requests_total", operation="update", code="ok") == 1
            refused = {"operation": "update", "code": "InvalidStateTransition"}
            assert value(samples, "jobbroker_requests_total", **refused) == 1
            assert value(samples, "jobbroker_update_accepted_seconds_count") == 1
            assert value(samples, "jobbroker_batch_requests_sum") == 3
            assert value(samples, "jobbroker_queue_wait_seconds_count") == 1
            assert value(samples, "jobbroker_run_seconds_count") == 1
            await by_seeds_rest(http, str(seeds["token"]))
            await by_aws_over_http(aws.client("iot-jobs-data", "t3"))
            samples = await told()
            assert value(samples, "jobbroker_queue_wait_seconds_count") == 3
            assert value(samples, "jobbroker_run_seconds_count") == 3
            assert value(samples, "jobbroker_executions", status="SUCCEEDED", tenant="default") == 1
            assert value(samples, "jobbroker_mqtt_connected") == 1
            created = {"operation": "POST /api/v1/jobs", "status": "201"}
            assert value(samples, "jobbroker_http_requests_total", **created) == 1
            require_shown_and_explained(samples)
            await served.site.mosquitto.stop()

            async def not_ready() -> bool:
                answer = await http.get("/readyz")
                return answer.status_code == 503 and "mqtt" in answer.json()["lacking"]

            assert await eventually(not_ready)
        lines = served.broker.lines("http")
        posted = [one for one in lines if one["operation"] == "POST /api/v1/jobs"]
        assert [(one["status"], one["who"]) for one in posted] == [(201, "default/bob")]
        for secret in (token, thing["token"], "not-a-token-of-anybody"):
            assert secret not in served.broker.text()
