"""The login that serves: made by the owner of the tables, with no right but to act as jobbroker_serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers.database import SERVING_ROLE

if TYPE_CHECKING:
    from handlers.database import Connection


async def ensure_serving_login(
    connection: Connection, name: str, password: str | None, *, renew: bool = False
) -> bool:
    """Make the login `name` if there is none, and let it act as the serving role; return whether it is new.

    The password of a login that exists is left alone, unless `renew`. The connection's role must be able to create
    roles; the statements carry the password, so that it is in the server's log where that logs statements.
    """
    known = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", name)
    if not known or renew:
        word = "ALTER" if known else "CREATE"
        # PostgreSQL takes no parameters in these statements; its own quoting makes them.
        statement = await connection.fetchval(
            "SELECT format($1, $2::text, $3::text)",
            f"{word} ROLE %I LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD %L",
            name,
            password,
        )
        await connection.execute(statement)
    grant = await connection.fetchval(
        "SELECT format('GRANT %I TO %I', $1::text, $2::text)", SERVING_ROLE, name
    )
    await connection.execute(grant)
    return not known
