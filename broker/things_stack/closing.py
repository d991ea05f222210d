"""A run's last phases at the server: the application, and the organization."""

from __future__ import annotations

from typing import Final, NamedTuple

from broker.things_stack.driver import Driver, Stopped, said
from broker.things_stack.found import devices_of
from broker.things_stack.last_call import APPLICATION, ORGANIZATION, announce, went_with_it
from broker.things_stack.opening import page_step
from broker.things_stack.own_keys import delete_all_keys
from broker.things_stack.paging import Page
from broker.things_stack.recording import STATUS_OF, quiet, step_of
from handlers.run_ledger import Changes
from schema.things_stack_outcomes import (
    Outcome,
    Presence,
    Target,
    Verdict,
    has_devices,
    judge,
    judge_denied,
    needs_admin,
    read_probe,
)
from schema.things_stack_runs import (
    Phase,
    Step,
    StepName,
    StepStatus,
)

_RELISTS_MOST: Final = 5
_REFUSALS_MOST: Final = 3
_OK, _ERROR, _SKIPPED = StepStatus.OK, StepStatus.ERROR, StepStatus.SKIPPED
_GOOD: Final = (_OK, _SKIPPED)


async def close_application(driver: Driver) -> None:
    """List once more, delete, and purge where an admin's key is at work (reference 6.2 step 8 and 9)."""
    if not _is_done(driver, StepName.DELETE_APPLICATION):
        step = await _delete_application(driver)
        if step is None:
            return
        await driver.save(Changes(steps=[step]), results=[step])
        if step.status is _ERROR:
            await driver.save(Changes(phase=Phase.CLEAR))
            return
    purge = driver.stack.applications.purge
    target = ("application", driver.application_id)
    outcome = await purge(driver.application_id) if driver.run.facts.get("is_admin") else None
    step = await _purged(driver, StepName.PURGE_APPLICATION, outcome, target)
    following = Phase.ORGANIZATION if driver.run.action.takes_organization else Phase.CLEAR
    await driver.save(Changes(steps=[step], phase=following), results=[step])


def _is_done(driver: Driver, name: StepName) -> bool:
    found = driver.result(name)
    return found is not None and found.status in _GOOD


async def _delete_application(driver: Driver) -> Step | None:
    """How the deletion ended; None when devices were found, which are seen to first."""
    application = driver.application_id
    target = ("application", application)
    if not driver.has_application:
        return quiet(StepName.DELETE_APPLICATION, _SKIPPED, "application_gone", target=target)
    found = await _new_devices(driver)
    if found.key_went:
        return _went(driver, found.outcome)
    if found.are_there:
        return None
    await announce(driver, APPLICATION)
    outcome = await driver.stack.applications.delete(application)
    if has_devices(outcome):
        await _again(driver, outcome)
        return None
    if await went_with_it(driver, APPLICATION, outcome):
        return _went(driver, outcome)
    verdict = await driver.judge_about_application(outcome, Target.APPLICATION)
    if verdict is Verdict.AWAY:
        driver.note(step_of(StepName.DELETE_APPLICATION, outcome, _ERROR, target=target))
        await driver.later(said(outcome))
    meta = {"reason": "already_gone"} if verdict is Verdict.GONE else {}
    return step_of(
        StepName.DELETE_APPLICATION, outcome, STATUS_OF[verdict], target=target, meta=meta
    )


def _went(driver: Driver, outcome: Outcome) -> Step:
    target = ("application", driver.application_id)
    meta = {"reason": "the key in use went with the application"}
    return step_of(StepName.DELETE_APPLICATION, outcome, _SKIPPED, target=target, meta=meta)


class _Relisted(NamedTuple):
    """What listing once more came to: devices that are new; or, with its answer, that our key went at the last try."""

    are_there: bool
    key_went: bool
    outcome: Outcome


async def _new_devices(driver: Driver) -> _Relisted:
    """Devices may have come since the list; they are seen to before the application goes (9, item 8)."""
    outcome = Outcome("")
    async for page in driver.stack.devices.list(driver.application_id):
        outcome = page.outcome
        if not outcome.ok:
            key_went = await went_with_it(driver, APPLICATION, outcome)
            if not key_went:
                await _relist_failed(driver, page)
            return _Relisted(are_there=False, key_went=key_went, outcome=outcome)
        if page.items:
            await _see_to(driver, page)
            return _Relisted(are_there=True, key_went=False, outcome=outcome)
    return _Relisted(are_there=False, key_went=False, outcome=outcome)


async def _relist_failed(driver: Driver, page: Page) -> None:
    """Passes when the application is gone; else raises Stopped or Suspended."""
    verdict = await driver.judge_about_application(page.outcome, Target.APPLICATION)
    if verdict is Verdict.GONE:
        return
    driver.note(step_of(StepName.LIST_DEVICES, page.outcome, _ERROR, target=("device", None)))
    if verdict is Verdict.AWAY:
        await driver.later(said(page.outcome))
    await driver.save()
    raise Stopped(f"list_devices: {said(page.outcome)}")


async def _see_to(driver: Driver, page: Page) -> None:
    relists = int(driver.run.facts.get("relists", 0))
    if relists >= _RELISTS_MOST:
        raise Stopped("delete_application: devices are registered faster than they are deleted")
    found = devices_of(page)
    await driver.save(
        Changes(
            steps=[page_step(page, count=len(page.items), listing=relists + 2)],
            found=found,
            reopened=[one.device_id for one in found],
            phase=Phase.DEVICES,
        ),
        relists=relists + 1,
    )


async def _again(driver: Driver, outcome: Outcome) -> None:
    """The server says that devices are left, though the list was empty: list again, some times."""
    target = ("application", driver.application_id)
    driver.note(step_of(StepName.DELETE_APPLICATION, outcome, _ERROR, target=target))
    refusals = int(driver.run.facts.get("refusals", 0))
    if refusals >= _REFUSALS_MOST:
        await driver.save()
        raise Stopped(f"delete_application: {said(outcome)}")
    await driver.save(refusals=refusals + 1)


async def _purged(
    driver: Driver, name: StepName, outcome: Outcome | None, target: tuple[str, str | None]
) -> Step:
    """How a purge ended; outcome None: only an admin's key may, and ours is none (reference 4.2)."""
    if outcome is None or needs_admin(outcome):
        if outcome is None:
            return quiet(name, _SKIPPED, "not_permitted", target=target)
        meta = {"reason": "not_permitted"}
        return step_of(name, outcome, _SKIPPED, target=target, meta=meta)
    verdict = judge(outcome, Target.PURGE)
    if verdict is Verdict.AWAY:
        driver.note(step_of(name, outcome, _ERROR, target=target))
        await driver.later(said(outcome))
    meta = {"reason": "already_gone"} if verdict is Verdict.GONE else {}
    return step_of(name, outcome, STATUS_OF[verdict], target=target, meta=meta)


async def close_organization(driver: Driver) -> None:
    """The organization, when nothing else is in it: the server itself would not look (reference 4.3, 9 item 18)."""
    organization = driver.run.ttn_org_id
    if organization is None:
        steps = [
            quiet(name, _SKIPPED, "no_organization", target=("organization", None))
            for name in (StepName.DELETE_ORGANIZATION, StepName.PURGE_ORGANIZATION)
        ]
        await driver.save(Changes(steps=steps, phase=Phase.CLEAR), results=steps)
        return
    target = ("organization", organization)
    if not _is_done(driver, StepName.DELETE_ORGANIZATION):
        step = await _delete_organization(driver, organization)
        await driver.save(Changes(steps=[step]), results=[step])
        if step.status is _ERROR:
            await driver.save(Changes(phase=Phase.CLEAR))
            return
    purge = driver.stack.organizations.purge
    outcome = await purge(organization) if driver.run.facts.get("is_admin") else None
    step = await _purged(driver, StepName.PURGE_ORGANIZATION, outcome, target)
    await driver.save(Changes(steps=[step], phase=Phase.CLEAR), results=[step])


async def _delete_organization(driver: Driver, organization: str) -> Step:
    target = ("organization", organization)
    organizations = driver.stack.organizations
    for what, pages in (
        ("application", organizations.applications(organization)),
        ("gateway", organizations.gateways(organization)),
    ):
        async for page in pages:
            if what == "gateway" and _may_not_look(page.outcome):
                break
            if not page.outcome.ok:
                return await _organization_step(driver, page.outcome, target)
            others = [name for one in page.items if (name := _id_of(one, what))]
            if others:
                reason = f"{what}s_left: {', '.join(others[:10])}"
                return quiet(StepName.DELETE_ORGANIZATION, _ERROR, reason, target=target)
    keys = organizations.keys(organization)
    await delete_all_keys(driver, StepName.DELETE_ORGANIZATION_KEYS, keys, target)
    await announce(driver, ORGANIZATION)
    return await _organization_step(driver, await organizations.delete(organization), target)


def _may_not_look(outcome: Outcome) -> bool:
    """A key that may take all else away need not be allowed to list gateways (reference 6.1)."""
    return outcome.error.name == "insufficient_organization_rights"


def _id_of(item: object, what: str) -> str:
    ids = item.get("ids") if isinstance(item, dict) else None
    return str(ids.get(f"{what}_id", "")) if isinstance(ids, dict) else ""


async def _organization_step(
    driver: Driver, outcome: Outcome, target: tuple[str, str | None]
) -> Step:
    verdict = judge(outcome, Target.ORGANIZATION)
    name = StepName.DELETE_ORGANIZATION
    if await went_with_it(driver, ORGANIZATION, outcome):
        meta = {"reason": "the key in use went with the organization"}
        return step_of(name, outcome, _SKIPPED, target=target, meta=meta)
    if verdict is Verdict.UNAUTHENTICATED:
        driver.note(step_of(name, outcome, _ERROR, target=target))
        await driver.stop_for(outcome)
    if verdict is Verdict.DENIED:
        probe = await driver.stack.organizations.get(driver.run.ttn_org_id or "")
        presence: Presence = read_probe(probe, Target.ORGANIZATION)
        verdict = judge_denied(outcome, presence)
    if verdict is Verdict.AWAY:
        driver.note(step_of(name, outcome, _ERROR, target=target))
        await driver.later(said(outcome))
    meta = {"reason": "already_gone"} if verdict is Verdict.GONE else {}
    return step_of(name, outcome, STATUS_OF[verdict], target=target, meta=meta)
