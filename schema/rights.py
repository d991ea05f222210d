"""Who may do what: the roles, their order, and one table from each command to the least role it takes.

A viewer reads; a manager also creates, cancels and deletes jobs and their templates; an admin also manages things,
groups, operators and their tokens, sets up The Things Stack and takes resources out of it, reads the audit log, and
sees what was refused (processes and database, which are no tenant's: admins of the tenant `default`). A manager may see
the credentials for The Things Stack, each time on record. No one hands out more than they hold: an admin makes and
removes managers and viewers, only an owner makes and removes owners and admins.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from schema.errors import Code, Rejected


class Role(StrEnum):
    """An operator's role in a tenant, the strongest first."""

    OWNER = "owner"
    ADMIN = "admin"
    MANAGER = "manager"
    VIEWER = "viewer"

    def covers(self, needed: Role) -> bool:
        """Whether this role may do what `needed` may do."""
        ranks = list(Role)
        return ranks.index(self) <= ranks.index(needed)


LEAST_ROLE: Final = {
    "jobs/create": Role.MANAGER,
    "jobs/preview": Role.MANAGER,
    "jobs/list": Role.VIEWER,
    "jobs/get": Role.VIEWER,
    "jobs/counts": Role.VIEWER,
    "jobs/progress": Role.VIEWER,
    "jobs/cancel": Role.MANAGER,
    "jobs/delete": Role.MANAGER,
    "jobs/associate": Role.MANAGER,
    "jobs/update": Role.MANAGER,
    "jobs/pause": Role.MANAGER,
    "jobs/resume": Role.MANAGER,
    "jobs/approve": Role.MANAGER,
    "jobs/deny": Role.MANAGER,
    "jobs/start-next-stage": Role.MANAGER,
    "jobs/retry-failed": Role.MANAGER,
    "failures/list": Role.VIEWER,
    "failures/retry": Role.MANAGER,
    "jobs/executions/get": Role.VIEWER,
    "jobs/executions/cancel": Role.MANAGER,
    "jobs/executions/delete": Role.MANAGER,
    "things/executions": Role.VIEWER,
    "event-configurations/get": Role.VIEWER,
    "event-configurations/update": Role.ADMIN,
    "approval/get": Role.VIEWER,
    "approval/update": Role.ADMIN,
    "tags/add": Role.MANAGER,
    "tags/remove": Role.MANAGER,
    "tags/list": Role.VIEWER,
    "templates/create": Role.MANAGER,
    "templates/list": Role.VIEWER,
    "templates/get": Role.VIEWER,
    "templates/delete": Role.MANAGER,
    "managed-templates/list": Role.VIEWER,
    "managed-templates/get": Role.VIEWER,
    "things/create": Role.ADMIN,
    "things/list": Role.VIEWER,
    "things/get": Role.VIEWER,
    "things/search": Role.VIEWER,
    "things/update": Role.ADMIN,
    "things/delete": Role.ADMIN,
    "credentials/list": Role.VIEWER,
    "credentials/issue": Role.ADMIN,
    "credentials/revoke": Role.ADMIN,
    "groups/create": Role.ADMIN,
    "groups/get": Role.VIEWER,
    "groups/update": Role.ADMIN,
    "groups/list": Role.VIEWER,
    "groups/members": Role.VIEWER,
    "groups/add": Role.ADMIN,
    "groups/remove": Role.ADMIN,
    "groups/delete": Role.ADMIN,
    "operators/create": Role.ADMIN,
    "operators/list": Role.VIEWER,
    "operators/delete": Role.ADMIN,
    "operators/whoami": Role.VIEWER,
    "tokens/create": Role.ADMIN,
    "tokens/list": Role.VIEWER,
    "tokens/revoke": Role.ADMIN,
    "audit/list": Role.ADMIN,
    "system/get": Role.ADMIN,
    "events/follow": Role.VIEWER,  # no command: a stream over HTTP; over MQTT the access rules say who hears what
    "ttn/status": Role.VIEWER,
    "ttn/connections": Role.VIEWER,
    "ttn/credentials/get": Role.MANAGER,
    "ttn/credentials/set": Role.ADMIN,
    "ttn/provision": Role.ADMIN,
    "ttn/start-fresh": Role.ADMIN,
    "ttn/deep-clean": Role.ADMIN,
    "ttn/devices/register": Role.ADMIN,
    "ttn/devices/remove": Role.ADMIN,
    "ttn/devices/list": Role.VIEWER,
    "ttn/devices/batch": Role.VIEWER,
    "ttn/deprovision": Role.ADMIN,
    "ttn/runs/list": Role.VIEWER,
    "ttn/runs/get": Role.VIEWER,
    "ttn/runs/cancel": Role.ADMIN,
    "ttn/runs/resume": Role.ADMIN,
}
# What changes nothing: neither remembered nor written down. A preview has a document read from where its source says.
READS: Final = frozenset(
    {
        "audit/list",
        "system/get",
        "jobs/preview",
        *(verb for verb, role in LEAST_ROLE.items() if role is Role.VIEWER),
    }
) - {"events/follow"}
# What changes nothing and is written down each time: its answer is made anew and never kept.
WATCHED_READS: Final = frozenset({"ttn/credentials/get"})


def require(role: Role, verb: str) -> None:
    """Pass when the role covers the command. Raises Rejected (Unauthorized) naming the role needed."""
    needed = LEAST_ROLE[verb]
    if not role.covers(needed):
        raise Rejected(
            Code.UNAUTHORIZED, f"{verb}: needs the role {needed} or above; yours is {role}"
        )


def require_grant(role: Role, granted: Role) -> None:
    """Pass when a holder of `role` may give or take `granted`.

    Raises Rejected (Unauthorized) naming the role needed: owner for owners and admins, admin for the rest.
    """
    needed = Role.OWNER if granted.covers(Role.ADMIN) else Role.ADMIN
    if not role.covers(needed):
        raise Rejected(
            Code.UNAUTHORIZED,
            f"role: to give or take {granted} needs the role {needed}; yours is {role}",
        )
