"""What there is to compare with: PostgreSQL alone, an echo through Mosquitto, the seeds' design."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, Final

from broker.bench import seed
from broker.bench.figures import difference
from broker.bench.measuring import summary, throughput
from broker.bench.stage import JOB, Stage
from broker.bench.usage import cpu_seconds, forget_peaks, peak_megabytes
from broker.cli.outcome import remark
from handlers.database import Connection, tenant_transaction
from schema.topics import DEFAULT_TENANT

_ROWS: Final = 5000
_BATCH: Final = 500
_WRITERS: Final = 4
_STATEMENT: Final = """
UPDATE executions e
SET version_number = e.version_number + 1, status_details = c.details, last_updated_at = clock_timestamp()
FROM unnest(string_to_array($2, E'\\n'), string_to_array($3, E'\\n')) AS c (thing_name, details)
WHERE e.tenant_id = $1 AND e.thing_name = c.thing_name AND e.job_id = $4 AND e.execution_number = 1
"""
_FILL: Final = """
INSERT INTO executions (tenant_id, thing_name, job_id, status, queued_at, started_at, last_updated_at)
SELECT $1, 'pg-' || lpad(n::text, 7, '0'), $2, 'IN_PROGRESS', now(), now(), now()
FROM generate_series(0, $3::integer - 1) AS n
"""
ADD_JOB: Final = """
INSERT INTO jobs (tenant_id, job_id, document, dialect, total_targets, request_sha256, created_by)
VALUES ($1, $2, '{"operation":"install"}', 'aws', $3, sha256('bench'), 'bench')
"""


async def postgres(stage: Stage) -> dict[str, Any]:
    """PostgreSQL's own ceiling: a plain `unnest` UPDATE of 500 executions a commit, four at once.

    On our table, with its indexes, checks and row security; nothing is locked, read, decided or
    counted, and nobody is told.
    """
    await stage.empty()
    await stage.admin.execute(ADD_JOB, DEFAULT_TENANT, JOB, _ROWS)
    await stage.admin.execute(_FILL, DEFAULT_TENANT, JOB, _ROWS)
    await stage.settle()
    pids = {name: pid for name, pid in stage.pids.items() if name == "postgres"}
    pids["load"] = os.getpid()
    forget_peaks(pids)
    done = [0]
    stop = asyncio.Event()
    runs = []
    async with asyncio.TaskGroup() as writers:
        for writer in range(_WRITERS):
            writers.create_task(_write(stage, writer, done, stop))
        await asyncio.sleep(stage.plan.warm_up)
        for number in range(1, stage.plan.runs + 1):
            before, counted, began = cpu_seconds(pids), done[0], time.monotonic()
            await asyncio.sleep(stage.plan.seconds)
            seconds = time.monotonic() - began
            per_second = (done[0] - counted) / seconds
            cpu = difference(cpu_seconds(pids), before)
            runs.append({"per_s": round(per_second, 1), "seconds": seconds, "cpu_s": cpu})
            remark(
                f"  postgres: run {number} of {stage.plan.runs}: {per_second:,.0f} rows a second"
            )
        stop.set()
    return summary(runs) | {"peak_mb": peak_megabytes(pids)}


async def _write(stage: Stage, writer: int, done: list[int], stop: asyncio.Event) -> None:
    share = range(writer, _ROWS, _WRITERS)
    batches = [share[at : at + _BATCH] for at in range(0, len(share), _BATCH)]
    texts = ["\n".join(f"pg-{number:07}" for number in batch) for batch in batches]
    details = ["\n".join(['{"step":"download","percent":"42"}'] * len(batch)) for batch in batches]
    async with stage.pool.acquire() as raw:
        connection: Connection = raw
        while not stop.is_set():
            for batch, names, said in zip(batches, texts, details, strict=True):
                async with tenant_transaction(connection, DEFAULT_TENANT):
                    await connection.execute(_STATEMENT, DEFAULT_TENANT, names, said, JOB)
                done[0] += len(batch)
                if stop.is_set():
                    return


async def echo(stage: Stage) -> dict[str, Any]:
    """The ceiling of the MQTT side: the same requests through the same server, answered unread.

    With QoS 1 both ways, and under `qos0` with answers of QoS 0, as the broker's are.
    """
    both_ways = await _answered_by(stage, "echo")
    return both_ways | {"qos0": await _answered_by(stage, "echo0")}


async def seeds(stage: Stage) -> dict[str, Any]:
    """The seeds' design: a transaction for each message, on a pool of the broker's size."""
    await seed.prepare(stage.admin, DEFAULT_TENANT, JOB, stage.devices)
    return await _answered_by(stage, "seed")


async def _answered_by(stage: Stage, how: str) -> dict[str, Any]:
    await stage.connect(stage.devices)
    await stage.answer_with(how)
    try:
        return await throughput(
            stage,
            how,
            kind="updates",
            things=stage.devices,
            jobs=[JOB],
            outstanding=stage.plan.outstanding,
        )
    finally:
        await stage.stop_answering()
