"""AWS's device operations, field by field, on a real PostgreSQL (reference/AWS: jobs-mqtt-api)."""

from __future__ import annotations

import pytest

from handlers import timeouts
from handlers.database import Pool, tenant_transaction
from tests.factories import TENANT, add_job, add_things, counts_equal_rows
from tests.integration.device_plane import Plane


@pytest.fixture
async def plane(pool: Pool) -> Plane:
    """Things t1 and t2, jobs j1 and j2 queued on t1 in that order."""
    await add_things(pool, "t1", "t2")
    await add_job(pool, "j1", ["t1"], document={"steps": ["reboot"]}, timeout_minutes=20)
    await add_job(pool, "j2", ["t1", "t2"])
    return Plane(pool)


async def test_an_empty_payload_gets_both_pending_lists(plane: Plane) -> None:
    """GetPendingJobExecutions with zero bytes answers both arrays, queued ones by queuedAt."""
    body = await plane.accepted("t1/jobs/get")

    assert body["inProgressJobs"] == []
    assert [one["jobId"] for one in body["queuedJobs"]] == ["j1", "j2"]
    assert body["queuedJobs"][0].keys() == {
        "jobId",
        "queuedAt",
        "lastUpdatedAt",
        "executionNumber",
        "versionNumber",
    }
    assert isinstance(body["timestamp"], int)
    assert body["timestamp"] < 10_000_000_000
    assert "clientToken" not in body


async def test_start_next_starts_the_oldest_and_returns_its_document(plane: Plane) -> None:
    """QUEUED becomes IN_PROGRESS, version 2, with startedAt, the document as an object and the running timer."""
    body = await plane.accepted(
        "t1/jobs/start-next", {"clientToken": "c1", "statusDetails": {"step": "boot"}}
    )

    execution = body["execution"]
    assert body["clientToken"] == "c1"
    assert execution["jobId"] == "j1"
    assert execution["thingName"] == "t1"
    assert execution["status"] == "IN_PROGRESS"
    assert (execution["versionNumber"], execution["executionNumber"]) == (2, 1)
    assert execution["jobDocument"] == {"steps": ["reboot"]}
    assert execution["statusDetails"] == {"step": "boot"}
    assert execution["startedAt"] == execution["lastUpdatedAt"]
    assert 1190 <= execution["approximateSecondsBeforeTimedOut"] <= 1200


async def test_start_next_again_returns_the_same_execution_unchanged(plane: Plane) -> None:
    """An execution IN_PROGRESS comes first and is returned as is: statusDetails and version untouched."""
    first = await plane.accepted("t1/jobs/start-next", {"statusDetails": {"a": "1"}})
    again = await plane.accepted("t1/jobs/start-next", {"statusDetails": {"a": "2"}})

    assert again["execution"]["versionNumber"] == first["execution"]["versionNumber"] == 2
    assert again["execution"]["statusDetails"] == {"a": "1"}


async def test_nothing_pending_is_accepted_without_execution(plane: Plane) -> None:
    """start-next and $next/get of an idle thing are accepted, with no execution in them."""
    await plane.accepted("t2/jobs/j2/update", {"status": "SUCCEEDED"})

    assert (await plane.accepted("t2/jobs/start-next", {"clientToken": "x"})).keys() == {
        "timestamp",
        "clientToken",
    }
    assert (await plane.accepted("t2/jobs/$next/get")).keys() == {"timestamp"}


async def test_describe_next_reads_without_starting(plane: Plane) -> None:
    """$next is the one start-next would give, still QUEUED; the document is left out on request."""
    body = await plane.accepted("t1/jobs/$next/get", {"includeJobDocument": False})

    assert body["execution"]["jobId"] == "j1"
    assert body["execution"]["status"] == "QUEUED"
    assert "jobDocument" not in body["execution"]
    assert "startedAt" not in body["execution"]


async def test_describe_by_job_and_number(plane: Plane) -> None:
    """A named execution is described with its document; a number that names none is ResourceNotFound."""
    body = await plane.accepted(
        "t1/jobs/j2/get", {"executionNumber": 1, "jobId": "j2", "thingName": "t1"}
    )

    assert body["execution"]["jobDocument"] == {"operation": "test", "job": "j2"}
    assert (await plane.rejected("t1/jobs/j2/get", {"executionNumber": 2}))[
        "code"
    ] == "ResourceNotFound"
    assert (await plane.rejected("t1/jobs/other/get"))["code"] == "ResourceNotFound"


async def test_describing_an_ended_execution_is_terminal_state_reached(plane: Plane) -> None:
    """AWS answers TerminalStateReached for an execution that is over."""
    await plane.accepted("t1/jobs/j1/update", {"status": "FAILED"})

    assert (await plane.rejected("t1/jobs/j1/get"))["code"] == "TerminalStateReached"


async def test_update_answers_only_what_was_asked_for(plane: Plane) -> None:
    """Without include flags: timestamp and clientToken; with them: the state after the update and the document."""
    bare = await plane.accepted("t1/jobs/j1/update", {"status": "IN_PROGRESS", "clientToken": "a"})
    full = await plane.accepted(
        "t1/jobs/j1/update",
        {
            "status": "IN_PROGRESS",
            "statusDetails": {"progress": "50%"},
            "expectedVersion": "2",
            "includeJobExecutionState": True,
            "includeJobDocument": True,
        },
    )

    assert bare.keys() == {"timestamp", "clientToken"}
    assert full["executionState"] == {
        "status": "IN_PROGRESS",
        "versionNumber": 3,
        "statusDetails": {"progress": "50%"},
    }
    assert full["jobDocument"] == {"steps": ["reboot"]}


async def test_status_details_are_kept_when_omitted_and_replaced_when_given(plane: Plane) -> None:
    """The statusDetails of an update replace the stored map; an update without them leaves it."""
    await plane.accepted(
        "t1/jobs/j1/update", {"status": "IN_PROGRESS", "statusDetails": {"a": "1", "b": "2"}}
    )
    await plane.accepted("t1/jobs/j1/update", {"status": "IN_PROGRESS"})
    kept = await plane.accepted("t1/jobs/j1/get")
    await plane.accepted(
        "t1/jobs/j1/update", {"status": "IN_PROGRESS", "statusDetails": {"b": "3"}}
    )
    replaced = await plane.accepted("t1/jobs/j1/get")

    assert kept["execution"]["statusDetails"] == {"a": "1", "b": "2"}
    assert replaced["execution"]["statusDetails"] == {"b": "3"}


async def test_a_stale_version_is_refused_with_the_state_and_changes_nothing(plane: Plane) -> None:
    """VersionMismatch carries executionState; the execution is as before."""
    body = await plane.rejected(
        "t1/jobs/j1/update", {"status": "SUCCEEDED", "expectedVersion": 99, "clientToken": "t"}
    )

    assert body["code"] == "VersionMismatch"
    assert body["message"] == "Expected version 99 but found version 1"
    assert body["executionState"] == {"status": "QUEUED", "versionNumber": 1}
    assert body["clientToken"] == "t"
    assert (await plane.accepted("t1/jobs/j1/get"))["execution"]["status"] == "QUEUED"


async def test_an_ended_execution_takes_no_update(plane: Plane) -> None:
    """InvalidStateTransition with the state it is in; nothing changes."""
    await plane.accepted("t1/jobs/j1/update", {"status": "SUCCEEDED"})
    body = await plane.rejected("t1/jobs/j1/update", {"status": "IN_PROGRESS"})

    assert body["code"] == "InvalidStateTransition"
    assert body["executionState"] == {"status": "SUCCEEDED", "versionNumber": 2}


async def test_step_timer_bounds_and_cancel(plane: Plane) -> None:
    """A step timer shortens what is left, -1 takes it away, and it never outlives the in-progress timer."""
    await plane.accepted("t1/jobs/start-next", {"stepTimeoutInMinutes": 7})
    short = await plane.accepted("t1/jobs/j1/get")
    await plane.accepted(
        "t1/jobs/j1/update", {"status": "IN_PROGRESS", "stepTimeoutInMinutes": 9000}
    )
    capped = await plane.accepted("t1/jobs/j1/get")
    await plane.accepted("t1/jobs/j1/update", {"status": "IN_PROGRESS", "stepTimeoutInMinutes": -1})
    without = await plane.accepted("t1/jobs/j1/get")

    assert 410 <= short["execution"]["approximateSecondsBeforeTimedOut"] <= 420
    assert 1190 <= capped["execution"]["approximateSecondsBeforeTimedOut"] <= 1200
    assert 1190 <= without["execution"]["approximateSecondsBeforeTimedOut"] <= 1200


async def test_a_thing_that_is_not_registered_gets_resource_not_found(plane: Plane) -> None:
    """Every operation of an unknown thing is refused and creates nothing."""
    for path in (
        "ghost/jobs/get",
        "ghost/jobs/start-next",
        "ghost/jobs/$next/get",
        "ghost/jobs/j1/get",
    ):
        assert (await plane.rejected(path))["code"] == "ResourceNotFound"
    assert (await plane.rejected("ghost/jobs/j1/update", {"status": "FAILED"}))[
        "code"
    ] == "ResourceNotFound"


async def test_an_unknown_tenant_gets_resource_not_found(pool: Pool) -> None:
    """A prefix that is no tenant's is answered like a thing that does not exist."""
    assert (await Plane(pool, "nobody").rejected("t1/jobs/get"))["code"] == "ResourceNotFound"


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, "status"),
        ({"status": "DONE"}, "status"),
        ({"status": "CANCELED"}, "status"),
        ({"status": "QUEUED"}, "status"),
        ({"status": 7}, "status"),
        ({"status": "IN_PROGRESS", "statusDetails": []}, "statusDetails"),
        ({"status": "IN_PROGRESS", "statusDetails": {"n": 1}}, "statusDetails.n"),
        ({"status": "IN_PROGRESS", "statusDetails": {"n": ""}}, "statusDetails.n"),
        ({"status": "IN_PROGRESS", "statusDetails": {"n": "x" * 1025}}, "statusDetails.n"),
        ({"status": "IN_PROGRESS", "statusDetails": {"n": "a\u0007b"}}, "statusDetails.n"),
        ({"status": "IN_PROGRESS", "statusDetails": {"bad key": "v"}}, "statusDetails"),
        (
            {"status": "IN_PROGRESS", "statusDetails": {f"k{n}": "v" for n in range(11)}},
            "statusDetails",
        ),
        ({"status": "IN_PROGRESS", "expectedVersion": "one"}, "expectedVersion"),
        ({"status": "IN_PROGRESS", "expectedVersion": True}, "expectedVersion"),
        ({"status": "IN_PROGRESS", "expectedVersion": 2**80}, "expectedVersion"),
        ({"status": "IN_PROGRESS", "executionNumber": "1"}, "executionNumber"),
        ({"status": "IN_PROGRESS", "stepTimeoutInMinutes": 0}, "stepTimeoutInMinutes"),
        ({"status": "IN_PROGRESS", "stepTimeoutInMinutes": 10081}, "stepTimeoutInMinutes"),
        ({"status": "IN_PROGRESS", "stepTimeoutInMinutes": -2}, "stepTimeoutInMinutes"),
        ({"status": "IN_PROGRESS", "includeJobDocument": "yes"}, "includeJobDocument"),
        ({"status": "IN_PROGRESS", "clientToken": "x" * 1025}, "clientToken"),
    ],
)
async def test_bad_contents_name_the_field_and_change_nothing(
    plane: Plane, payload: dict[str, object], field: str
) -> None:
    """InvalidRequest whose message begins with the field; the execution stays QUEUED at version 1."""
    body = await plane.rejected("t1/jobs/j1/update", {"clientToken": "c", **payload})

    assert body["code"] == "InvalidRequest"
    assert body["message"].startswith(field)
    assert ("clientToken" in body) == (field != "clientToken")
    assert "executionState" not in body
    assert (await plane.accepted("t1/jobs/j1/get"))["execution"]["versionNumber"] == 1


@pytest.mark.parametrize(
    "payload", [b"{", b"\xff\xfe", b"[1]", b'"text"', b"[" * 100_000, b'{"a":NaN}']
)
async def test_what_is_no_json_object_is_invalid_json(plane: Plane, payload: bytes) -> None:
    """Bytes that are not UTF-8, not JSON, too deep, or not an object."""
    assert (await plane.rejected("t1/jobs/get", payload))["code"] == "InvalidJson"


class TestNotifications:
    """The table of reference 1.8, row by row."""

    async def test_starting_the_first_is_not_told(self, plane: Plane) -> None:
        """First QUEUED to IN_PROGRESS: neither notify nor notify-next."""
        assert await plane.told("t1/jobs/start-next") == []

    async def test_progress_is_not_told(self, plane: Plane) -> None:
        """IN_PROGRESS to IN_PROGRESS: neither."""
        await plane.accepted("t1/jobs/start-next")

        assert await plane.told("t1/jobs/j1/update", {"status": "IN_PROGRESS"}) == []

    async def test_a_later_one_that_starts_becomes_first(self, plane: Plane) -> None:
        """Non-first QUEUED to IN_PROGRESS with no other IN_PROGRESS: notify-next alone."""
        assert await plane.told("t1/jobs/j2/update", {"status": "IN_PROGRESS"}) == ["notify-next"]

    async def test_the_first_leaves(self, plane: Plane) -> None:
        """First terminal: notify, then notify-next with the new first and its document."""
        replies, told = await plane.batch(plane.ask("t1/jobs/j1/update", {"status": "REJECTED"}))

        assert replies[0][0]
        assert [topic for topic, _ in told] == [
            "$aws/things/t1/jobs/notify",
            "$aws/things/t1/jobs/notify-next",
        ]
        assert [one["jobId"] for one in told[0][1]["jobs"]["QUEUED"]] == ["j2"]
        assert "IN_PROGRESS" not in told[0][1]["jobs"]
        assert told[1][1]["execution"]["jobId"] == "j2"
        assert told[1][1]["execution"]["jobDocument"] == {"operation": "test", "job": "j2"}

    async def test_a_later_one_leaves(self, plane: Plane) -> None:
        """Non-first terminal: notify alone."""
        assert await plane.told("t1/jobs/j2/update", {"status": "REJECTED"}) == ["notify"]

    async def test_the_last_leaves(self, plane: Plane) -> None:
        """An empty list is `jobs: {}`, and notify-next a bare timestamp."""
        _, told = await plane.batch(plane.ask("t2/jobs/j2/update", {"status": "SUCCEEDED"}))

        assert told[0][1]["jobs"] == {}
        assert told[1][1].keys() == {"timestamp"}

    async def test_a_rejected_request_is_not_told(self, plane: Plane) -> None:
        """What changes nothing notifies nobody."""
        _, told = await plane.batch(
            plane.ask("t1/jobs/j1/update", {"status": "SUCCEEDED", "expectedVersion": 9})
        )

        assert told == []


async def test_a_batch_is_decided_in_order_of_arrival(plane: Plane) -> None:
    """Several requests of one thing in one batch see each other's effects; counts and completion follow."""
    replies, told = await plane.batch(
        plane.ask("t1/jobs/start-next"),
        plane.ask("t1/jobs/j1/update", {"status": "SUCCEEDED", "expectedVersion": 2}),
        plane.ask("t1/jobs/start-next"),
        plane.ask("t1/jobs/get"),
        plane.ask("t2/jobs/j2/update", {"status": "FAILED"}),
        plane.ask("t1/jobs/j1/update", {"status": "FAILED"}),
    )

    assert [accepted for accepted, _ in replies] == [True, True, True, True, True, False]
    assert replies[2][1]["execution"]["jobId"] == "j2"
    assert [one["jobId"] for one in replies[3][1]["inProgressJobs"]] == ["j2"]
    assert [topic for topic, _ in told] == [
        "$aws/things/t1/jobs/notify",
        "$aws/things/t1/jobs/notify-next",
        "$aws/things/t2/jobs/notify",
        "$aws/things/t2/jobs/notify-next",
    ]
    assert await counts_equal_rows(plane.pool)


async def test_more_changes_of_one_thing_than_a_window_holds(pool: Pool) -> None:
    """Forty executions of one thing started and ended in one batch: each is answered, none is skipped."""
    await add_things(pool, "t1")
    for number in range(40):
        await add_job(pool, f"j{number:02d}", ["t1"])
    plane = Plane(pool)

    asks = []
    for number in range(40):
        asks += [
            plane.ask("t1/jobs/start-next"),
            plane.ask(f"t1/jobs/j{number:02d}/update", {"status": "SUCCEEDED"}),
        ]
    replies, told = await plane.batch(*asks)

    assert [body["execution"]["jobId"] for _, body in replies[::2]] == [
        f"j{number:02d}" for number in range(40)
    ]
    assert told[-1][1].keys() == {"timestamp"}
    assert await counts_equal_rows(pool)


class TestRedelivery:
    """The same request twice has one effect (architecture, law 3)."""

    async def test_by_client_token(self, plane: Plane) -> None:
        """A retry with the same clientToken gets the same answer; the version moves once."""
        request = {"status": "IN_PROGRESS", "clientToken": "once", "includeJobExecutionState": True}
        first = await plane.accepted("t1/jobs/j1/update", request)
        again = await plane.accepted("t1/jobs/j1/update", request)

        assert (
            first["executionState"]
            == again["executionState"]
            == {"status": "IN_PROGRESS", "versionNumber": 2}
        )

    async def test_by_expected_version(self, plane: Plane) -> None:
        """Without a token, an update that names the version it expects cannot be meant twice."""
        request = {"status": "SUCCEEDED", "expectedVersion": 1, "includeJobExecutionState": True}
        first = await plane.accepted("t1/jobs/j1/update", request)
        again = await plane.accepted("t1/jobs/j1/update", request)

        assert first["executionState"] == again["executionState"]

    async def test_by_mqtt_duplicate_flag(self, plane: Plane) -> None:
        """Two outstanding progress reports, both redelivered after a crash: no version is spent twice."""
        first, second = (
            {"status": "IN_PROGRESS", "statusDetails": {"p": "1"}},
            {"status": "IN_PROGRESS", "statusDetails": {"p": "2"}},
        )
        await plane.batch(
            plane.ask("t1/jobs/j1/update", first), plane.ask("t1/jobs/j1/update", second)
        )
        await plane.batch(
            plane.ask("t1/jobs/j1/update", first, duplicate=True),
            plane.ask("t1/jobs/j1/update", second, duplicate=True),
        )

        execution = (await plane.accepted("t1/jobs/j1/get"))["execution"]
        assert execution["versionNumber"] == 3
        assert execution["statusDetails"] == {"p": "2"}

    async def test_equal_progress_that_is_no_redelivery_counts(self, plane: Plane) -> None:
        """A heartbeat sent twice on purpose moves the version twice, as on AWS."""
        await plane.accepted("t1/jobs/j1/update", {"status": "IN_PROGRESS"})
        await plane.accepted("t1/jobs/j1/update", {"status": "IN_PROGRESS"})

        assert (await plane.accepted("t1/jobs/j1/get"))["execution"]["versionNumber"] == 3

    async def test_start_next_redelivered_into_its_own_batch_starts_one_job(
        self, plane: Plane
    ) -> None:
        """What waited for the database and is redelivered meanwhile comes twice in one batch."""
        start = {"clientToken": "s"}
        replies, _ = await plane.batch(
            plane.ask("t1/jobs/start-next", start),
            plane.ask("t1/jobs/start-next", start, duplicate=True),
        )

        assert [body["execution"]["jobId"] for _, body in replies] == ["j1", "j1"]
        assert replies[1][1]["execution"]["versionNumber"] == 2

    async def test_the_same_token_for_each_job_starts_each(self, plane: Plane) -> None:
        """A device whose clientToken never changes is given the next job, not the ended one again."""
        start, end = {"clientToken": "s"}, {"status": "SUCCEEDED", "clientToken": "e"}
        replies, _ = await plane.batch(
            plane.ask("t1/jobs/start-next", start),
            plane.ask("t1/jobs/j1/update", end),
            plane.ask("t1/jobs/start-next", start),
        )

        assert replies[2][1]["execution"]["jobId"] == "j2"

    async def test_a_heartbeat_after_the_service_ended_the_execution_is_refused(
        self, plane: Plane
    ) -> None:
        """A device that reports the same again and again learns that its timer has fired."""
        await plane.accepted(
            "t1/jobs/j1/update", {"status": "IN_PROGRESS", "stepTimeoutInMinutes": 1}
        )
        await plane.accepted("t1/jobs/j1/update", {"status": "IN_PROGRESS"})
        async with plane.pool.acquire() as raw, tenant_transaction(raw, TENANT) as connection:
            await connection.execute("UPDATE executions SET timeout_at = now() WHERE job_id = 'j1'")
        await timeouts.run_once(plane.pool, slot=None)

        body = await plane.rejected("t1/jobs/j1/update", {"status": "IN_PROGRESS"})

        assert body["code"] == "InvalidStateTransition"
        assert body["executionState"]["status"] == "TIMED_OUT"

    async def test_start_next_never_gives_an_ended_job_again(self, plane: Plane) -> None:
        """start-next and the end of its job, both redelivered: the job is not given a second time, but the next one."""
        start, end = {"clientToken": "s"}, {"status": "SUCCEEDED", "clientToken": "e"}
        await plane.batch(
            plane.ask("t1/jobs/start-next", start), plane.ask("t1/jobs/j1/update", end)
        )
        replies, told = await plane.batch(
            plane.ask("t1/jobs/start-next", start, duplicate=True),
            plane.ask("t1/jobs/j1/update", end, duplicate=True),
        )

        assert [accepted for accepted, _ in replies] == [True, True]
        assert replies[0][1]["execution"]["jobId"] == "j2"
        assert told == []
        assert await counts_equal_rows(plane.pool)

    async def test_one_token_for_all_heartbeats_keeps_the_step_timer_going(
        self, plane: Plane
    ) -> None:
        """A report like the last one under the same token is counted once, but restarts its step timer."""
        beat = {"status": "IN_PROGRESS", "stepTimeoutInMinutes": 5, "clientToken": "mine"}
        await plane.accepted("t1/jobs/j1/update", beat)
        async with plane.pool.acquire() as raw, tenant_transaction(raw, "default") as connection:
            await connection.execute(
                "UPDATE executions SET step_deadline = now() + interval '1 minute', "
                "timeout_at = now() + interval '1 minute' WHERE thing_name = 't1' AND job_id = 'j1'"
            )
        await plane.accepted("t1/jobs/j1/update", beat)

        execution = (await plane.accepted("t1/jobs/j1/get"))["execution"]
        assert execution["versionNumber"] == 2
        assert execution["approximateSecondsBeforeTimedOut"] > 200

    async def test_one_token_for_all_heartbeats_learns_of_the_end(self, plane: Plane) -> None:
        """Once the service has ended the execution, a heartbeat is refused although its token and text are known."""
        beat = {"status": "IN_PROGRESS", "clientToken": "mine"}
        await plane.accepted("t2/jobs/j2/update", beat)
        async with plane.pool.acquire() as raw, tenant_transaction(raw, "default") as connection:
            await connection.execute(
                "UPDATE executions SET status = 'TIMED_OUT', version_number = 3 WHERE thing_name = 't2'"
            )

        body = await plane.rejected("t2/jobs/j2/update", beat)
        assert body["code"] == "InvalidStateTransition"
        assert body["executionState"]["status"] == "TIMED_OUT"


class TestLongQueues:
    """A thing with many executions: little of its list is loaded, nothing about it is wrong."""

    async def test_one_far_behind_leaves(self, pool: Pool) -> None:
        """An execution that is not among those listed ends: notify alone, as for any that is not first."""
        await add_things(pool, "t1")
        for number in range(45):
            await add_job(pool, f"j{number:02d}", ["t1"])
        plane = Plane(pool)

        assert await plane.told("t1/jobs/j44/update", {"status": "REJECTED"}) == ["notify"]
        assert await plane.told("t1/jobs/j43/update", {"status": "IN_PROGRESS"}) == ["notify-next"]
        assert await plane.told("t1/jobs/j43/update", {"status": "FAILED"}) == [
            "notify",
            "notify-next",
        ]

    async def test_the_offered_one_behind_many_taken_back(self, pool: Pool) -> None:
        """Executions of canceled jobs that no chunk has reached yet hide none that may be started."""
        await add_things(pool, "t1")
        for number in range(12):
            await add_job(pool, f"j{number:02d}", ["t1"])
        async with pool.acquire() as raw, tenant_transaction(raw, "default") as connection:
            await connection.execute("UPDATE jobs SET status = 'CANCELED' WHERE job_id < 'j11'")
        plane = Plane(pool)

        assert (await plane.accepted("t1/jobs/start-next"))["execution"]["jobId"] == "j11"
