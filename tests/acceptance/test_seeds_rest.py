"""Seed 002's verification, steps 2 to 9: word for word in what it expects, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from handlers.database import Pool
from tests.acceptance.http_site import HttpSite, http_site
from tests.conftest import Database, StartMosquitto
from tests.helpers import PATIENCE, eventually
from tests.integration.operator_desk import Desk


@pytest.fixture
async def served(
    mosquitto_server: StartMosquitto, database: Database, tmp_path: Path
) -> AsyncIterator[HttpSite]:
    """A broker with its HTTP doors open, two devices in one group and a third outside of it."""
    async with http_site(mosquitto_server, database, tmp_path) as site:
        yield site


async def test_verification_steps_2_to_9(
    served: HttpSite, pool: Pool, admin: asyncpg.Connection
) -> None:
    """What seed 002 types is answered as it says."""
    desk = Desk(pool)
    for name in ("d1", "d2", "d3"):
        await desk.accepted("things/create", {"thingName": name})
    await desk.accepted("groups/create", {"thingGroupName": "g"})
    await desk.accepted("groups/add", {"thingGroupName": "g", "thingNames": ["d1", "d2"]})
    made = await desk.accepted("things/create", {"thingName": "d4", "issueToken": True})
    token = (await desk.accepted("operators/create", {"operatorName": "bob", "role": "manager"}))[
        "token"
    ]
    device_id, provision_token = "d4", made["token"]
    operator = {"Authorization": f"Bearer {token}"}
    device = {"X-Provision-Token": provision_token}
    async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE) as http:
        # Step 2
        created = await http.post(
            "/customer/jobs",
            headers=operator,
            json={
                "document_type": "reboot",
                "document_params": {"delay_s": 5},
                "target_device_id": device_id,
                "expires_in_hours": 1,
            },
        )
        assert created.status_code == 201
        job = created.json()
        assert (job["status"], job["execution_count"]) == ("IN_PROGRESS", 1)
        job_id = job["job_id"]

        async def shown(one: str) -> dict[str, Any]:
            answer = await http.get(f"/customer/jobs/{one}", headers=operator)
            assert answer.status_code == 200
            found: dict[str, Any] = answer.json()
            return found

        # Step 3
        executions = (await shown(job_id))["executions"]
        assert [(one["device_id"], one["status"]) for one in executions] == [(device_id, "QUEUED")]
        # Step 4
        pending = (await http.get("/device/v1/jobs/pending", headers=device)).json()["jobs"]
        assert [one["job_id"] for one in pending] == [job_id]
        assert pending[0]["document"] == {"type": "reboot", "params": {"delay_s": 5}}
        assert pending[0]["execution_number"] == 1
        assert pending[0]["expires_at"] > pending[0]["queued_at"]
        # Step 5
        path = f"/device/v1/jobs/{job_id}/execution"
        claimed = await http.put(path, headers=device, json={"status": "IN_PROGRESS"})
        assert (claimed.status_code, claimed.json()["status"]) == (200, "IN_PROGRESS")
        assert (await shown(job_id))["executions"][0]["status"] == "IN_PROGRESS"
        # Step 6
        done = await http.put(
            path,
            headers=device,
            json={"status": "SUCCEEDED", "status_details": {"message": "reboot scheduled"}},
        )
        assert done.json() == {"job_id": job_id, "device_id": device_id, "status": "SUCCEEDED"}
        assert (await shown(job_id))["status"] == "COMPLETED"
        # Step 7
        grouped = await http.post(
            "/customer/jobs",
            headers=operator,
            json={
                "document_type": "update_config",
                "document_params": {"log_level": "debug"},
                "target_group_id": "g",
            },
        )
        assert grouped.json()["execution_count"] == 2
        # Step 8
        expiring = await http.post(
            "/customer/jobs",
            headers=operator,
            json={
                "document_type": "test_expiry",
                "document_params": {},
                "target_device_id": device_id,
                "expires_in_hours": 24,
            },
        )
        job2 = expiring.json()["job_id"]
        await admin.execute(
            "UPDATE jobs SET expires_at = NOW() - INTERVAL '1 minute' WHERE job_id = $1", job2
        )

        async def expired() -> bool:
            found = await shown(job2)
            return (found["status"], found["executions"][0]["status"]) == ("COMPLETED", "TIMED_OUT")

        await eventually(expired)
        # Step 9
        job3 = (
            await http.post(
                "/customer/jobs",
                headers=operator,
                json={
                    "document_type": "reboot",
                    "document_params": {},
                    "target_device_id": device_id,
                },
            )
        ).json()["job_id"]
        canceled = await http.delete(f"/customer/jobs/{job3}", headers=operator)
        assert canceled.json() == {"job_id": job3, "status": "CANCELED"}
        assert (await shown(job3))["executions"][0]["status"] == "REJECTED"


async def test_what_seed_003_refuses(served: HttpSite, pool: Pool) -> None:
    """Each status code of seed 003: 401, 404, 400 for status and transition, 409, 422 for another body."""
    desk = Desk(pool)
    made = await desk.accepted("things/create", {"thingName": "d1", "issueToken": True})
    await desk.accepted(
        "jobs/create", {"job_id": "j", "document_type": "x", "target_device_id": "d1"}
    )
    own = {"X-Provision-Token": made["token"]}
    path = "/device/v1/jobs/j/execution"
    cases: list[tuple[str, dict[str, str], object, int, str]] = [
        (path, {}, {"status": "IN_PROGRESS"}, 401, "Missing provision token"),
        (path, {"X-Provision-Token": "wrong"}, {"status": "IN_PROGRESS"}, 401, "token"),
        (path.replace("/j/", "/k/"), own, {"status": "IN_PROGRESS"}, 404, "execution not found"),
        (path.replace("/j/", "/a.b/"), own, {"status": "IN_PROGRESS"}, 404, "does not exist"),
        (path, own, {"status": "QUEUED"}, 400, "Invalid status: QUEUED"),
        (path, own, {"status": "SUCCEEDED"}, 400, "Cannot transition from QUEUED to SUCCEEDED"),
        (path, own, {"status": "IN_PROGRESS", "execution_number": 7}, 409, "stale update"),
        (path, own, {}, 422, "status"),
        (path, own, {"status": "IN_PROGRESS", "status_details": [1]}, 422, "status_details"),
        (path, own, {"status": "IN_PROGRESS", "status_details": {"bad key": "x"}}, 422, "bad key"),
        (path, own, [], 422, "JSON object"),
    ]
    async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE) as http:
        for where, headers, body, status, words in cases:
            answer = await http.put(where, headers=headers, json=body)
            assert answer.status_code == status, (body, answer.text)
            assert words in answer.json()["detail"]
        missing = await http.get(path.replace("/j/", "/k/"), headers=own)
        assert (missing.status_code, missing.json()["detail"]) == (404, "Execution not found")
        claim = {"status": "IN_PROGRESS", "execution_number": 1, "status_details": {"n": 5}}
        assert (await http.put(path, headers=own, json=claim)).status_code == 200
        shown = (await http.get(path, headers=own)).json()
        assert shown["document"] == {"type": "x", "params": {}}
        assert shown["status_details"] == {"n": "5"}
        assert (shown["execution_number"], shown["expires_at"]) == (2, None)
        again = await http.put(path, headers=own, json={"status": "IN_PROGRESS"})
        assert again.json()["detail"] == "Cannot transition from IN_PROGRESS to IN_PROGRESS"
        assert (await http.put(path, headers=own, json={"status": "FAILED"})).status_code == 200
        ended = await http.put(path, headers=own, json={"status": "SUCCEEDED"})
        assert ended.json()["detail"] == "Cannot transition from FAILED to SUCCEEDED"


async def test_what_the_customers_doors_refuse(served: HttpSite, pool: Pool) -> None:
    """No token, a viewer's, a body of another shape, a device or job that is not there: never a job."""
    desk = Desk(pool)
    tokens = {
        role: (await desk.accepted("operators/create", {"operatorName": role, "role": role}))[
            "token"
        ]
        for role in ("viewer", "manager")
    }
    good = {"document_type": "x", "target_device_id": "d1"}
    cases: list[tuple[str | None, object, int]] = [
        (None, good, 401),
        ("nobody's", good, 401),
        (tokens["viewer"], good, 403),
        (tokens["manager"], good, 404),
        (tokens["manager"], {"document_type": "x"}, 422),
        (tokens["manager"], {"targets": ["arn"]}, 422),
        (tokens["manager"], {**good, "target_all": True}, 422),
        (tokens["manager"], {**good, "expires_in_hours": -1}, 422),
        (tokens["manager"], "not an object", 422),
    ]
    async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE) as http:
        for token, body, status in cases:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            answer = await http.post("/customer/jobs", headers=headers, json=body)
            assert answer.status_code == status, (body, answer.text)
            assert answer.json()["detail"]
        manager = {"Authorization": f"Bearer {tokens['manager']}"}
        assert (await http.get("/customer/jobs/none", headers=manager)).status_code == 404
        assert (await http.delete("/customer/jobs/none", headers=manager)).status_code == 404
        for number in range(3):
            made = {"job_id": f"j{number}", "document_type": "x", "target_all": True}
            assert (
                await http.post("/customer/jobs", headers=manager, json=made)
            ).status_code == 201
        first = (await http.get("/customer/jobs?limit=2", headers=manager)).json()
        assert [job["job_id"] for job in first["jobs"]] == ["j2", "j1"]
        rest = (
            await http.get(
                "/customer/jobs", params={"next_token": first["next_token"]}, headers=manager
            )
        ).json()
        assert [job["job_id"] for job in rest["jobs"]] == ["j0"]
        for limit in ("x", "-1", "9" * 5000):  # Python reads no number of more than 4300 digits
            refused = await http.get(f"/customer/jobs?limit={limit}", headers=manager)
            assert refused.status_code == 422, limit
