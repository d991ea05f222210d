"""From a call's outcome to a recorded step, by the table of outcomes (reference/the-things-stack.md 10)."""

from __future__ import annotations

from collections.abc import Mapping

from schema.things_stack_outcomes import Outcome, Target, Verdict, judge
from schema.things_stack_runs import Step, StepName, StepStatus

STATUS_OF = {
    Verdict.DONE: StepStatus.OK,
    Verdict.GONE: StepStatus.SKIPPED,
    Verdict.DENIED: StepStatus.ERROR,
    Verdict.UNAUTHENTICATED: StepStatus.ERROR,
    Verdict.CONFLICT: StepStatus.ERROR,
    Verdict.AWAY: StepStatus.ERROR,
    Verdict.WRONG: StepStatus.ERROR,
}


def step_of(
    name: StepName,
    outcome: Outcome,
    status: StepStatus,
    *,
    target: tuple[str, str | None],
    meta: Mapping[str, object] | None = None,
) -> Step:
    """A step of one call. target: its type and id. meta says more, such as the reason of a SKIPPED one."""
    said: dict[str, object] = dict(meta or {})
    if outcome.error.name:
        said |= {"error_name": outcome.error.name, "correlation_id": outcome.error.correlation_id}
    if outcome.attempts > 1:
        said["attempts"] = outcome.attempts
    if outcome.status is None:
        said["failure"] = outcome.failure
    return Step(
        name,
        status,
        target[0],
        target[1],
        outcome.status,
        outcome.endpoint,
        outcome.snippet,
        said,
        outcome.elapsed,
    )


def judged(
    name: StepName, outcome: Outcome, kind: Target, *, target: tuple[str, str | None]
) -> Step:
    """A step whose status the verdict alone decides."""
    verdict = judge(outcome, kind)
    meta = {"reason": "already_gone"} if verdict is Verdict.GONE else None
    return step_of(name, outcome, STATUS_OF[verdict], target=target, meta=meta)


def quiet(
    name: StepName, status: StepStatus, reason: str, *, target: tuple[str, str | None]
) -> Step:
    """A step without a call of its own."""
    return Step(name, status, target[0], target[1], meta={"reason": reason} if reason else {})


def may_heal(outcome: Outcome, verdict: Verdict) -> bool:
    """Whether the same call may fare better in some minutes, as after a refusal that a host remembers (6.4)."""
    remembered = verdict is Verdict.DENIED and outcome.error.name == "no_application_rights"
    return verdict is Verdict.AWAY or remembered
