"""Jobs and executions driven through all that can happen to them, in any order, on a real PostgreSQL.

Time passes by moving what is stored back, since PostgreSQL's own clock orders things. After every step the invariants
hold; when no background work is owed, what devices were told last is what they would be shown if they asked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

import asyncpg
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from handlers import chunks, gates, outbox, timeouts
from handlers.chunks import Progress
from handlers.database import Pool, create_pool
from handlers.documents import Documents
from schema import timeline
from schema.rights import Role
from tests.conftest import Database
from tests.factories import add_tenant, add_things, counts_equal_rows, stages_equal_rows
from tests.integration.device_plane import Plane
from tests.integration.operator_desk import Desk, aws_job

T = TypeVar("T")
THINGS = ("t0", "t1", "t2", "t3")
JOBS = ("j0", "j1", "j2")
SLOT = 5
TERMINAL = ("SUCCEEDED", "FAILED", "TIMED_OUT", "REJECTED", "REMOVED", "CANCELED")
_SHIFTED = {
    "executions": "queued_at started_at last_updated_at in_progress_deadline step_deadline timeout_at",
    "jobs": "created_at updated_at completed_at expires_at",
    "rollout_paces": "credited_at due_at",
    "told_executions": "told_at",
    "job_stages": "started_at reached_at",
    "job_approvals": "since",
    "job_votes": "at",
}
things, jobs = st.sampled_from(THINGS), st.sampled_from(JOBS)
RETRY = {"criteriaList": [{"failureType": "ALL", "numberOfRetries": 2}]}
ABORT = {
    "criteriaList": [
        {
            "failureType": "ALL",
            "action": "CANCEL",
            "thresholdPercentage": 60,
            "minNumberOfExecutedThings": 3,
        }
    ]
}
RATE = {"maximumPerMinute": 30}
GATE = {"successPercentage": 50, "soakMinutes": 1, "numberOfFailures": 1}
STAGES = [{"numberOfThings": 1, **GATE}, {"numberOfThings": 2}, {}]
OTHER_GATES = [{"numberOfThings": 1, "successPercentage": 0}, *STAGES[1:]]
BRAKES: dict[str, Any] = {
    "jobExecutionsRetryConfig": RETRY,
    "abortConfig": ABORT,
    "jobExecutionsRolloutConfig": RATE,
    "timeoutConfig": {"inProgressTimeoutInMinutes": 5},
    "exclusive": True,
    "priority": 7,
    "stages": STAGES,
    "approvalConfig": {"requiredApprovals": 1},
}
CHANGES: list[dict[str, Any]] = [
    {"jobExecutionsRolloutConfig": RATE},
    {"jobExecutionsRolloutConfig": {}},
    {"jobExecutionsRetryConfig": RETRY},
    {"abortConfig": ABORT},
    {"timeoutConfig": {"inProgressTimeoutInMinutes": 2}},
    {"stages": OTHER_GATES},
]


EACH = {
    *("create", "pause", "resume", "cancel", "delete", "add", "remove", "approve"),
    *("start-next-stage", "retry-failed", "associate", "update"),
}


class Fleet:
    """One tenant of the test's database, and what its devices were told."""

    def __init__(self, pool: Pool, admin: asyncpg.Connection, tenant: str) -> None:
        """Take connections as the application's and as a superuser's."""
        self.pool, self.admin, self.tenant = pool, admin, tenant
        self.desk = Desk(pool, tenant=tenant)
        self.other = Desk(pool, Role.MANAGER, "may", tenant)
        self.plane = Plane(pool, tenant)
        self.documents = Documents()
        self.progress = Progress()
        self.told: dict[str, set[tuple[str, int]]] = {name: set() for name in THINGS}
        self.first: dict[str, tuple[str, int] | None] = dict.fromkeys(THINGS)
        self.ended: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self.last: tuple[str, bytes] | None = None
        # Whom jobs that wait to be approved had been told to, by job_uid.
        self.held: dict[int, set[str]] = {}

    async def begin(self) -> None:
        """Things, a group with the first two of them, and one with the third."""
        await add_tenant(self.pool, self.tenant)
        await add_things(self.pool, *THINGS, tenant=self.tenant)
        await self.desk.accepted("groups/create", {"thingGroupName": "g"})
        await self.desk.accepted("groups/add", {"thingGroupName": "g", "thingNames": [*THINGS[:2]]})
        await self.desk.accepted("groups/create", {"thingGroupName": "h"})
        await self.desk.accepted("groups/add", {"thingGroupName": "h", "thingName": THINGS[2]})

    async def report(self, path: str, payload: bytes, *, duplicate: bool) -> None:
        """What a device says; refusals are as good as acceptances."""
        await self.plane.batch(self.plane.ask(path, payload, duplicate=duplicate))

    async def pass_time(self, minutes: int) -> None:
        """Move all that is stored back, and do what is due then."""
        for table, columns in _SHIFTED.items():
            moved = ", ".join(f"{one} = {one} - $2::interval" for one in columns.split())
            await self.admin.execute(
                f"UPDATE {table} SET {moved} WHERE tenant_id = $1",
                self.tenant,
                timedelta(minutes=minutes),
            )
        self.ended = {
            key: (*state[:-1], state[-1] - timedelta(minutes=minutes))
            for key, state in self.ended.items()
        }
        while (await timeouts.run_once(self.pool, slot=SLOT)).more:
            pass

    async def work(self, most: int) -> None:
        """So many passes of the background work, as several processes share it."""
        for _ in range(most):
            looked = await gates.run_once(self.pool, slot=SLOT)
            assert not looked.failures, looked.failures
            done = await chunks.run_once(self.pool, slot=SLOT, progress=self.progress)
            assert not done.failures, done.failures
            if not done.more and not done.chunks:
                return

    async def tell(self) -> None:
        """Tell devices what is in the outbox, as the sender does."""
        await outbox.claim(self.pool, slot=SLOT)
        rows = await outbox.load(self.pool, slot=SLOT, after=0, most=1000)
        said = await outbox.say(self.pool, self.documents, self.tenant, rows, slot=SLOT)
        for topic, payload in said.messages:
            self._hear(topic, json.loads(payload))
        await outbox.forget(self.pool, rows, slot=SLOT)

    def _hear(self, topic: str, body: dict[str, Any]) -> None:
        _, _, name, *_, last = topic.split("/")
        if last == "notify":
            listed = [one for part in body["jobs"].values() for one in part]
            self.told[name] = {(one["jobId"], one["executionNumber"]) for one in listed}
        elif last == "notify-next":
            one = body.get("execution")
            self.first[name] = None if not one else (one["jobId"], one["executionNumber"])

    async def executions(self) -> list[asyncpg.Record]:
        """All of them."""
        found: list[asyncpg.Record] = await self.admin.fetch(
            "SELECT e.*, j.job_uid, j.status AS job_status, j.pending_work, j.stage AS job_stage "
            "FROM executions e JOIN jobs j USING (tenant_id, job_id) WHERE e.tenant_id = $1",
            self.tenant,
        )
        return found

    async def check(self) -> None:
        """What must be true whatever has happened."""
        assert await counts_equal_rows(self.pool, tenant=self.tenant)
        assert await stages_equal_rows(self.pool, tenant=self.tenant)
        rows = await self.executions()
        now = {(row["job_uid"], row["thing_name"], row["execution_number"]): row for row in rows}
        for key, state in self.ended.items():
            # It may have been deleted, but never changes.
            assert key not in now or _state(now[key]) == state
        self.ended = {key: _state(row) for key, row in now.items() if row["status"] in TERMINAL}
        live = [row for row in rows if row["status"] not in TERMINAL]
        assert not [row for row in live if row["job_status"] == "COMPLETED"]
        on_thing = [(row["thing_name"], row["job_id"]) for row in live]
        assert len(on_thing) == len(set(on_thing))
        for row in rows:
            entries = timeline.read(row["timeline"])
            assert [one.version for one in entries] == list(range(2, row["version_number"] + 1))
            assert not entries or entries[-1].status == row["status"]
            # Nobody is told before the stage has started, and each attempt says which it is.
            assert (row["stage"] or 0) <= (row["job_stage"] or 0)
            assert 0 <= row["retry_attempt"] < row["execution_number"]
        await self._check_approvals(rows)

    async def _check_approvals(self, rows: list[asyncpg.Record]) -> None:
        """While a job waits to be approved nobody new is told of it, and it is not over."""
        waiting = await self.admin.fetch(
            "SELECT job_uid, status FROM jobs WHERE tenant_id = $1 AND 'APPROVAL' = ANY (holds) "
            "AND status NOT IN ('CANCELED', 'DELETION_IN_PROGRESS')",
            self.tenant,
        )
        assert {row["status"] for row in waiting} <= {"SCHEDULED"}
        held = self.held
        self.held = {
            job["job_uid"]: {row["thing_name"] for row in rows if row["job_uid"] == job["job_uid"]}
            for job in waiting
        }
        for uid, names in self.held.items():
            assert names <= held.get(uid, names)

    async def check_told(self) -> None:
        """When nothing is owed: the last notify is the pending list, the last notify-next its first."""
        owed = await self.admin.fetchval(
            "SELECT count(*) FROM jobs WHERE tenant_id = $1 AND (tell_mark IS NOT NULL OR "
            "pending_work IS NOT NULL AND pending_work <> 'ROLLOUT' OR expires_at < now() AND NOT expiry_done "
            "AND status IN ('SCHEDULED', 'IN_PROGRESS'))",
            self.tenant,
        )
        if owed:
            return
        for name in THINGS:
            body = await self.plane.accepted(f"{name}/jobs/get")
            pending = [*body["inProgressJobs"], *body["queuedJobs"]]
            keys = [(one["jobId"], one["executionNumber"]) for one in pending]
            assert self.told[name] == set(keys), name
            assert self.first[name] == (keys[0] if keys else None), name


def _state(row: asyncpg.Record) -> tuple[Any, ...]:
    """What of a terminal execution may not change; the time is last."""
    return (
        row["status"],
        row["version_number"],
        row["status_details"],
        row["timeline"],
        row["last_updated_at"],
    )


class Lives(RuleBasedStateMachine):
    """Operators, devices, timers and workers, one at a time and in any order."""

    database: ClassVar[Database]
    runner: ClassVar[asyncio.Runner]
    pool: ClassVar[Pool]
    admin: ClassVar[asyncpg.Connection]
    tenants: ClassVar[int] = 0
    done: ClassVar[set[str]] = set()

    def __init__(self) -> None:
        """Begin with a tenant of its own."""
        super().__init__()
        type(self).tenants += 1
        self.fleet = Fleet(self.pool, self.admin, f"life-{self.tenants}")
        self.run(self.fleet.begin())

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        """Do something in the loop that the connections belong to."""
        return self.runner.run(doing)

    def command(
        self, path: str, payload: dict[str, Any] | None = None, *, other: bool = False
    ) -> None:
        """Command something, as one operator or the other; it may be refused."""
        desk = self.fleet.other if other else self.fleet.desk
        answer = self.run(desk.send(path, payload))
        assert answer.accepted or answer.body["code"] != "InternalError", answer.body
        if answer.accepted:
            self.done.add(path.rpartition("/")[2])

    @rule(
        job=jobs,
        names=st.sets(things, min_size=1),
        of_group=st.booleans(),
        continuous=st.booleans(),
        brakes=st.sets(st.sampled_from(sorted(BRAKES)), max_size=3),
    )
    def create(
        self, job: str, names: set[str], *, of_group: bool, continuous: bool, brakes: set[str]
    ) -> None:
        """For things or for the group, with some brakes."""
        targets = aws_job(group="g") if of_group else aws_job(*sorted(names))
        selection = "CONTINUOUS" if continuous else "SNAPSHOT"
        more = {name: BRAKES[name] for name in brakes}
        self.command("jobs/create", {**targets, "jobId": job, "targetSelection": selection, **more})

    @initialize(staged=st.booleans())
    def begin(self, *, staged: bool) -> None:
        """Some lives begin with a job in stages that somebody must say yes to."""
        if not staged:
            return
        brakes = {name: BRAKES[name] for name in ("stages", "approvalConfig")}
        more = {"jobId": "j0", "targetSelection": "CONTINUOUS", **brakes}
        self.command("jobs/create", {**aws_job(group="g"), **more})
        self.command("jobs/j0/approve", other=True)
        self.command("jobs/j0/start-next-stage")
        self.work(50)
        for thing in THINGS[:2]:
            self.report(thing, "j0", "FAILED", "", None)
        self.command("jobs/j0/retry-failed")
        self.associate("j0", group="h")
        self.command("jobs/j0/update", CHANGES[0])

    def do_each(self) -> None:
        """Each command once, in an order in which each is accepted."""
        self.begin(staged=True)
        self.create("j1", {"t3"}, of_group=False, continuous=False, brakes={"priority"})
        for verb in ("pause", "resume"):
            self.hold("j1", verb)
        for comes in (False, True):
            self.move("t0", comes=comes)
        for verb in ("cancel", "delete"):
            self.end("j1", verb, force=True)
        self.holds()
        self.teardown()

    @rule(job=jobs, yes=st.sampled_from([True, True, True, False]))
    def vote(self, job: str, *, yes: bool) -> None:
        """By whom the creator's role is not."""
        self.command(f"jobs/{job}/{'approve' if yes else 'deny'}", other=True)

    @rule(job=jobs, change=st.sampled_from(CHANGES))
    def update(self, job: str, change: dict[str, Any]) -> None:
        """What is approved, what brakes, or the gates."""
        self.command(f"jobs/{job}/update", change)

    @rule(job=jobs, group=st.sampled_from(["g", "h"]))
    def associate(self, job: str, group: str) -> None:
        """More targets for a continuous job."""
        self.command(f"jobs/{job}/associate", {"targets": aws_job(group=group)["targets"]})

    @rule(job=jobs, verb=st.sampled_from(["start-next-stage", "retry-failed"]))
    def go_on(self, job: str, verb: str) -> None:
        """By hand."""
        self.command(f"jobs/{job}/{verb}")

    @rule(job=jobs)
    def create_that_expires(self, job: str) -> None:
        """In the seeds' words, for all, for an hour."""
        wanted = {"job_id": job, "document_type": "x", "target_all": True, "expires_in_hours": 1}
        self.command("jobs/create", wanted)

    @rule(thing=things, comes=st.booleans())
    def move(self, thing: str, *, comes: bool) -> None:
        """Into the group, or out of it."""
        verb = "add" if comes else "remove"
        self.command(f"groups/{verb}", {"thingGroupName": "g", "thingName": thing})

    @rule(thing=things)
    def start_next(self, thing: str) -> None:
        """As devices do."""
        self.run(self.fleet.plane.batch(self.fleet.plane.ask(f"{thing}/jobs/start-next")))

    @rule(
        thing=things,
        job=jobs,
        status=st.sampled_from(["IN_PROGRESS", "SUCCEEDED", "FAILED", "FAILED", "REJECTED"]),
        said=st.sampled_from(["", "1", "2"]),
        step=st.sampled_from([None, None, 3]),
    )
    def report(self, thing: str, job: str, status: str, said: str, step: int | None) -> None:
        """Progress or an end, of whatever execution is the latest."""
        body: dict[str, Any] = {"status": status}
        if said:
            body["statusDetails"] = {"said": said}
        if step and status == "IN_PROGRESS":
            body["stepTimeoutInMinutes"] = step
        self.fleet.last = (f"{thing}/jobs/{job}/update", json.dumps(body).encode())
        self.run(self.fleet.report(*self.fleet.last, duplicate=False))

    @rule()
    def redeliver(self) -> None:
        """The last report once more, as after a reconnection."""
        if self.fleet.last is not None:
            self.run(self.fleet.report(*self.fleet.last, duplicate=True))

    @rule(minutes=st.sampled_from([1, 4, 70]))
    def pass_time(self, minutes: int) -> None:
        """Steps, executions and jobs run out of time."""
        self.run(self.fleet.pass_time(minutes))

    @rule(job=jobs, verb=st.sampled_from(["pause", "resume"]))
    def hold(self, job: str, verb: str) -> None:
        """Or let go."""
        self.command(f"jobs/{job}/{verb}")

    @rule(job=jobs, verb=st.sampled_from(["cancel", "delete"]), force=st.booleans())
    def end(self, job: str, verb: str, *, force: bool) -> None:
        """A whole job."""
        self.command(f"jobs/{job}/{verb}", {"force": force})

    @rule(job=jobs, thing=things, force=st.booleans())
    def cancel_one(self, job: str, thing: str, *, force: bool) -> None:
        """One thing's."""
        self.command(f"jobs/{job}/executions/{thing}/cancel", {"force": force})

    @rule(job=jobs, thing=things, number=st.integers(1, 3), force=st.booleans())
    def delete_one(self, job: str, thing: str, number: int, *, force: bool) -> None:
        """One of a thing's, perhaps an earlier one."""
        said = {"executionNumber": number, "force": force}
        self.command(f"jobs/{job}/executions/{thing}/delete", said)

    @rule(most=st.sampled_from([1, 2, 50, 50]))
    def work(self, most: int) -> None:
        """Some or all of what is owed."""
        self.run(self.fleet.work(most))

    @invariant()
    def holds(self) -> None:
        """What must be true is true; devices are told of it."""
        self.run(self.fleet.check())
        self.run(self.fleet.tell())
        self.run(self.fleet.check_told())

    def teardown(self) -> None:
        """All that is owed is done in the end, and devices know."""
        self.run(self.fleet.work(100))
        self.holds()
        self.run(self.admin.execute("DELETE FROM tenants WHERE tenant_id = $1", self.fleet.tenant))


def test_whatever_happens_to_jobs_the_invariants_hold(database: Database) -> None:
    """Creates, joins, leaves, reports, timeouts, pauses, stages, votes, changes, retries and ends, in any order."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        Lives.database, Lives.runner = database, runner
        Lives.pool = runner.run(create_pool(database.url))
        Lives.admin = runner.run(asyncpg.connect(database.admin_url))
        try:
            Lives().do_each()
            assert Lives.done >= EACH
            run_state_machine_as_test(
                Lives,
                settings=settings(
                    max_examples=14,
                    stateful_step_count=22,
                    deadline=None,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
                ),
            )
        finally:
            runner.run(Lives.admin.close())
            runner.run(Lives.pool.close())
