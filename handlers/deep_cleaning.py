"""The command ttn/deep-clean: take all away at The Things Stack, and keep the key that was brought in (seed 001)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from handlers.context import Context, Outcome
from handlers.deprovisioning import Wanted, begin_run
from handlers.stack_guards import require_connection
from schema.errors import Code, Rejected
from schema.secrets import SecretStatus
from schema.things_stack_runs import Action

if TYPE_CHECKING:
    from schema.stack_commands import DeepClean

_NEEDED: Final = ("main_key", "org_api_key", "app_api_key")


async def deep_clean(context: Context, command: DeepClean) -> Outcome:
    """Begin a run that takes the organization's connection down, after which it can be provisioned anew.

    A credential that does not open stops it: what it stands for is there, and would be taken for absent.
    Raises Rejected: InvalidStateTransition for that and while provisioning, else as `begin_run`.
    """
    found = await require_connection(context, command, lock=True)
    failed = [name for name in _NEEDED if found.secrets[name].status is SecretStatus.FAILED]
    if failed:
        raise Rejected(
            Code.INVALID_STATE_TRANSITION,
            f"{', '.join(failed)}: cannot be decrypted: {found.secrets[failed[0]].problem}",
        )
    wanted = Wanted(Action.DEEP_CLEAN, force=command.force, dry_run=command.dry_run)
    return await begin_run(context, found, wanted)
