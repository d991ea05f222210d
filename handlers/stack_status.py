"""A connection to The Things Stack as answers show it: where provisioning stands, and what helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from handlers.stack_connections import StackConnection
from schema.device import seconds
from schema.secrets import SecretStatus
from schema.things_stack_connection import ProvisioningStatus, Remedy

if TYPE_CHECKING:
    from datetime import datetime

ATTEMPTS_BEFORE_FRESH: Final = 3
"""Attempts after which another of the same seems no use."""


def subject_of(organization: UUID) -> str:
    """How the audit log names a connection."""
    return f"ttn/{organization}"


def status_body(found: StackConnection) -> dict[str, object]:
    """A connection as an answer shows it: nothing secret, and of the secrets only whether they open."""
    row = found.row
    fresh = _use_start_fresh(found)
    body = {
        "organization_id": str(found.organization_id),
        "organization_name": row["organization_name"],
        "provisioning_status": str(found.status),
        "provisioning_step": row["provisioning_step"],
        "provisioning_error": row["provisioning_error"],
        "provisioning_attempt_count": row["provisioning_attempts"],
        "steps_done": list(row["provisioning_done"]),
        "use_start_fresh": fresh,
        "guidance": _guidance(found, fresh=fresh),
        "ttn_region": row["ttn_region"],
        "identity_host": found.hosts.identity,
        "regional_host": found.hosts.network,
        "ttn_user_id": row["ttn_user_id"],
        "ttn_organization_id": found.ttn_org_id,
        "ttn_application_id": found.application_id,
        "webhook_id": row["webhook_id"],
        "webhook_url": row["webhook_url"],
        "credentials": {name: str(one.status) for name, one in found.secrets.items()},
        "next_try_at": _at(row["next_try_at"]),
        "provisioned_at": _at(row["provisioned_at"]),
        "credentials_changed_at": _at(row["credentials_changed_at"]),
    }
    return {name: value for name, value in body.items() if value is not None}


def _use_start_fresh(found: StackConnection) -> bool:
    if found.status is not ProvisioningStatus.FAILED:
        return False
    row = found.row
    needed = row["provisioning_details"].get("remedy") == Remedy.START_FRESH
    return bool(needed or row["provisioning_attempts"] >= ATTEMPTS_BEFORE_FRESH)


def _guidance(found: StackConnection, *, fresh: bool) -> str | None:
    failed = [name for name, one in found.secrets.items() if one.status is SecretStatus.FAILED]
    if failed:
        return (
            f"{', '.join(failed)}: cannot be decrypted: put the key it was sealed with into JOBBROKER_SECRET_KEY again;"
            " when that is lost, use ttn/credentials/set for what was brought in, ttn/start-fresh for the rest"
        )
    match found.status:
        case ProvisioningStatus.IDLE:
            return "use ttn/provision"
        case ProvisioningStatus.FAILED if fresh:
            return (
                "use ttn/start-fresh, then ttn/provision; ttn/deep-clean where that does not help"
            )
        case ProvisioningStatus.FAILED:
            return "use ttn/provision to go on with what is half-made"
        case _:
            return None


def _at(moment: datetime | None) -> int | None:
    return None if moment is None else seconds(moment)
