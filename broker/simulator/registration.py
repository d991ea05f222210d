"""Things for a simulated fleet: registered when missing, each with a new token, and in a group."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from broker.cli.callers import Caller, DatabaseCaller
from broker.cli.outcome import Refused
from handlers.credentials import issue_token
from handlers.database import tenant_transaction
from schema.errors import Code
from schema.limits import MEMBERS_PER_COMMAND

_AT_ONCE: Final = 4


async def register(
    caller: DatabaseCaller, names: Sequence[str], *, group: str | None = None
) -> dict[str, str]:
    """Return a token for each of `names`; those that are no thing yet become one.

    Tokens they had stop working. All are put into `group`, made when missing. Raises Refused.
    """
    tokens: dict[str, str] = {}
    left = iter(names)

    async def work() -> None:
        for name in left:
            tokens[name] = await _token(caller, name)

    async with asyncio.TaskGroup() as workers:
        for _ in range(_AT_ONCE):
            workers.create_task(work())
    if group is not None:
        await join(caller, group, names)
    return tokens


async def _token(caller: DatabaseCaller, name: str) -> str:
    try:
        made = await caller.call("things/create", {"thingName": name, "issueToken": True})
        if "token" in made:
            return str(made["token"])
    except Refused as refused:
        # One with attributes of its own is a thing all the same.
        if refused.code != Code.RESOURCE_ALREADY_EXISTS:
            raise
    async with (
        caller.pool.acquire() as raw,
        tenant_transaction(raw, caller.tenant) as connection,
    ):
        return await issue_token(connection, caller.tenant, name)


async def join(caller: Caller, group: str, names: Sequence[str]) -> None:
    """Put things into a group, made when it is missing. Raises Refused."""
    try:
        await caller.call("groups/create", {"thingGroupName": group})
    except Refused as refused:
        if refused.code != Code.RESOURCE_ALREADY_EXISTS:
            raise
    for start in range(0, len(names), MEMBERS_PER_COMMAND):
        some = list(names[start : start + MEMBERS_PER_COMMAND])
        await caller.call("groups/add", {"thingGroupName": group, "thingNames": some})
