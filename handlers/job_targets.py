"""What there is before a job is created: the same one perhaps, its targets, and its things, locked if it may begin."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from schema.arns import Home, Target, parse_target
from schema.commands import CreateJob, CreateSeedJob
from schema.errors import Code, Rejected
from schema.sql import queries

if TYPE_CHECKING:
    import asyncpg

    from handlers.context import Context

# So many executions are made while the operator waits; more of them become background work.
AT_ONCE: Final = 500
# A redelivery follows the reconnection; a like command later than this is meant as another one.
REDELIVERED_WITHIN: Final = timedelta(minutes=15)
_NAMED: Final = 5
_SQL = queries("jobs")


class Locked(NamedTuple):
    """All things of a job, locked, when its targets name no groups; and the clock after that."""

    things: tuple[str, ...]
    now: datetime


class Found(NamedTuple):
    """What there is before a job is created: the same one perhaps, and which of its targets do not exist."""

    existing: asyncpg.Record | None
    targets: tuple[Target, ...]
    missing: tuple[Target, ...] = ()
    locked: Locked | None = None


async def look(
    context: Context, command: CreateJob | CreateSeedJob, digest: bytes, *, lock: bool = False
) -> Found:
    """What there is of the job this command asks for: by its id, or by what a redelivered one without any id says.

    Such a one has no other mark: it is taken for the same operator's job of the same content, if that is not old. lock:
    the things of a job that may begin with them are locked.
    """
    targets = _targets(context.home, command)
    if command.job_id is None and context.duplicate and command.client_token is None:
        recent = (context.tenant_id, context.actor, digest, REDELIVERED_WITHIN)
        row = await context.connection.fetchrow(_SQL["find_recent_job"], *recent)
        if row is not None:
            return Found(row, targets)
    return await _look(context, command.job_id, targets, lock=lock)


async def _look(
    context: Context, job_id: str | None, targets: tuple[Target, ...], *, lock: bool = False
) -> Found:
    things = sorted(target.name for target in targets if target.kind == "thing")
    lock = lock and len(things) == len(targets) <= AT_ONCE
    row = await context.connection.fetchrow(
        _SQL["look_before_create"],
        context.tenant_id,
        job_id,
        [target.kind for target in targets],
        [target.name for target in targets],
        "\n".join(things) if lock else None,
    )
    assert row is not None  # noqa: S101 - it has one, of nulls when there is no job
    missing = tuple(targets[int(place) - 1] for place in row["missing"])
    locked = Locked(tuple(row["thing_names"]), row["now"]) if row["thing_names"] else None
    return Found(None if row["job_id"] is None else row, targets, missing, locked)


def _targets(home: Home, command: CreateJob | CreateSeedJob) -> tuple[Target, ...]:
    if isinstance(command, CreateSeedJob):
        return (_seed_target(home, command),)
    # Two ARNs of one thing, of different accounts say, are one target.
    found = {(one.kind, one.name): one for one in map(parse_target, command.targets)}
    return tuple(found.values())


def _seed_target(home: Home, command: CreateSeedJob) -> Target:
    if command.target_device_id is not None:
        return home.target("thing", command.target_device_id)
    if command.target_group_id is not None:
        return home.target("thinggroup", command.target_group_id)
    return home.target("all", "*")


async def require_targets(context: Context, targets: tuple[Target, ...]) -> None:
    """Pass when all targets exist. Raises Rejected (ResourceNotFound) naming those that do not."""
    require_none((await _look(context, None, targets)).missing)


def require_none(missing: tuple[Target, ...]) -> None:
    """Pass when no targets are missing. Raises Rejected (ResourceNotFound) naming them."""
    if not missing:
        return
    named = ", ".join(f"{one.kind} {one.name!r}" for one in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    verb = "does" if len(missing) == 1 else "do"
    raise Rejected(Code.RESOURCE_NOT_FOUND, f"targets: {named}{more} {verb} not exist")
