"""A run's devices, and what an application leaves on application and join servers beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from broker.things_stack.cleaning import Cleaned, Cleaning
from broker.things_stack.devices import Registry
from broker.things_stack.driver import Driver, Suspended
from broker.things_stack.leftovers import OnHost, read_deletion, state_of
from broker.things_stack.own_keys import delete_all_keys
from broker.things_stack.recording import may_heal, quiet, step_of
from broker.things_stack.together import together
from handlers import run_ledger
from handlers.run_ledger import Changes
from schema.things_stack_outcomes import Outcome, Target, Verdict, judge
from schema.things_stack_runs import STATE_STEPS, Phase, Step, StepName, StepStatus

_OK, _ERROR, _SKIPPED = StepStatus.OK, StepStatus.ERROR, StepStatus.SKIPPED
_LISTINGS_MOST: Final = 20
_NO_ROUTE: Final = (404, 501)


async def clean_devices(driver: Driver) -> None:
    """Take the next devices out, some at a time; after the last one, go on or try again those that time may heal."""
    batch = await run_ledger.next_devices(driver.pool, driver.run, most=2 * driver.concurrency)
    if not batch:
        await _after_devices(driver)
        return
    places = await driver.places()
    join = places.usual(Registry.JS)
    claimable = {one.join_eui: await driver.claims.are_taken(one.join_eui, join) for one in batch}
    cleaned: list[Cleaned] = await together(
        Cleaning(
            driver.stack, places, driver.application_id, one, claimable[one.join_eui]
        ).carry_out()
        for one in batch
    )
    for one in cleaned:
        for step in one.steps:
            driver.note(step)
    await driver.save(Changes(devices=[one.state for one in cleaned], tell=True))
    refused = next((one.refused for one in cleaned if one.refused is not None), None)
    if refused is not None:
        await driver.stop_for(refused)


async def _after_devices(driver: Driver) -> None:
    counts = await run_ledger.count(driver.pool, driver.run)
    rounds = int(driver.run.facts.get("rounds", 0))
    if counts.may_heal and rounds < len(driver.pauses.rounds):
        wait = driver.pauses.rounds[rounds]
        await driver.save(Changes(retry_healing=True, wait=wait), rounds=rounds + 1)
        raise Suspended(f"{counts.may_heal} devices are tried again")
    if not driver.run.action.takes_application:
        await driver.save(Changes(phase=Phase.CLEAR))
        return
    if counts.failed:
        # Without the application nobody could reach them any more (reference 6.2).
        kept = quiet(
            StepName.DELETE_APPLICATION,
            _SKIPPED,
            "devices_left",
            target=("application", driver.application_id),
        )
        await driver.save(Changes(steps=[kept], phase=Phase.CLEAR))
        return
    await driver.save(Changes(phase=Phase.STATE))


async def clear_state(driver: Driver) -> None:
    """Webhooks, pub/subs, the link and join settings: they outlive the application, and are out of reach without it."""
    application = driver.application_id
    if not driver.has_application:
        steps = [
            quiet(name, _SKIPPED, "application_gone", target=("application", application))
            for name in STATE_STEPS
        ]
        await driver.save(Changes(steps=steps, phase=Phase.KEYS), results=steps)
        return
    places = await driver.places()
    done = [
        await _everywhere(driver, name, places.all_of(registry), carry_out)
        for name, registry, carry_out in state_of(driver.stack.regional, application)
    ]
    failed = [one for one in done if one.status is _ERROR]
    if any(one.meta.get("may_heal") for one in failed):
        await driver.later(str(failed[0].meta.get("reason", "")))
    following = Phase.CLEAR if failed else Phase.KEYS
    await driver.save(Changes(phase=following), results=done)


async def _everywhere(
    driver: Driver,
    name: StepName,
    hosts: Sequence[str],
    carry_out: OnHost,
) -> Step:
    """Do it on each host, a step each; the worst of them is how it ended."""
    steps = [await _on_host(driver, name, await carry_out(host)) for host in hosts]
    for one in steps:
        driver.note(one)
    worst = [_ERROR, _SKIPPED, _OK]
    if not steps:
        return quiet(name, _SKIPPED, "no_host", target=("application", driver.application_id))
    return min(steps, key=lambda one: worst.index(one.status))


async def _on_host(driver: Driver, name: StepName, outcome: Outcome) -> Step:
    verdict = judge(outcome, Target.AS_STATE)
    target = ("application", driver.application_id)
    if verdict is Verdict.UNAUTHENTICATED:
        driver.note(step_of(name, outcome, _ERROR, target=target))
        await driver.stop_for(outcome)
    status, reason = read_deletion(outcome)
    meta: dict[str, object] = {"reason": reason} if reason else {}
    if status is _ERROR and may_heal(outcome, verdict):
        meta["may_heal"] = True
    return step_of(name, outcome, status, target=target, meta=meta)


async def delete_keys(driver: Driver) -> None:
    """The application's API keys, but for the one in use: a restored application would have them all back (4.2)."""
    if driver.has_application:
        keys = driver.stack.applications.keys(driver.application_id)
        step = await delete_all_keys(
            driver, StepName.DELETE_API_KEYS, keys, ("application", driver.application_id)
        )
        if step.meta.get("may_heal"):
            await driver.later(str(step.meta.get("reason", "")))
        await driver.save(Changes(phase=Phase.APPLICATION), results=[step])
        return
    await driver.save(Changes(phase=Phase.APPLICATION))
