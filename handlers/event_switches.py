"""Which events leave: a tenant's switches (AWS: event configurations)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from handlers.context import Context, Outcome
from schema import events
from schema.device import seconds
from schema.sql import queries

if TYPE_CHECKING:
    from schema.job_commands import GetEventConfigurations, UpdateEventConfigurations

_SQL = queries("plane")
# AWS has the first two; the others are events that AWS lacks.
_SWITCHES: Final = {
    "JOB": events.JOB,
    "JOB_EXECUTION": events.JOB_EXECUTION,
    "JOB_EXECUTION_QUEUED": events.QUEUED,
    "JOB_EXECUTION_IN_PROGRESS": events.IN_PROGRESS,
    "JOB_EXECUTION_PROGRESS": events.PROGRESS,
}


async def get_event_configurations(context: Context, _command: GetEventConfigurations) -> Outcome:
    """The switches, all of them on in a new tenant (AWS: all off)."""
    row = await context.connection.fetchrow(_SQL["get_switches"], context.tenant_id)
    assert row is not None  # noqa: S101 - the tenant was found a moment ago
    return Outcome(
        {
            "eventConfigurations": {
                name: {"Enabled": switch in row["events"]} for name, switch in _SWITCHES.items()
            },
            "creationDate": seconds(row["created_at"]),
            "lastModifiedDate": seconds(row["events_changed_at"] or row["created_at"]),
        }
    )


async def update_event_configurations(
    context: Context, command: UpdateEventConfigurations
) -> Outcome:
    """Turn switches on and off; what happens from the next transaction on obeys them."""
    row = await context.connection.fetchrow(_SQL["lock_switches"], context.tenant_id)
    assert row is not None  # noqa: S101 - as above
    on = set(row["events"])
    for name, said in command.event_configurations.items():
        (on.add if said.enabled else on.discard)(_SWITCHES[name])
    await context.connection.execute(
        _SQL["set_switches"], context.tenant_id, sorted(on), context.now
    )
    return Outcome({}, subject="event-configurations", details={"on": sorted(on)})
