"""Every statement that devices, operators and our services run, at a million executions, whatever statistics there are.

PostgreSQL plans by statistics that may be old, and sessions keep plans. So a plan must be good because no other is
possible, not because the numbers are right: each state of the statistics is tried with plans for the parameters at hand
(custom), plans for any (generic), and plans kept from when there were ten executions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import asyncpg
import pytest

from broker.embedded.postgres import connected
from tests.conftest import Database, clone
from tests.helpers import eventually
from tests.integration import million
from tests.integration.device_plane import Plane
from tests.integration.everyday import TENANT, Day, live, names
from tests.integration.explained import Mode, Spare, Statement, Watched, tell_plans, watched
from tests.servers import PostgresServer

MODES: tuple[Mode, ...] = ("force_custom_plan", "force_generic_plan")
STATES = (
    "kept since tiny, auto",
    "kept since tiny, force_generic_plan",
    *(
        f"{state}, {mode}"
        for state in ("analysed when tiny", "never analysed", "analysed with one job", "analysed")
        for mode in MODES
    ),
)
# After so many runs PostgreSQL decides whether a prepared statement's plan is kept.
_UNTIL_KEPT = 6
FEW = 200  # things that report progress
# All of a day's statements by their queries' names that a fleet's speed hangs on: they must have been seen.
HOT = frozenset(
    (
        "lock_things",
        "find_things",
        "load_queues",
        "load_executions",
        "load_documents",
        "load_attributes",
        "insert_executions",
        "update_executions",
        "delete_executions",
        "add_counts",
        "complete_jobs",
        "insert_outbox",
        "find_due",
        "claim_outbox",
        "load_outbox",
        "delete_outbox",
        "take_chunk",
        "take_part",
        "load_pace",
        "keep_pace",
        "insert_retries",
        "find_retries",
        "may_retry",
        "load_aborts",
        "find_executions",
        "find_work",
        "list_jobs",
        "list_executions",
        "find_reach",
        "load_for_queries",
        "add_joiners",
        "insert_dynamic_members",
        "delete_dynamic_members",
        "add_stage_counts",
        "take_waiting",
        "lock_stages",
        "set_stages",
        "find_gates",
        "next_chunk_stage",
    )
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A database with a million executions, analysed; seen: what ran in each state of the statistics before."""

    database: Database
    spare: Spare
    seen: dict[str, Sequence[Statement]]


@pytest.fixture(scope="module")
async def fleet(postgres_server: PostgresServer, template_database: str) -> AsyncIterator[Fleet]:
    """A day lived in each state of the statistics."""
    seen: dict[str, Sequence[Statement]] = {}
    async with (
        clone(postgres_server, template_database) as database,
        connected(database.admin_url) as admin,
    ):
        await tell_plans(admin, database)
        await million.load_tiny(admin)
        async with watched(database) as auto, watched(database) as generic:
            await _keep_plans(auto, generic, admin)
            await million.load_million(admin)
            seen["kept since tiny, auto"] = await _a_day(auto, admin)
            seen["kept since tiny, force_generic_plan"] = await _a_day(generic, admin)
        for state, forget in (
            ("analysed when tiny", None),
            ("never analysed", million.never_analysed),
            ("analysed with one job", million.analysed_with_one_job),
            ("analysed", million.analysed),
        ):
            if forget is not None:
                await forget(admin)
            async with watched(database) as fresh:
                for mode in MODES:
                    await fresh.plans(mode)
                    seen[f"{state}, {mode}"] = await _a_day(fresh, admin)
        yield Fleet(database, _spare(admin), seen)


def _spare(admin: asyncpg.Connection) -> Spare:
    # Before 17 the planner takes `= ANY (array)` on a key's second column for a filter while it believes the table
    # small: then all of a tenant's jobs are read (not things, not executions) until autovacuum has analysed them, or
    # their counts, up to three times by one statement (complete_jobs).
    many = 3 * (million.JOBS + million.OLD) + 500
    return Spare() if admin.get_server_version() >= (17,) else Spare(many, many // 10)


async def _keep_plans(auto: Watched, generic: Watched, admin: asyncpg.Connection) -> None:
    """Have two sessions make and keep their plans while there are ten executions."""
    await generic.plans("force_generic_plan")
    for _ in range(_UNTIL_KEPT):
        await live(Day(auto, admin, names(range(10)), listed=5))
    await live(Day(generic, admin, names(range(10)), listed=5))


async def _a_day(one: Watched, admin: asyncpg.Connection) -> Sequence[Statement]:
    """What runs in a day of 100 things: 50 with a thousand executions each, 50 without any."""
    one.seen.clear()
    idle = range(million.BIG, million.BIG + 50)
    await live(Day(one, admin, names([*range(50), *idle])))
    return tuple(one.seen)


@pytest.mark.parametrize("state", STATES)
async def test_no_statement_looks_at_more_than_it_is_about(fleet: Fleet, state: str) -> None:
    """No growing table is read whole or sorted; rows and pages are bounded by the batch or the page of a list."""
    seen = fleet.seen[state]
    faults = {fault for one in seen for fault in one.faults(million.GROWING, fleet.spare)}
    assert not faults, "\n".join(sorted(faults))
    assert not HOT - {one.name for one in seen}


async def test_a_table_read_whole_is_seen(fleet: Fleet) -> None:
    """The guard itself: a statement without an index for what it asks is told of, by rows, pages and way."""
    async with watched(fleet.database) as one, one.step("by hand"):
        await one.connection.execute(f"BEGIN; SET LOCAL app.tenant_id = '{TENANT}'")
        await one.connection.fetch("SELECT FROM executions WHERE version_number = $1", 77)
        await one.connection.execute("SET LOCAL enable_seqscan = on")
        await one.connection.fetch("SELECT FROM executions WHERE force_canceled")
        await one.connection.execute("ROLLBACK")
    faults = [
        fault for statement in one.seen for fault in statement.faults(million.GROWING, fleet.spare)
    ]
    assert any("looks at" in fault and "_idx" in fault for fault in faults), faults
    assert any("touches" in fault for fault in faults), faults
    assert any("reads all of executions" in fault for fault in faults), faults


async def test_progress_stays_on_its_page(fleet: Fleet) -> None:
    """Progress changes no index: nine in ten updates of executions here and there are HOT, however often repeated."""
    async with connected(fleet.database.admin_url) as admin:
        before, _ = await _updates(admin)
        await _progress(fleet.database, rounds=1)  # starts them, which moves them in their queues
        started, hot_before = await _updates(admin, least=before + FEW)
        await _progress(fleet.database, rounds=4)
        updated, hot = await _updates(admin, least=started + 4 * FEW)
    assert updated - started == 4 * FEW
    assert hot - hot_before >= 0.9 * 4 * FEW


async def _updates(admin: asyncpg.Connection, *, least: int = 0) -> tuple[int, int]:
    """How many updates of executions there were and how many of them were HOT, once there were `least`."""

    async def told() -> tuple[int, int]:
        await admin.execute("SELECT pg_stat_clear_snapshot()")
        row = await admin.fetchrow(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'executions'"
        )
        assert row is not None
        assert row["n_tup_upd"] >= least
        return row["n_tup_upd"], row["n_tup_hot_upd"]

    return await eventually(told)


async def _progress(database: Database, *, rounds: int) -> None:
    """Have some things, far from each other, report progress; what was done is counted when the session has ended."""
    async with watched(database) as one:
        plane = Plane(one.pool)
        for step in range(rounds):
            payload = {"status": "IN_PROGRESS", "statusDetails": {"progress": str(step)}}
            asks = [
                plane.ask(f"{name}/jobs/big0000/update", payload)
                for name in names(range(2000, 2000 + 400 * FEW, 400))
            ]
            answers, _ = await plane.batch(*asks)
            assert all(accepted for accepted, _ in answers), answers[0]
