"""Tokens and certificates in PostgreSQL: given, checked, taken, and gathered over all tenants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from handlers.credentials import (
    ACCESS_CHANNEL,
    UnknownPrincipalError,
    issue_token,
    list_credentials,
    load_access,
    record_certificate,
    revoke,
    revoke_all,
    verify_token,
)
from handlers.database import Pool, tenant_transaction
from schema.access import Claim, Principal, later_claims, verify_mosquitto_hash
from tests.helpers import PATIENCE

LATER = datetime.now(UTC) + timedelta(days=30)


@pytest.fixture(autouse=True)
async def cast(admin: asyncpg.Connection) -> None:
    """Register thing dev1 and operator ann in the tenants default and acme."""
    await admin.execute("INSERT INTO tenants (tenant_id) VALUES ('acme')")
    for tenant in ("default", "acme"):
        rows = [(tenant, "dev1", "thing"), (tenant, "ann", "operator"), (tenant, "a:b", "thing")]
        await admin.executemany("INSERT INTO principals VALUES ($1, $2, $3)", rows)
        await admin.execute(
            "INSERT INTO operators (tenant_id, operator_name, role) VALUES ($1, 'ann', 'viewer')",
            tenant,
        )


async def give(pool: Pool, tenant: str, name: str) -> str:
    """Give a token in a transaction of its own."""
    async with pool.acquire() as connection, tenant_transaction(connection, tenant) as inside:
        return await issue_token(inside, tenant, name)


async def give_certificate(pool: Pool, tenant: str, name: str, serial: str) -> None:
    """Record a certificate in a transaction of its own."""
    async with pool.acquire() as connection, tenant_transaction(connection, tenant) as inside:
        await record_certificate(
            inside, tenant, name, serial=serial, fingerprint="00", not_after=LATER
        )


async def is_good(pool: Pool, tenant: str, name: str, token: str) -> bool:
    """Tell whether a token is live in a tenant."""
    async with pool.acquire() as connection, tenant_transaction(connection, tenant) as inside:
        return await verify_token(inside, tenant, name, token)


async def test_token_is_good_for_its_name_and_tenant_alone(pool: Pool) -> None:
    """Another name, another tenant and another token are refused; 256 bits are given."""
    token = await give(pool, "default", "dev1")
    assert len(token) == 43
    assert await is_good(pool, "default", "dev1", token)
    assert not await is_good(pool, "default", "ann", token)
    assert not await is_good(pool, "acme", "dev1", token)
    assert not await is_good(pool, "default", "dev1", token[:-1])


async def test_token_itself_is_not_stored(pool: Pool, admin: asyncpg.Connection) -> None:
    """The database holds hashes: nothing in the row is the token, the second verifies it."""
    token = await give(pool, "default", "dev1")
    row = await admin.fetchrow("SELECT credentials::text AS text, mosquitto_hash FROM credentials")
    assert row is not None
    assert token not in row["text"]
    assert verify_mosquitto_hash(token, row["mosquitto_hash"])


async def test_second_token_ends_the_first(pool: Pool) -> None:
    """A name has one live token, also when two are asked for at once."""
    first = await give(pool, "default", "dev1")
    tokens = [first, *await asyncio.gather(*(give(pool, "default", "dev1") for _ in range(5)))]
    good = [token for token in tokens if await is_good(pool, "default", "dev1", token)]
    assert len(good) == 1
    assert first not in good


@pytest.mark.parametrize(
    ("name", "error"),
    [("nobody", UnknownPrincipalError), ("a:b", ValueError), ("a\nb", ValueError)],
)
async def test_who_cannot_have_a_token(
    pool: Pool, admin: asyncpg.Connection, name: str, error: type[Exception]
) -> None:
    """An unknown name, one with a colon and an illegal one are refused and nothing is stored."""
    with pytest.raises(error):
        await give(pool, "default", name)
    assert await admin.fetchval("SELECT count(*) FROM credentials") == 0


async def test_certificates_are_revoked_one_by_one_or_all(pool: Pool) -> None:
    """A serial, a kind or everything; what is taken stays listed with its time."""
    await give(pool, "default", "dev1")
    for serial in ("0a", "0b"):
        await give_certificate(pool, "default", "dev1", serial)
    async with pool.acquire() as connection, tenant_transaction(connection, "default") as inside:
        assert await revoke(inside, "default", "dev1", serial="0a") == 1
        assert await revoke(inside, "default", "dev1", serial="0a") == 0
        assert await revoke(inside, "default", "dev1", kind="token") == 1
        assert await revoke_all(inside, "default", ["dev1", "dev1", "nobody"]) == 1
        shown = await list_credentials(inside, "default", "dev1")
    assert len(shown) == 3
    assert all(one.revoked_at for one in shown)


async def test_changes_are_announced_when_they_commit(
    pool: Pool, admin: asyncpg.Connection
) -> None:
    """Each change sends a notification with its commit, and one that rolls back sends none."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    callback: Callable[..., None] = lambda *_: heard.put_nowait("access")  # noqa: E731 - one line
    await admin.add_listener(ACCESS_CHANNEL, callback)
    with pytest.raises(RuntimeError, match="undone"):
        await _give_and_fail(pool)
    await give(pool, "default", "dev1")
    await asyncio.wait_for(heard.get(), PATIENCE)
    await give_certificate(pool, "default", "dev1", "0a")
    await asyncio.wait_for(heard.get(), PATIENCE)
    assert heard.empty()
    await admin.remove_listener(ACCESS_CHANNEL, callback)


async def _give_and_fail(pool: Pool) -> None:
    async with pool.acquire() as connection, tenant_transaction(connection, "default") as inside:
        await issue_token(inside, "default", "dev1")
        raise RuntimeError("undone")


async def test_snapshot_gathers_all_tenants(pool: Pool, admin: asyncpg.Connection) -> None:
    """Operators always, things with a token, revoked and orphaned certificates, claims."""
    token = await give(pool, "default", "dev1")
    await give_certificate(pool, "acme", "dev1", "0a")
    await give_certificate(pool, "acme", "ann", "0b")
    await give_certificate(pool, "default", "a:b", "0c")
    async with pool.acquire() as connection, tenant_transaction(connection, "acme") as inside:
        await revoke(inside, "acme", "ann")
    await admin.execute("DELETE FROM principals WHERE tenant_id = 'default' AND name = 'a:b'")
    async with pool.acquire() as connection:
        snapshot = await load_access(connection)
    assert snapshot.tenants == ("acme", "default")
    by_name = {(p.tenant_id, p.name): p for p in snapshot.principals}
    assert set(by_name) == {("acme", "ann"), ("default", "ann"), ("default", "dev1")}
    assert by_name["acme", "ann"] == Principal("acme", "ann", "operator", "viewer", None)
    assert verify_mosquitto_hash(token, by_name["default", "dev1"].mosquitto_hash or "")
    assert {(one.tenant_id, one.serial) for one in snapshot.revoked} == {
        ("acme", "0b"),
        ("default", "0c"),
    }
    late = later_claims(snapshot.claims)
    assert [(claim.tenant_id, claim.serial) for claim in late] == [("acme", "0a")]
    assert all(isinstance(claim, Claim) for claim in snapshot.claims)


async def test_one_tenant_needs_no_claims(pool: Pool, admin: asyncpg.Connection) -> None:
    """Where nobody else shares the MQTT server, names are not compared."""
    await admin.execute("DELETE FROM tenants WHERE tenant_id = 'acme'")
    await give(pool, "default", "dev1")
    async with pool.acquire() as connection:
        snapshot = await load_access(connection)
    assert snapshot.tenants == ("default",)
    assert snapshot.claims == ()


async def test_no_token_begins_like_an_option(pool: Pool) -> None:
    """A token goes onto command lines: one that would begin with a dash is drawn again."""
    drawn = iter([b"\xf8" + bytes(31), b"\x01" * 32])  # "+" of base64, which is "-" in URLs

    def random(size: int) -> bytes:
        return next(drawn, bytes(32))[:size]

    async with pool.acquire() as connection, tenant_transaction(connection, "default") as inside:
        token = await issue_token(inside, "default", "dev1", random=random)
    assert token.startswith("AQEB")
