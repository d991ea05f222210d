"""One device out of all four registries, as runs take it out: wherever it may be, claims given back, and verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.things_stack.claims import Claims
from broker.things_stack.cleaning import Cleaned, Cleaning
from broker.things_stack.device_lines import LineFailed, LineWork
from broker.things_stack.devices import LISTED, Registry
from broker.things_stack.found import device_of
from broker.things_stack.places import Places
from handlers.run_ledger import FoundDevice
from schema.things_stack_outcomes import Target, is_gone
from schema.things_stack_runs import StepStatus

if TYPE_CHECKING:
    from handlers.stack_connections import RecordedDevice

_FORBIDDEN: Final = 403


@dataclass(slots=True)
class DeviceRemoval(LineWork):
    """A line that removes a device; `carry_out` once."""

    places: Places
    claims: Claims

    async def carry_out(self) -> None:
        """Take it out. Raises LineFailed, also when a host that nobody recorded may still have it."""
        known = await self.batch.recorded(self.device_id)
        self.has = list(known.registered_in) if known is not None else []
        if known is not None:
            await self.batch.state(self.device_id, "removing", self.has)
        listed = await self._listed()
        device = _both(self.device_id, known, listed)
        claimable = await self.claims.are_taken(device.join_eui, self.places.usual(Registry.JS))
        cleaned = await Cleaning(
            self.stack, self.places, self.application, device, claimable
        ).carry_out()
        thought = [*self.has, *(["is"] if listed is not None and "is" not in self.has else [])]
        self.has = [name for name in thought if cleaned.state.statuses[name] is StepStatus.ERROR]
        self.has += [name for name in cleaned.still_in if name not in self.has]
        if cleaned.state.verified is StepStatus.ERROR:
            raise self._why(cleaned)

    async def _listed(self) -> FoundDevice | None:
        """The device as the identity server has it; None when it has none."""
        host = self.places.usual(Registry.IS)
        where = (Registry.IS, host, self.application, self.device_id)
        outcome = await self.stack.devices.get(*where, LISTED)
        if outcome.ok:
            return device_of(outcome.body)
        if is_gone(outcome, Target.IS_DEVICE):
            return None
        raise self.failed("is", outcome)

    def _why(self, cleaned: Cleaned) -> LineFailed:
        # Once rights have settled, a refusal stays one: the batch must not wait for it.
        final = cleaned.failed_with == _FORBIDDEN and not self.fresh_rights
        return LineFailed(
            cleaned.state.problem or "not gone from every registry",
            cleaned.failed_with,
            may_heal=cleaned.state.may_heal and not final,
            stops=cleaned.refused is not None,
        )


def _both(device_id: str, known: RecordedDevice | None, listed: FoundDevice | None) -> FoundDevice:
    """A device with all that our record and the identity server say of it."""
    ours: dict[str, str | None] = dict.fromkeys(("ns", "as", "js"))
    if known is not None:
        ours = {"ns": known.network_host, "as": known.application_host, "js": known.join_host}
    theirs = listed.hosts if listed is not None else {}
    hosts: dict[str, Sequence[str]] = {
        name: list(dict.fromkeys([*([host] if host else []), *theirs.get(name, ())]))
        for name, host in ours.items()
    }
    first = listed or FoundDevice(device_id)
    return FoundDevice(
        device_id,
        first.dev_eui or (known.dev_eui if known else None),
        first.join_eui or (known.join_eui if known else None),
        {name: said for name, said in hosts.items() if said},
        first.is_claimed,
    )
