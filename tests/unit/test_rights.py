"""Who may do what, cell by cell."""

from __future__ import annotations

import pytest

from schema.decode import _MODELS, CREATING
from schema.errors import Code, Rejected
from schema.rights import LEAST_ROLE, READS, Role, require, require_grant
from schema.topics import _FLAT_VERBS

_JOBS = (
    "ttn/credentials/get",
    "jobs/create",
    "jobs/preview",
    "jobs/cancel",
    "jobs/delete",
    "jobs/associate",
    "jobs/update",
    "jobs/pause",
    "jobs/resume",
    "jobs/approve",
    "jobs/deny",
    "jobs/start-next-stage",
    "jobs/retry-failed",
    "failures/retry",
    "jobs/executions/cancel",
    "jobs/executions/delete",
    "tags/add",
    "tags/remove",
    "templates/create",
    "templates/delete",
)
_READS = (
    "ttn/status",
    "ttn/connections",
    "ttn/devices/list",
    "ttn/devices/batch",
    "jobs/list",
    "jobs/get",
    "jobs/counts",
    "failures/list",
    "jobs/progress",
    "credentials/list",
    "operators/whoami",
    "jobs/executions/get",
    "things/executions",
    "event-configurations/get",
    "approval/get",
    "tags/list",
    "templates/list",
    "templates/get",
    "managed-templates/list",
    "managed-templates/get",
    "things/list",
    "things/get",
    "things/search",
    "groups/get",
    "groups/list",
    "groups/members",
    "operators/list",
    "tokens/list",
    "ttn/runs/list",
    "ttn/runs/get",
    "events/follow",
)
_MANAGES = (
    "ttn/credentials/set",
    "ttn/provision",
    "ttn/start-fresh",
    "ttn/deep-clean",
    "ttn/devices/register",
    "ttn/devices/remove",
    "event-configurations/update",
    "approval/update",
    "things/create",
    "things/update",
    "things/delete",
    "credentials/issue",
    "credentials/revoke",
    "groups/create",
    "groups/update",
    "groups/add",
    "groups/remove",
    "groups/delete",
    "operators/create",
    "operators/delete",
    "tokens/create",
    "tokens/revoke",
    "audit/list",
    "system/get",
    "ttn/deprovision",
    "ttn/runs/cancel",
    "ttn/runs/resume",
)
_ALLOWED = {
    Role.VIEWER: {*_READS},
    Role.MANAGER: {*_READS, *_JOBS},
    Role.ADMIN: {*_READS, *_JOBS, *_MANAGES},
    Role.OWNER: {*_READS, *_JOBS, *_MANAGES},
}


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("verb", sorted(LEAST_ROLE))
def test_each_cell(role: Role, verb: str) -> None:
    """A role may do exactly what is written here; a refusal names the role that is needed and the one held."""
    if verb in _ALLOWED[role]:
        require(role, verb)
        return
    with pytest.raises(Rejected, match=f"needs the role {LEAST_ROLE[verb]}.*yours is {role}") as it:
        require(role, verb)
    assert it.value.code is Code.UNAUTHORIZED


def test_every_command_has_a_least_role() -> None:
    """A command added to the topics or to the decoder cannot be forgotten in the table."""
    assert set(LEAST_ROLE) >= _FLAT_VERBS
    assert set(LEAST_ROLE) == {*_MODELS, *CREATING, "events/follow"}


def test_reads_are_what_a_viewer_may_with_the_audit_log_and_previews() -> None:
    """Exactly the commands that change nothing pass without an audit line."""
    assert {*_READS, "audit/list", "system/get", "jobs/preview"} - {"events/follow"} == READS


@pytest.mark.parametrize(
    ("role", "granted", "allowed"),
    [
        (Role.OWNER, Role.OWNER, True),
        (Role.OWNER, Role.ADMIN, True),
        (Role.OWNER, Role.VIEWER, True),
        (Role.ADMIN, Role.OWNER, False),
        (Role.ADMIN, Role.ADMIN, False),
        (Role.ADMIN, Role.MANAGER, True),
        (Role.ADMIN, Role.VIEWER, True),
        (Role.MANAGER, Role.VIEWER, False),
        (Role.VIEWER, Role.VIEWER, False),
    ],
)
def test_who_may_grant(role: Role, granted: Role, *, allowed: bool) -> None:
    """Owners and admins are made and removed by owners only, the rest by admins too."""
    if allowed:
        require_grant(role, granted)
        return
    with pytest.raises(Rejected, match="needs the role"):
        require_grant(role, granted)
