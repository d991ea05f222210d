"""One device out of its four registries, and the proof that it is gone (reference/the-things-stack.md 4.1, 6.2, 10).

Application server first, so that traffic stops, then network and join server; the identity server, which alone can list
devices, last and only when the others are done with. Single deletes: a batch says 200 for whatever is not there, and
leaves package associations behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from broker.things_stack.client import ThingsStack
from broker.things_stack.devices import Registry
from broker.things_stack.paging import items_of
from broker.things_stack.places import Place, Places
from broker.things_stack.recording import STATUS_OF, may_heal, quiet, step_of
from handlers.run_ledger import DeviceState, FoundDevice
from schema.things_stack_outcomes import Outcome, Target, Verdict, judge
from schema.things_stack_runs import Step, StepName, StepStatus

_REGIONAL: Final = (
    (Registry.AS, "as", StepName.DELETE_DEVICE_AS, Target.AS_DEVICE),
    (Registry.NS, "ns", StepName.DELETE_DEVICE_NS, Target.NS_DEVICE),
    (Registry.JS, "js", StepName.DELETE_DEVICE_JS, Target.JS_DEVICE),
)
_NO_ROUTE: Final = (404, 501)
_OK, _ERROR, _SKIPPED = StepStatus.OK, StepStatus.ERROR, StepStatus.SKIPPED


@dataclass(slots=True)
class Cleaned:
    """What became of a device: its steps in order, its state, and the refusal of our key if that is what ended it.

    still_in: registries that were asked at the end, and have it. failed_with: the HTTP status of what went wrong first.
    """

    state: DeviceState
    steps: list[Step]
    refused: Outcome | None = None
    still_in: list[str] = field(default_factory=list)
    failed_with: int | None = None


@dataclass(slots=True)
class Cleaning:
    """The cleaning of one device; `carry_out` once."""

    stack: ThingsStack
    places: Places
    application_id: str
    device: FoundDevice
    may_be_claimed: bool = False
    _steps: list[Step] = field(default_factory=list)
    _statuses: dict[str, StepStatus | None] = field(default_factory=dict)
    _elsewhere: dict[Registry, list[Place]] = field(default_factory=dict)
    _problem: str | None = None
    _failed_with: int | None = None
    _still_in: list[str] = field(default_factory=list)
    _may_heal: bool = True
    _refused: Outcome | None = None

    async def carry_out(self) -> Cleaned:
        """Delete the device everywhere and verify that it is gone; never raises for what servers answer."""
        for registry, name, step_name, target in _REGIONAL:
            self._statuses[name] = await self._delete(registry, step_name, target)
            if self._refused is not None:
                return self._ended(_ERROR)
        self._statuses["is"] = None
        if self._is_clear("as", "ns", "js") and await self._unclaimed():
            self._statuses["is"] = await self._delete(
                Registry.IS, StepName.DELETE_DEVICE_IS, Target.IS_DEVICE
            )
        purged = self._is_clear("as", "ns", "js", "is")
        self._steps.append(
            quiet(
                StepName.PURGE_DEVICE,
                _OK if purged else _ERROR,
                "" if purged else "not gone from every registry",
                target=("device", self.device.device_id),
            )
        )
        return self._ended(await self._verify() if purged else self._unverified())

    def _is_clear(self, *names: str) -> bool:
        return all(self._statuses.get(name) in (_OK, _SKIPPED) for name in names)

    def _ended(self, verified: StepStatus) -> Cleaned:
        failed = verified is _ERROR
        state = DeviceState(
            self.device,
            {
                name: _ERROR if status is None else status
                for name, status in {"is": None, **self._statuses}.items()
            },
            verified,
            self._problem if failed else None,
            failed and self._may_heal,
        )
        return Cleaned(state, self._steps, self._refused, self._still_in, self._failed_with)

    async def _delete(self, registry: Registry, name: StepName, target: Target) -> StepStatus:
        places = self.places.of(registry, self.device.hosts)
        found = await self._delete_at(places, registry, name, target)
        if not {_OK, _ERROR} & set(found):
            self._elsewhere[registry] = self.places.elsewhere(registry, places)
            found += await self._delete_at(self._elsewhere[registry], registry, name, target)
        if _ERROR in found:
            return _ERROR
        return _OK if _OK in found else _SKIPPED

    async def _delete_at(
        self, places: list[Place], registry: Registry, name: StepName, target: Target
    ) -> list[StepStatus]:
        found: list[StepStatus] = []
        for place in places:
            outcome = await self.stack.devices.delete(
                registry, place.host, self.application_id, self.device.device_id
            )
            verdict = judge(outcome, target)
            if _says_nothing(place, outcome, verdict):
                continue
            status = STATUS_OF[verdict]
            if place.certain or status is not _SKIPPED:
                self._note(name, outcome, verdict, status)
            found.append(status)
        return found

    def _note(self, name: StepName, outcome: Outcome, verdict: Verdict, status: StepStatus) -> None:
        meta = {"reason": "already_gone"} if status is _SKIPPED else None
        target = ("device", self.device.device_id)
        self._steps.append(step_of(name, outcome, status, target=target, meta=meta))
        if status is _ERROR:
            words = f"{name}: {_words(outcome)}"
            self._fail(words, outcome.status, may_heal=may_heal(outcome, verdict))
        if verdict is Verdict.UNAUTHENTICATED:
            self._refused = outcome

    def _fail(self, problem: str, status: int | None, *, may_heal: bool) -> None:
        if self._problem is None:
            self._problem, self._failed_with = problem, status
        self._may_heal = self._may_heal and may_heal

    async def _unclaimed(self) -> bool:
        """Give a claimed device back before the identity server forgets it (reference 2.8, 9 item 7)."""
        foreign = self.places.foreign_join_hosts(self.device.hosts)
        if not (self.device.is_claimed or self.may_be_claimed or foreign):
            return True
        outcome = await self.stack.devices.unclaim(
            self.places.usual(Registry.JS), self.application_id, self.device.device_id
        )
        verdict = judge(outcome, Target.IS_DEVICE)
        status, reason = STATUS_OF[verdict], "already_gone" if verdict is Verdict.GONE else ""
        if outcome.error.name == "claiming_not_supported":
            status, reason = _SKIPPED, "join_server_cannot_claim"
        elif outcome.status in _NO_ROUTE and not outcome.error.name and not foreign:
            status, reason = _SKIPPED, "no_claiming_server"
        target = ("device", self.device.device_id)
        meta = {"reason": reason} if reason else None
        self._steps.append(
            step_of(StepName.UNCLAIM_DEVICE, outcome, status, target=target, meta=meta)
        )
        if status is _ERROR:
            where = f" of {foreign[0]}" if foreign else ""
            words = f"claim{where}: {_words(outcome)}"
            self._fail(words, outcome.status, may_heal=may_heal(outcome, verdict))
        return status is not _ERROR

    def _unverified(self) -> StepStatus:
        self._steps.append(
            quiet(StepName.VERIFY_DEV_EUI, _ERROR, "not_purged", target=self._verified_target())
        )
        return _ERROR

    def _verified_target(self) -> tuple[str, str | None]:
        if self.device.dev_eui is None:
            return ("device", self.device.device_id)
        return ("dev_eui", self.device.dev_eui)

    async def _verify(self) -> StepStatus:
        """Ask each registry by device id, on the hosts recorded for it, and search the EUI (reference 6.2, 10)."""
        asked: dict[str, object] = {}
        held: Outcome | None = None
        kinds = [*_REGIONAL, (Registry.IS, "is", StepName.VERIFY_DEV_EUI, Target.IS_DEVICE)]
        for registry, name, _, target in kinds:
            places = self.places.of(registry, self.device.hosts)
            for place in [*places, *self._elsewhere.get(registry, ())]:
                outcome = await self.stack.devices.get(
                    registry, place.host, self.application_id, self.device.device_id
                )
                verdict = judge(outcome, target)
                if _says_nothing(place, outcome, verdict):
                    continue
                asked[f"{name} {place.host}"] = outcome.status
                if verdict is not Verdict.GONE:
                    doubt = self._doubt(name, outcome, verdict)
                    held = held or doubt
        held = held or await self._search(asked)
        return self._conclude(held, asked)

    def _doubt(self, name: str, outcome: Outcome, verdict: Verdict) -> Outcome:
        if verdict is Verdict.UNAUTHENTICATED:
            self._refused = outcome
        # Still there: it was registered again meanwhile, and the next round takes it out.
        healing = verdict is Verdict.DONE or may_heal(outcome, verdict)
        words = "still has it" if verdict is Verdict.DONE else _words(outcome)
        if verdict is Verdict.DONE and name in self._statuses:
            self._still_in.append(name)
        self._fail(f"verify_dev_eui: {name}: {words}", outcome.status, may_heal=healing)
        return outcome

    async def _search(self, asked: dict[str, object]) -> Outcome | None:
        """The outcome that leaves a doubt; None when no device of the application has the EUI."""
        eui = self.device.dev_eui
        if eui is None:
            return None
        outcome = await self.stack.devices.search(self.application_id, eui)
        if outcome.status in _NO_ROUTE and not outcome.error.name:
            asked["search"] = "not offered"
            return None
        if not outcome.ok:
            return self._doubt("search", outcome, judge(outcome, Target.IS_DEVICE))
        others = [one for one in items_of(outcome, "end_devices") if _eui_of(one) == eui]
        asked["search"] = len(others)
        return self._doubt("search", outcome, Verdict.DONE) if others else None

    def _conclude(self, held: Outcome | None, asked: dict[str, object]) -> StepStatus:
        eui = self.device.dev_eui
        status = _ERROR if held else _OK if eui else _SKIPPED
        meta: dict[str, object] = {"asked": asked}
        if held is not None:
            meta["reason"] = self._problem
        elif eui is None:
            meta["reason"] = "no_dev_eui"
        target = self._verified_target()
        if held is None:
            step = Step(StepName.VERIFY_DEV_EUI, status, *target, meta=meta)
        else:
            step = step_of(StepName.VERIFY_DEV_EUI, held, status, target=target, meta=meta)
        self._steps.append(step)
        return status


def _says_nothing(place: Place, outcome: Outcome, verdict: Verdict) -> bool:
    """Whether a guessed host is none of this deployment's: it has no such registry, or does not know our key."""
    if place.certain:
        return False
    no_registry = outcome.status in _NO_ROUTE and not outcome.error.name
    return no_registry or verdict is Verdict.UNAUTHENTICATED


def _words(outcome: Outcome) -> str:
    said = outcome.error.name or outcome.failure or "no details"
    return f"{outcome.status or 'no answer'} {said}"


def _eui_of(found: object) -> str | None:
    ids = found.get("ids") if isinstance(found, dict) else None
    eui = ids.get("dev_eui") if isinstance(ids, dict) else None
    return eui.upper() if isinstance(eui, str) else None
