"""/api/v1/events beside real devices: two brokers share the work, and who follows one hears of all of it."""

from __future__ import annotations

from pathlib import Path

import httpx

from handlers.database import Pool
from tests.acceptance.devices import devices
from tests.acceptance.http_site import http_site
from tests.conftest import Database, StartMosquitto
from tests.event_source import event_source
from tests.helpers import PATIENCE
from tests.integration.operator_desk import Desk, aws_job


async def test_what_devices_do_is_followed_over_http_and_resumed(
    mosquitto_server: StartMosquitto, database: Database, pool: Pool, tmp_path: Path
) -> None:
    """Live events as well, of both processes; one job's alone; and after a lost connection exactly what was missed."""
    async with http_site(mosquitto_server, database, tmp_path) as served:
        await served.site.start()
        desk = Desk(pool)
        made = await desk.accepted("operators/create", {"operatorName": "eve", "role": "viewer"})
        token = made["token"]
        for name in ("t1", "t2"):
            await desk.accepted("things/create", {"thingName": name})
        async with (
            httpx.AsyncClient(base_url=served.url, timeout=PATIENCE) as http,
            devices(served.site.device_port) as fleet,
        ):
            async with (
                event_source(http, token) as everything,
                event_source(http, token, jobId="j2") as second,
            ):
                await desk.accepted("jobs/create", aws_job("t1", "t2", jobId="j1"))
                for thing in ("t1", "t2"):
                    await fleet.accepted(f"$aws/things/{thing}/jobs/start-next")
                    body = {"status": "IN_PROGRESS", "statusDetails": {"step": "1"}}
                    await fleet.accepted(f"$aws/things/{thing}/jobs/j1/update", body)
                    done = {"status": "SUCCEEDED"}
                    await fleet.accepted(f"$aws/things/{thing}/jobs/j1/update", done)
                ways = ("queued", "in_progress", "progress", "succeeded")
                await everything.until(
                    *((way, thing) for way in ways for thing in ("t1", "t2")), ("completed", "j1")
                )
                await desk.accepted("jobs/create", aws_job("t1", jobId="j2"))
                only = await second.until(("queued", "t1"))
            assert {event.data["jobId"] for event in only} == {"j2"}
            assert everything.retry == 1000
            await fleet.accepted("$aws/things/t1/jobs/start-next")
            await fleet.accepted("$aws/things/t1/jobs/j2/update", {"status": "FAILED"})
            async with event_source(http, token, last_id=everything.last_id) as resumed:
                ended = ("queued", "in_progress", "failed")
                missed = await resumed.until(*((way, "t1") for way in ended), ("completed", "j2"))
            assert {event.kind for event in missed} == {"message"}
            assert {event.data["jobId"] for event in missed} == {"j2"}
            async with event_source(http, token, last_id="0") as late:
                assert (await anext(late.events())).kind == "missed"
            wrong = {"Authorization": f"Bearer {token}", "Last-Event-ID": "yesterday"}
            answer = await http.get("/api/v1/events", headers=wrong)
            assert (answer.status_code, answer.json()["code"]) == (400, "InvalidRequest")
            answer = await http.get("/api/v1/events")
            assert answer.status_code == 401
        assert await served.broker.stop() == 0
        assert not served.broker.lines("request_failed")
