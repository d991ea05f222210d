"""Stored credentials in the database: sealed for their row, and all of them sealed anew when the key changes."""

from __future__ import annotations

import asyncio
import os
import sys
from uuid import UUID, uuid4

import asyncpg
import pytest

from broker.sealing import KeyRing
from broker.secret_keys import new_key
from handlers.database import Pool, tenant_transaction
from handlers.rotation import Rotated, rotate, stale_rows
from handlers.stack_connections import UnreadableSecretError, load_connection, place_of
from schema.secrets import SEALED_TABLES, Place, SealedTable, SecretStatus
from tests.conftest import Database
from tests.factories import add_tenant

OLD, NEW = new_key(), new_key()


async def add_connection(
    pool: Pool, ring: KeyRing, tenant: str = "default", **secrets: str
) -> UUID:
    """A connection with these credentials."""
    organization = uuid4()
    names = "".join(f", {name}_sealed" for name in secrets)
    places = "".join(f", ${number}" for number, _ in enumerate(secrets, 3))
    sealed = [
        ring.seal(text, place_of(tenant, organization, name)) for name, text in secrets.items()
    ]
    async with pool.acquire() as connection, tenant_transaction(connection, tenant):
        await connection.execute(
            "INSERT INTO ttn_connections (tenant_id, organization_id, identity_host, network_host,"
            f" application_host, join_host, mark{names})"
            f" VALUES ($1, $2, 'a', 'a', 'a', 'a', '0123456789ab'{places})",
            tenant,
            organization,
            *sealed,
        )
    return organization


async def opened(
    pool: Pool, ring: KeyRing, organization: UUID, tenant: str = "default"
) -> dict[str, str]:
    """What opens of a connection's credentials."""
    async with pool.acquire() as connection, tenant_transaction(connection, tenant):
        found = await load_connection(connection, ring, tenant, organization)
    assert found is not None
    return {name: one.value for name, one in found.secrets.items() if one.value is not None}


async def test_each_secret_is_empty_decrypted_or_failed(pool: Pool) -> None:
    """As seed 001 tells them apart; one that failed cannot be taken for one that is absent."""
    ring = KeyRing.parse(NEW)
    organization = await add_connection(pool, ring, main_key="k1", app_api_key="k2")
    async with pool.acquire() as connection, tenant_transaction(connection, "default"):
        await connection.execute(
            "UPDATE ttn_connections SET org_api_key_sealed = app_api_key_sealed"
        )
        found = await load_connection(connection, ring, "default", organization, lock=True)
    assert found is not None
    statuses = {name: one.status for name, one in found.secrets.items()}
    assert statuses == {
        "main_key": SecretStatus.DECRYPTED,
        "app_api_key": SecretStatus.DECRYPTED,
        "org_api_key": SecretStatus.FAILED,
        "gateway_api_key": SecretStatus.EMPTY,
        "webhook_secret": SecretStatus.EMPTY,
    }
    assert found.secret("main_key") == "k1"
    assert found.secret("webhook_secret") is None
    with pytest.raises(
        UnreadableSecretError, match="org_api_key_sealed: cannot be decrypted: it was altered"
    ):
        found.secret("org_api_key")
    assert "k1" not in repr(found)


async def test_rotation_seals_everything_anew(pool: Pool, admin: asyncpg.Connection) -> None:
    """In batches, over all tenants and tables; then the new key opens all, and a second run finds nothing."""
    await add_tenant(pool, "acme")
    old, both, new = KeyRing.parse(OLD), KeyRing.parse(f"{NEW},{OLD}"), KeyRing.parse(NEW)
    first = [
        await add_connection(pool, old, main_key=f"k{n}", webhook_secret=f"w{n}") for n in range(5)
    ]
    other = await add_connection(pool, old, tenant="acme", main_key="a")
    done = await add_connection(pool, new, main_key="already")
    await add_line(pool, old, first[0], app_key="00" * 16)
    told: list[int] = []
    report = await rotate(pool, both, batch=2, on_batch=lambda one: told.append(one.resealed))
    assert (report.resealed, report.current, report.unopened) == (12, 1, [])
    assert told == [4, 8, 10, 11, 12] or sorted(told) == told
    assert [await opened(pool, new, one) for one in first] == [
        {"main_key": f"k{n}", "webhook_secret": f"w{n}"} for n in range(5)
    ]
    assert await opened(pool, new, other, "acme") == {"main_key": "a"}
    assert await opened(pool, new, done) == {"main_key": "already"}
    again = await rotate(pool, both)
    assert (again.resealed, again.current, again.unopened) == (0, 13, [])


@pytest.mark.parametrize("table", SEALED_TABLES, ids=lambda one: one.table)
async def test_a_rotation_walks_by_the_tables_own_key(pool: Pool, table: SealedTable) -> None:
    """A batch reads on from the last one, and sorts nothing: a large table is read once, not once a batch."""
    after = {"uuid": str(uuid4()), "integer": "7"}
    asked = ("default", KeyRing.parse(NEW).key_id, 100)
    async with pool.acquire() as connection, tenant_transaction(connection, "default"):
        for first in (True, False):
            key = [] if first else [after[kind] for kind in table.key.values()]
            rows = await connection.fetch(f"EXPLAIN {stale_rows(table, first=first)}", *asked, *key)
            plan = "\n".join(row[0] for row in rows)
            assert f"Index Scan using {table.table}_pkey" in plan, plan
            assert "Sort" not in plan, plan
            condition = next(row[0] for row in rows if "Index Cond" in row[0])
            assert ("ROW(" in condition or " > " in condition) is not first, plan


class Broken(Exception):
    """What breaks a rotation off."""


async def test_a_rotation_that_was_broken_off_goes_on(pool: Pool) -> None:
    """What a batch has done is done; the next run does the rest."""
    old, both, new = KeyRing.parse(OLD), KeyRing.parse(f"{NEW},{OLD}"), KeyRing.parse(NEW)
    made = [await add_connection(pool, old, main_key=f"k{n}") for n in range(4)]

    def break_off(done: Rotated) -> None:
        raise Broken

    with pytest.raises(Broken):
        await rotate(pool, both, batch=3, on_batch=break_off)
    report = await rotate(pool, both)
    assert (report.resealed, report.current) == (1, 3)
    assert [await opened(pool, new, one) for one in made] == [
        {"main_key": f"k{n}"} for n in range(4)
    ]


async def test_what_does_not_open_is_named_and_left(pool: Pool) -> None:
    """A value of a key that is gone is reported with its place, and unchanged: with the key back, it opens."""
    old, new = KeyRing.parse(OLD), KeyRing.parse(NEW)
    lost = await add_connection(pool, old, main_key="k")
    kept = await add_connection(pool, new, main_key="k2")
    report = await rotate(pool, new, batch=1)
    assert (report.resealed, report.current) == (0, 1)
    assert [one.place for one in report.unopened] == [
        Place("default", "ttn_connections", (str(lost),), "main_key_sealed")
    ]
    assert old.key_id.hex() in report.unopened[0].problem
    assert await opened(pool, KeyRing.parse(f"{NEW},{OLD}"), lost) == {"main_key": "k"}
    assert await opened(pool, new, kept) == {"main_key": "k2"}


async def add_line(pool: Pool, ring: KeyRing, organization: UUID, app_key: str) -> None:
    """A line of a batch that waits with its key."""
    batch = uuid4()
    place = Place("default", "ttn_batch_lines", (str(batch), "1"), "app_key_sealed")
    async with pool.acquire() as connection, tenant_transaction(connection, "default"):
        await connection.execute(
            "INSERT INTO ttn_device_batches (tenant_id, batch_id, organization_id, application_id, action,"
            " requested_by) VALUES ('default', $1, $2, 'app', 'register', 'ann')",
            batch,
            organization,
        )
        await connection.execute(
            "INSERT INTO ttn_batch_lines (tenant_id, batch_id, line, device_id, app_key_sealed)"
            " VALUES ('default', $1, 1, 'd1', $2)",
            batch,
            ring.seal(app_key, place),
        )


async def test_the_command_line_rotates(pool: Pool, database: Database) -> None:
    """It needs the keys alone; what stays closed makes it fail and is named, without its value."""
    await add_connection(pool, KeyRing.parse(OLD), main_key="k")

    async def run(keys: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "broker", "secrets", "rotate"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                "PATH": os.environ["PATH"],
                "JOBBROKER_DATABASE_URL": database.url,
                "JOBBROKER_SECRET_KEY": keys,
            },
        )
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode()

    code, said = await run(f"{NEW},{OLD}")
    assert (code, said.splitlines()[-1]) == (0, "1 sealed anew, 0 had the key, 0 failed")
    code, said = await run(OLD)
    assert code == 1
    assert "1 values were not opened by any key" in said
    assert "ttn_connections" in said
