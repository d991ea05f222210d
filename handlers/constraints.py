"""What the database's constraints mean to a peer: driver errors translated once, by the constraint's name."""

from __future__ import annotations

from typing import Final

import asyncpg

from schema.errors import Code, Conflict, Rejected

# Somebody wrote the same key a moment ago: done again, the command finds it and answers by what it finds.
_LOST_RACES: Final = frozenset(
    {
        "jobs_pkey",
        "operator_requests_pkey",
        "principals_pkey",
        "things_pkey",
        "operators_pkey",
        "thing_groups_pkey",
        "executions_pkey",
        "executions_job_fkey",
        "job_templates_pkey",
        "job_targets_job_fkey",
        "job_counts_job_fkey",
        "rollout_chunks_job_fkey",
        "rollout_paces_job_fkey",
        "things_principal_fkey",
        "operators_principal_fkey",
        "ttn_connections_pkey",
    }
)
_FAULTS: Final = {
    "ttn_deprovision_runs_live_idx": Rejected(
        Code.RESOURCE_ALREADY_EXISTS, "a run for the same has not ended; see ttn/runs"
    ),
    "thing_groups_parent_fkey": Rejected(
        Code.INVALID_REQUEST, "thingGroupName: the group has child groups; delete them first"
    ),
    "thing_group_members_group_fkey": Rejected(
        Code.RESOURCE_NOT_FOUND, "the group was deleted a moment ago"
    ),
    "thing_group_members_thing_fkey": Rejected(
        Code.RESOURCE_NOT_FOUND, "one of the things was deleted a moment ago"
    ),
}


def translated(error: asyncpg.IntegrityConstraintViolationError) -> Exception:
    """The Conflict or Rejected that a constraint's violation stands for, or the error itself when the fault is ours."""
    name = error.constraint_name or ""
    if name in _LOST_RACES:
        return Conflict()
    fault = _FAULTS.get(name)
    return error if fault is None else Rejected(fault.code, fault.message)
