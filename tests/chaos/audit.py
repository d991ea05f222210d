"""Quiet, then both sides are read: what the things know and are answered now, and what the database says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any, Final

import asyncpg

from broker.embedded.postgres import connected
from tests.chaos.cast import Cast
from tests.chaos.fleet import Fleet, Thing
from tests.chaos.invariants import JobRow, Row, Seen, Violation, told_is_true, violations
from tests.chaos.ledger import Shown
from tests.helpers import settled

ANSWER_SECONDS: Final = 60.0
_QUIET_SECONDS: Final = 40.0
_TOLD_SECONDS: Final = 15.0
_AT_ONCE: Final = 50
_STATUSES: Final = (
    "QUEUED",
    "IN_PROGRESS",
    "SUCCEEDED",
    "FAILED",
    "TIMED_OUT",
    "REJECTED",
    "REMOVED",
    "CANCELED",
)
_ROWS = "SELECT thing_name, job_id, execution_number, status, version_number, status_details FROM executions"
_JOBS = "SELECT j.status AS job_status, j.pending_work, c.* FROM jobs j JOIN job_counts c USING (tenant_id, job_id)"
_OUTBOX = "SELECT extract(epoch FROM clock_timestamp() - min(created_at))::float FROM outbox"
_SLOTS = "SELECT name, details ->> 'pid' AS pid FROM leases WHERE name LIKE 'slot-%'"
_SETTLED = """
SELECT NOT EXISTS (SELECT FROM outbox) AND NOT EXISTS (SELECT FROM jobs WHERE pending_work IS NOT NULL)
"""


async def audit(
    cast: Cast, fleet: Fleet, *, settled_logs: set[str]
) -> tuple[Seen, list[Violation]]:
    """Wait until what was begun is over, as far as that comes, then look at everything; the gate must be shut.

    settled_logs: lines that an earlier audit has told of; those told now are added.
    """
    ledger = fleet.ledger
    await settled(lambda: not ledger.waiting, timeout=ANSWER_SECONDS)
    async with connected(cast.admin_url) as admin:
        seen = Seen()

        async def is_quiet() -> bool:
            return await admin.fetchval(_SETTLED) and _of_the_living(cast, await _slots(admin))

        async def is_as_promised() -> bool:
            nonlocal seen
            seen = await _look(cast, fleet, admin, settled_logs)
            return not violations(seen)

        await settled(is_quiet, timeout=_QUIET_SECONDS)
        # A notification is on its way to a thing for a moment after the outbox has forgotten it.
        await settled(is_as_promised, timeout=_TOLD_SECONDS)
    seen.findings = await _check(cast)
    settled_logs.update(seen.faults_logged)
    return seen, violations(seen)


async def _look(
    cast: Cast, fleet: Fleet, admin: asyncpg.Connection, settled_logs: set[str]
) -> Seen:
    ledger = fleet.ledger
    gets, nexts = await _asked(fleet.things)
    return Seen(
        stories=ledger.stories,
        waiting=dict(ledger.waiting),
        known=ledger.known,
        contradictions=list(ledger.contradictions),
        created=dict(ledger.created),
        gets=gets,
        nexts=nexts,
        rows=await _rows(admin),
        jobs=await _jobs(admin),
        outbox_oldest=await admin.fetchval(_OUTBOX),
        slots=await _slots(admin),
        living=_living(cast),
        faults_logged=[line for line in faults_logged(cast) if line not in settled_logs],
        ended_alone=[text for seat in cast.seats for text in seat.ended_alone],
    )


async def spot_check(fleet: Fleet) -> list[Violation]:
    """Whether what was told to the listeners is how it stands, within seconds; nobody may give them anything meanwhile.

    In the course of a run, since later changes would tell again what has been lost.
    """
    known = {thing.name: fleet.ledger.thing(thing.name) for thing in fleet.listeners}
    wrong: list[Violation] = []

    async def is_as_told() -> bool:
        nonlocal wrong
        gets, nexts = await _asked(fleet.listeners)
        wrong = list(told_is_true(Seen(known=known, gets=gets, nexts=nexts)))
        return not wrong

    await settled(is_as_told, timeout=_TOLD_SECONDS)
    return wrong


async def _asked(things: Iterable[Thing]) -> tuple[dict[str, Shown], dict[str, Shown]]:
    """What each thing is answered now; one that gets no answer in time is left out, and waits in the ledger."""
    gate = asyncio.Semaphore(_AT_ONCE)
    gets: dict[str, Shown] = {}
    nexts: dict[str, Shown] = {}

    async def ask(thing: Thing) -> None:
        async with gate:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    gets[thing.name], nexts[thing.name] = (
                        await thing.pending(),
                        await thing.first(),
                    )
            except TimeoutError:
                return

    await asyncio.gather(*(ask(thing) for thing in things))
    return gets, nexts


async def _rows(admin: asyncpg.Connection) -> dict[tuple[str, str, int], Row]:
    return {
        (row["thing_name"], row["job_id"], row["execution_number"]): Row(
            row["status"], row["version_number"], _token(row["status_details"])
        )
        for row in await admin.fetch(_ROWS)
    }


def _token(details: str | None) -> str | None:
    token = None if details is None else json.loads(details).get("token")
    return token if isinstance(token, str) else None


async def _jobs(admin: asyncpg.Connection) -> dict[str, JobRow]:
    return {
        row["job_id"]: JobRow(
            row["job_status"],
            row["pending_work"],
            {status: row[status.lower()] for status in _STATUSES},
        )
        for row in await admin.fetch(_JOBS)
    }


async def _slots(admin: asyncpg.Connection) -> dict[str, int]:
    return {row["name"]: int(row["pid"] or 0) for row in await admin.fetch(_SLOTS)}


def _living(cast: Cast) -> frozenset[int]:
    return frozenset(seat.pid for seat in cast.seats if seat.pid is not None)


def _of_the_living(cast: Cast, slots: dict[str, int]) -> bool:
    return set(slots.values()) == _living(cast)


async def _check(cast: Cast) -> list[dict[str, Any]]:
    ended = await cast.run("check", "--json")
    try:
        findings: list[dict[str, Any]] = json.loads(ended.out)
    except ValueError:
        return [{"what": "jobbroker check", "state": "fail", "said": ended.err or ended.out}]
    return findings


def faults_logged(cast: Cast) -> list[str]:
    """What the brokers logged as errors, and what they wrote that is no log line, as tracebacks are."""
    found = []
    for name, text in cast.logs():
        for line in text.splitlines():
            if not line.startswith("{"):
                if line.strip() not in ("", "ready"):
                    found.append(f"{name}: {line}")
            elif '"level": "error"' in line or '"level": "critical"' in line:
                found.append(f"{name}: {line}")
    return found
