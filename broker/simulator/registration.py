"""Things for a simulated fleet: registered when missing, each with a new token, and in a group."""

from __future__ import annotations

from collections.abc import Sequence

from broker.cli.callers import Caller, DatabaseCaller
from broker.cli.outcome import Refused
from handlers.registration import register_things
from schema.errors import Code, Rejected
from schema.limits import MEMBERS_PER_COMMAND
from schema.rights import Role


async def register(
    caller: DatabaseCaller, names: Sequence[str], *, group: str | None = None
) -> dict[str, str]:
    """Return a token for each of `names`; those that are no thing yet become one.

    Tokens they had stop working. All are put into `group`, made when missing. Raises Refused.
    """
    who = (caller.actor_name, str(Role.OWNER))
    try:
        tokens = await register_things(caller.pool, caller.tenant, names, who=who)
    except Rejected as refusal:
        raise Refused(refusal.code, refusal.message) from refusal
    except ValueError as error:
        raise Refused(Code.INVALID_REQUEST, str(error)) from error
    if group is not None:
        await join(caller, group, names)
    return tokens


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
