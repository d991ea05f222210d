"""What is forgotten in time, on a real PostgreSQL: nothing grows without bound."""

from __future__ import annotations

from handlers import outbox
from handlers.database import Pool, tenant_transaction


async def test_old_answers_are_forgotten_until_none_is_left(pool: Pool) -> None:
    """However fast operators send commands: a pass that finds its fill says that there is more."""
    async with pool.acquire() as raw, tenant_transaction(raw, "default") as connection:
        await connection.execute(
            "INSERT INTO operator_requests (tenant_id, operator_name, client_token, request_sha256, reply, created_at) "
            "SELECT 'default', 'ann', n, sha256('x'), '{}', now() - n * interval '20 hours' "
            "FROM generate_series(1, 6) AS n"
        )
    passes = [await outbox.forget_requests(pool, most=2) for _ in range(3)]
    assert passes == [True, True, False]
    async with pool.acquire() as raw, tenant_transaction(raw, "default") as connection:
        left = await connection.fetch("SELECT client_token FROM operator_requests")
    assert [row["client_token"] for row in left] == ["1"]
