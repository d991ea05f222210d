"""The commands ttn/status, ttn/provision and ttn/start-fresh (seed 001).

They write down what is wanted; `broker.things_stack.provisioning` does it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from handlers.context import Context, Outcome
from handlers.stack_connections import StackConnection, load_connection
from handlers.stack_guards import (
    MADE,
    organization_meant,
    require_connection,
    require_key,
    require_no_run,
    require_same,
    require_settled,
)
from handlers.stack_status import status_body, subject_of
from schema.errors import Code, Rejected
from schema.secrets import SecretStatus
from schema.sql import queries
from schema.things_stack_connection import ProvisioningStatus, Remedy

if TYPE_CHECKING:
    from schema.stack_commands import GetStatus, Provision, StartFresh

_SQL = queries("provisioning")


async def get_status(context: Context, command: GetStatus) -> Outcome:
    """Where provisioning stands; an organization without a connection is idle."""
    organization = await organization_meant(context, command.organization_id)
    found = await load_connection(
        context.connection, context.sealer, context.tenant_id, organization
    )
    if found is None:
        return Outcome(
            {
                "organization_id": str(organization),
                "provisioning_status": ProvisioningStatus.IDLE,
                "provisioning_attempt_count": 0,
                "use_start_fresh": False,
                "guidance": "bring a key in with ttn/credentials/set, then ttn/provision",
            }
        )
    return Outcome(status_body(found))


async def provision(context: Context, command: Provision) -> Outcome:
    """Begin to make what is missing, or go on with what is half-made; one that is under way stays as it is.

    Raises Rejected: ResourceNotFound without a connection; InvalidStateTransition when its key does not open, or when
    only ttn/start-fresh helps; InvalidRequest for other ids than those in use.
    """
    found = await require_connection(context, command, lock=True)
    if found.status is ProvisioningStatus.PROVISIONING:
        return Outcome(status_body(found))
    require_key(found)
    await require_no_run(context, found)
    if found.row["provisioning_details"].get("remedy") == Remedy.START_FRESH:
        raise Rejected(
            Code.INVALID_STATE_TRANSITION,
            f"another attempt cannot succeed: {found.row['provisioning_error']}; use ttn/start-fresh",
        )
    require_same(found, "ttn_application_id", command.application_id)
    require_same(found, "ttn_org_id", command.ttn_organization_id)
    if command.owner not in (None, found.row["owner_kind"]) and MADE & set(
        found.row["provisioning_done"]
    ):
        raise Rejected(
            Code.INVALID_STATE_TRANSITION,
            f"owner: what was made belongs to the {found.row['owner_kind']}; use ttn/deep-clean first",
        )
    wanted = _wanted(found, command)
    await context.connection.execute(
        _SQL["begin_provisioning"],
        context.tenant_id,
        found.organization_id,
        command.owner,
        command.organization_name,
        command.ttn_organization_id,
        command.application_id,
        command.webhook_url,
        json.dumps(wanted),
        context.actor,
    )
    now = await require_connection(context, command)
    return Outcome(
        status_body(now),
        subject=subject_of(found.organization_id),
        details={"attempt": now.row["provisioning_attempts"], **wanted},
    )


async def start_fresh(context: Context, command: StartFresh) -> Outcome:
    """Forget the credentials that were made, and give up ids that are taken; the key that was brought in stays.

    Also those that do not open: that is what it is for when their key is lost. What is at the server stays there, and
    is found again by its mark, or taken away by ttn/deep-clean.
    Raises Rejected: ResourceNotFound without a connection, InvalidStateTransition while provisioning.
    """
    found = await require_connection(context, command, lock=True)
    require_settled(found)
    details = found.row["provisioning_details"]
    taken = [str(one) for one in details.get("taken", [])]
    keep = [None if one in taken else one for one in (found.application_id, found.ttn_org_id)]
    await context.connection.execute(
        _SQL["start_fresh"], context.tenant_id, found.organization_id, taken, *keep
    )
    now = await require_connection(context, command)
    cleared = [name for name, one in found.secrets.items() if one.status is not SecretStatus.EMPTY]
    return Outcome(
        {**status_body(now), "abandoned_ids": list(now.row["abandoned_ids"])},
        subject=subject_of(found.organization_id),
        details={"cleared": [name for name in cleared if name != "main_key"], "abandoned": taken},
    )


def _wanted(found: StackConnection, command: Provision) -> dict[str, object]:
    """What is asked for now and was before: a later attempt need not say it again."""
    before: dict[str, object] = found.row["provisioning_wanted"]
    return before if command.gateway_key is None else {**before, "gateway_key": command.gateway_key}
