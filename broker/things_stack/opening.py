"""A run's first two phases: whose key it is, whether the application is there, and every device that is to go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from broker.things_stack.devices import LISTED, Registry
from broker.things_stack.driver import Driver, Stopped, said
from broker.things_stack.found import ADDRESSES, device_of, devices_of, hosts_of
from broker.things_stack.last_call import APPLICATION, ORGANIZATION, went_with_it
from broker.things_stack.paging import Page
from broker.things_stack.recording import STATUS_OF, judged, quiet, step_of
from handlers.run_ledger import Changes, FoundDevice
from schema.things_stack_outcomes import Outcome, Presence, Target, Verdict, judge, read_probe
from schema.things_stack_runs import (
    STATE_STEPS,
    Action,
    Phase,
    Step,
    StepName,
    StepStatus,
)

_LISTINGS_MOST: Final = 3
_OK, _ERROR, _SKIPPED = StepStatus.OK, StepStatus.ERROR, StepStatus.SKIPPED


async def start(driver: Driver) -> None:
    """Ask whose key it is and whether the application exists; both before anything is changed (reference 6.2)."""
    outcome = await driver.stack.accounts.auth_info()
    if await _has_gone_before(driver, outcome):
        return
    await _heard(driver, StepName.AUTH_INFO, outcome, Target.APPLICATION)
    facts = _whose_key(outcome.body)
    if not facts["key_entity"]:
        driver.note(step_of(StepName.AUTH_INFO, outcome, _ERROR, target=("organization", None)))
        await driver.save()
        raise Stopped(f"the key is refused: {said(outcome)}")
    driver.note(step_of(StepName.AUTH_INFO, outcome, _OK, target=("organization", None)))
    if driver.run.application_id is None:
        await _without_application(driver, facts)
        return
    has_application = await _find_application(driver)
    hosts = await _application_hosts(driver) if has_application else {}
    known = driver.run.with_facts(**facts, has_application=has_application, hosts=hosts)
    await driver.save(Changes(phase=Phase.LIST, facts=known))


async def _has_gone_before(driver: Driver, outcome: Outcome) -> bool:
    """Whether an earlier attempt had asked for the deletion that took its key along; then the rest is our own."""
    for kind in (APPLICATION, ORGANIZATION):
        if await went_with_it(driver, kind, outcome):
            meta = {"reason": f"the key in use went with the {kind}"}
            target = (kind, None)
            driver.note(step_of(StepName.AUTH_INFO, outcome, _SKIPPED, target=target, meta=meta))
            await driver.save(Changes(phase=Phase.LIST), has_application=False, is_admin=False)
            return True
    return False


def _whose_key(body: Mapping[str, object]) -> dict[str, object]:
    """What /auth_info tells of our key: whether an admin's, its id, and whose it is as `application:id`, `user:id`."""
    found = body.get("api_key")
    access = found if isinstance(found, dict) else {}
    key = access.get("api_key")
    entities = access.get("entity_ids")
    entity = ""
    for name, ids in (entities if isinstance(entities, dict) else {}).items():
        kind = name.removesuffix("_ids")
        if isinstance(ids, dict):
            entity = f"{kind}:{ids.get(f'{kind}_id', '')}"
    return {
        "is_admin": body.get("is_admin") is True,
        "key_id": str(key.get("id", "")) if isinstance(key, dict) else "",
        "key_entity": entity,
        "last_calls": {},
    }


async def _without_application(driver: Driver, facts: Mapping[str, object]) -> None:
    steps = [
        quiet(name, _SKIPPED, "no_application", target=("application", None))
        for name in (
            StepName.LIST_DEVICES,
            *STATE_STEPS,
            StepName.DELETE_APPLICATION,
            StepName.PURGE_APPLICATION,
        )
    ]
    known = driver.run.with_facts(**facts, has_application=False)
    following = Phase.ORGANIZATION if driver.run.action.takes_organization else Phase.CLEAR
    await driver.save(Changes(steps=steps, phase=following, facts=known), results=steps)


async def _heard(driver: Driver, name: StepName, outcome: Outcome, target: Target) -> Verdict:
    """The verdict on a call that the run cannot do without; what passes is waited for. Raises Stopped, Suspended."""
    verdict = judge(outcome, target)
    if verdict in (Verdict.DONE, Verdict.GONE, Verdict.DENIED):
        return verdict
    driver.note(judged(name, outcome, target, target=("application", driver.run.application_id)))
    if verdict is Verdict.UNAUTHENTICATED:
        await driver.stop_for(outcome)
    if verdict is Verdict.AWAY:
        await driver.later(said(outcome))
    await driver.save()
    raise Stopped(f"{name}: {said(outcome)}")


async def _find_application(driver: Driver) -> bool:
    application = driver.application_id
    outcome = await driver.stack.applications.get(application)
    await _heard(driver, StepName.FIND_APPLICATION, outcome, Target.APPLICATION)
    presence = read_probe(outcome)
    if presence is Presence.UNKNOWN:
        driver.note(
            step_of(StepName.FIND_APPLICATION, outcome, _ERROR, target=("application", application))
        )
        await driver.save()
        raise Stopped(f"find_application: {said(outcome)}")
    is_there = presence is Presence.PRESENT
    driver.note(
        step_of(
            StepName.FIND_APPLICATION,
            outcome,
            _OK if is_there else _SKIPPED,
            target=("application", application),
            meta={} if is_there else {"reason": "absent_or_soft_deleted"},
        )
    )
    return is_there


async def _application_hosts(driver: Driver) -> dict[str, list[str]]:
    """Where the application says its servers are; none when it says nothing, or not to us."""
    outcome = await driver.stack.applications.get(driver.application_id, [*ADDRESSES.values()])
    return hosts_of(outcome.body) if outcome.ok else {}


async def list_devices(driver: Driver) -> None:
    """Find every device: by listing, by our own record, and by what earlier runs left (reference 9, items 2 to 4)."""
    recorded = await driver.recorded()
    of_one = driver.run.action is Action.DEVICE
    if not (driver.has_application or of_one or driver.run.dry_run) and recorded:
        await _bring_back(driver, recorded)
    if of_one:
        step = await _find_one(driver)
        wanted = driver.run.device_id
        recorded = [one for one in recorded if one.device_id == wanted]
    elif driver.has_application:
        step = await _list_all(driver)
    else:
        step = quiet(
            StepName.LIST_DEVICES,
            _SKIPPED,
            "application_gone",
            target=("device", None),
        )
    following = Phase.CLEAR if driver.run.dry_run else Phase.DEVICES
    await driver.save(
        Changes(steps=[step], found=recorded, phase=following), results=[step], tries=0
    )


async def _bring_back(driver: Driver, recorded: Sequence[FoundDevice]) -> None:
    """Devices may be left under an application that is deleted: only with it can they be taken out (9, items 3, 4).

    One that is there after all was brought back before: the answer was lost, or the process that had it.
    """
    application = driver.application_id
    target = ("application", application)
    outcome = await driver.stack.applications.restore(application)
    driver.note(judged(StepName.RESTORE_APPLICATION, outcome, Target.APPLICATION, target=target))
    if not outcome.ok:
        outcome = await _recreate(driver, application)
    if outcome.ok or await driver.presence() is Presence.PRESENT:
        await driver.save(Changes(found=recorded), has_application=True)


async def _recreate(driver: Driver, application: str) -> Outcome:
    applications = driver.stack.applications
    if driver.credentials.ttn_organization_id is not None:
        owner = driver.credentials.ttn_organization_id
        outcome = await applications.create_for_organization(owner, application)
    elif driver.credentials.user_id is not None:
        outcome = await applications.create_for_user(driver.credentials.user_id, application)
    else:
        return Outcome("", failure="no owner is known")
    step = step_of(
        StepName.RECREATE_APPLICATION,
        outcome,
        _OK if outcome.ok else _ERROR,
        target=("application", application),
    )
    driver.note(step)
    return outcome


async def _find_one(driver: Driver) -> Step:
    """One device alone: what the identity server says of it, to know its EUI and its hosts."""
    device_id = driver.run.device_id or ""
    host = driver.credentials.hosts.identity
    outcome = await driver.stack.devices.get(
        Registry.IS, host, driver.application_id, device_id, LISTED
    )
    verdict = await _heard(driver, StepName.LIST_DEVICES, outcome, Target.IS_DEVICE)
    if verdict is Verdict.DENIED and driver.has_application:
        driver.note(step_of(StepName.LIST_DEVICES, outcome, _ERROR, target=("device", device_id)))
        await driver.save()
        raise Stopped(f"list_devices: {said(outcome)}")
    found = device_of(outcome.body) if outcome.ok else None
    # One that is there is not done with, whatever an earlier attempt of the run verified.
    reopened = [device_id] if outcome.ok else []
    await driver.save(Changes(found=[found or FoundDevice(device_id)], reopened=reopened))
    status = STATUS_OF[verdict] if driver.has_application else _SKIPPED
    meta = {} if outcome.ok else {"reason": "not_in_identity_server"}
    return step_of(StepName.LIST_DEVICES, outcome, status, target=("device", device_id), meta=meta)


async def _list_all(driver: Driver) -> Step:
    """All pages, until as many devices came as the server counts; written page by page."""
    for number in range(1, _LISTINGS_MOST + 1):
        count, last = 0, None
        async for page in driver.stack.devices.list(driver.application_id):
            last = page
            if not page.outcome.ok:
                return await _list_failed(driver, page)
            count += len(page.items)
            await _keep_page(driver, page, listing=number)
        total = last.outcome.total if last else None
        if last is not None and total in (None, count):
            return page_step(last, count=count)
        # Devices came or went while we read: offsets shifted, and one may have been passed over.
    await driver.later("the list of devices does not hold still")
    raise Stopped(f"list_devices: {count} devices listed, the server counts {total}")


async def _keep_page(driver: Driver, page: Page, *, listing: int) -> None:
    found = devices_of(page)
    driver.note(page_step(page, count=len(page.items), listing=listing))
    await driver.save(Changes(found=found, reopened=[one.device_id for one in found]))


def page_step(page: Page, *, count: int, listing: int = 0) -> Step:
    """The step of one page; listing 0: of the whole list."""
    meta: dict[str, object] = {"count": count, "total": page.outcome.total}
    meta |= {"page": page.number, "listing": listing} if listing else {"pages": page.number}
    return step_of(StepName.LIST_DEVICES, page.outcome, _OK, target=("device", None), meta=meta)


async def _list_failed(driver: Driver, page: Page) -> Step:
    """Raises Stopped or Suspended, unless the application is gone, and the list with it."""
    await _heard(driver, StepName.LIST_DEVICES, page.outcome, Target.APPLICATION)
    verdict = await driver.judge_about_application(page.outcome, Target.APPLICATION)
    if verdict is Verdict.GONE:
        await driver.save(has_application=False)
        return step_of(
            StepName.LIST_DEVICES,
            page.outcome,
            _SKIPPED,
            target=("device", None),
            meta={"reason": "application_gone"},
        )
    driver.note(step_of(StepName.LIST_DEVICES, page.outcome, _ERROR, target=("device", None)))
    await driver.save()
    raise Stopped(f"list_devices: {said(page.outcome)}")
