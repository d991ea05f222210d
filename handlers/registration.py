"""Many things with tokens at once: what a simulated fleet, or the first delivery of real devices, is registered by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from handlers import audit
from handlers.credentials import issue_token
from handlers.database import tenant_transaction
from handlers.things import create_things

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handlers.database import Pool

# A transaction each: the MQTT server's files are written again once for all of it.
CHUNK: Final = 250


async def register_things(
    pool: Pool, tenant_id: str, names: Sequence[str], *, who: tuple[str, str]
) -> dict[str, str]:
    """Register things that are missing and give each a new token; returns the tokens, by name.

    Tokens that they had stop working. who is the actor's name and role, for the audit log, which has a line for each
    250 of them. Raises Rejected (ResourceAlreadyExists) for an operator's name, ValueError for one that no token can
    be for; the chunks before it are done.
    """
    tokens: dict[str, str] = {}
    for start in range(0, len(names), CHUNK):
        chunk = list(names[start : start + CHUNK])
        async with pool.acquire() as raw, tenant_transaction(raw, tenant_id) as connection:
            created = await create_things(connection, tenant_id, chunk)
            for name in chunk:
                tokens[name] = await issue_token(connection, tenant_id, name)
            await audit.record(
                connection,
                tenant_id,
                who=who,
                action="things/register",
                subject=f"thing/{chunk[0]}",
                details={"last": chunk[-1], "things": len(chunk), "created": created},
            )
    return tokens
