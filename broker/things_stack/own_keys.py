"""API keys of an application or an organization, taken away before it goes; never the one in use."""

from __future__ import annotations

from broker.things_stack.driver import Driver, said
from broker.things_stack.keys import ApiKeys
from broker.things_stack.recording import STATUS_OF, quiet, step_of
from schema.things_stack_outcomes import Outcome, Target, Verdict, judge
from schema.things_stack_runs import Step, StepName, StepStatus


async def delete_all_keys(
    driver: Driver, name: StepName, keys: ApiKeys, target: tuple[str, str | None]
) -> Step:
    """List them all, then delete one after the other; a step for each, and the one that says how it ended.

    Not being allowed to is no failure: an admin's key may not see others' keys, and a purge removes them (6.1).
    """
    ids: list[str] = []
    async for page in keys.list():
        if not page.outcome.ok:
            return await _step(driver, name, page.outcome, target)
        ids += [str(one["id"]) for one in page.items if "id" in one]
    worst: Step | None = None
    for key_id in ids:
        if key_id == driver.run.facts.get("key_id"):
            continue
        step = await _step(driver, name, await keys.delete(key_id), target)
        if step.status is StepStatus.ERROR:
            worst = step
    return worst or quiet(name, StepStatus.OK, "", target=target)


async def _step(
    driver: Driver, name: StepName, outcome: Outcome, target: tuple[str, str | None]
) -> Step:
    verdict = judge(outcome, Target.API_KEY)
    status, reason = STATUS_OF[verdict], ""
    if verdict is Verdict.DENIED:
        status, reason = StepStatus.SKIPPED, "not_permitted"
    elif status is StepStatus.ERROR:
        reason = said(outcome)
    meta: dict[str, object] = {"reason": reason} if reason else {}
    if verdict is Verdict.AWAY:
        meta["may_heal"] = True
    step = step_of(name, outcome, status, target=target, meta=meta)
    driver.note(step)
    if verdict is Verdict.UNAUTHENTICATED:
        await driver.stop_for(outcome)
    return step
