"""The connection is lost while committing: nobody knows whether it was, and the requests are decided again."""

from __future__ import annotations

from typing import Any, cast

import pytest

from broker.dispatch import Dispatcher
from handlers import executions
from handlers.database import Pool
from handlers.documents import Documents
from handlers.executions import Answered
from schema.topics import TopicMode
from tests.factories import add_job, add_things, counts_equal_rows
from tests.integration.device_plane import Plane


@pytest.mark.parametrize("committed", [True, False])
async def test_requests_are_applied_once(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """Progress without clientTokens, start-next and an end, retried by the broker itself: each has one effect."""
    await add_things(pool, "t1", "t2")
    await add_job(pool, "j1", ["t1", "t2"])
    await add_job(pool, "j2", ["t1", "t2"])
    plane = Plane(pool)
    calls = 0
    answer = executions.answer

    async def lost_at_first(*arguments: Any, **named: Any) -> Answered:  # noqa: ANN401 - passed on as they come
        nonlocal calls
        calls += 1
        if calls > 1 or committed:
            done = await answer(*arguments, **named)
        if calls == 1:
            raise ConnectionError("lost")
        return done

    monkeypatch.setattr(executions, "answer", lost_at_first)
    nobody = cast("Any", None)
    dispatcher = Dispatcher(
        pool, Documents(), nobody, nobody, mode=TopicMode.MOUNTED, slot=0, lanes=1
    )
    progress = [{"status": "IN_PROGRESS", "statusDetails": {"n": str(n)}} for n in range(5)]
    asks = [
        *(plane.ask("t1/jobs/j1/update", one) for one in progress),
        plane.ask("t2/jobs/start-next"),
        plane.ask("t1/jobs/j1/update", {"status": "SUCCEEDED"}),
    ]
    answered = await dispatcher._decide("default", asks)

    assert calls == 2
    assert [reply.accepted for reply in answered.replies] == [True] * len(asks)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL app.tenant_id = 'default'")
        rows = await connection.fetch(
            "SELECT thing_name, job_id, status, version_number FROM executions WHERE version_number > 1 ORDER BY 1"
        )
    assert [tuple(row) for row in rows] == [
        ("t1", "j1", "SUCCEEDED", 7),
        ("t2", "j1", "IN_PROGRESS", 2),
    ]
    assert await counts_equal_rows(pool)
