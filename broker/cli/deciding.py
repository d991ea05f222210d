"""jobbroker jobs approve, deny, start-next-stage and retry-failed; jobbroker approvals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

from broker.cli.callers import Body, Where, caller
from broker.cli.new_job import said
from broker.cli.options import as_json, reaching
from broker.cli.outcome import print_done, print_table, runs_async

_comment = click.option("--comment", help="Words for it, kept in the audit.")
FAILURES: Final = ("ALL", "FAILED", "REJECTED", "TIMED_OUT")


@click.command("approve", short_help="Say yes to a job that waits for approval.")
@click.argument("job_id")
@_comment
@as_json
@reaching
@runs_async
async def approve(where: Where, job_id: str, comment: str | None, as_json: bool) -> None:
    """Say yes to a job that somebody of another role has created; with the last yes it rolls out.

    \b
    Example:
      jobbroker jobs approve fw-12 --comment "seen on the bench"
    """
    await _vote(where, job_id, "approve", comment=comment, as_json=as_json)


@click.command("deny", short_help="Say no to a job that waits for approval.")
@click.argument("job_id")
@_comment
@as_json
@reaching
@runs_async
async def deny(where: Where, job_id: str, comment: str | None, as_json: bool) -> None:
    """Say no to a job that waits for approval: it is canceled, with the comment as its reason.

    \b
    Example:
      jobbroker jobs deny fw-12 --comment "7.1 is out"
    """
    await _vote(where, job_id, "deny", comment=comment, as_json=as_json)


async def _vote(
    where: Where, job_id: str, verb: str, *, comment: str | None, as_json: bool
) -> None:
    async with caller(where) as asked:
        body = await asked.call(f"jobs/{verb}", said({"comment": comment}), job_id=job_id)
    approval = body["approval"]
    print_done(body, f"{job_id} {approval['state']}: {approval['reason']}", as_json=as_json)


@click.command("start-next-stage", short_help="Start a job's next stage, whatever its gate says.")
@click.argument("job_id")
@_comment
@as_json
@reaching
@runs_async
async def start_next_stage(where: Where, job_id: str, comment: str | None, as_json: bool) -> None:
    """Start a job's next stage, whatever its gate says; a paused job goes on by it.

    \b
    Example:
      jobbroker jobs start-next-stage fw-11 --comment "the two that fail are known"
    """
    async with caller(where) as asked:
        body = await asked.call("jobs/start-next-stage", said({"comment": comment}), job_id=job_id)
    print_done(body, f"{job_id}: stage {body['stage']} started", as_json=as_json)


@click.command("retry-failed", short_help="Try again what failed.")
@click.argument("job_id")
@click.option("--stage", type=click.IntRange(1), help="Only things told by this stage.")
@click.option(
    "--kind",
    type=click.Choice(FAILURES, case_sensitive=False),
    default="ALL",
    show_default=True,
    help="What of it.",
)
@_comment
@as_json
@reaching
@runs_async
async def retry_failed(
    where: Where, job_id: str, stage: int | None, kind: str, comment: str | None, as_json: bool
) -> None:
    """Give things whose latest execution failed another one, at the job's rate.

    Of a job that is COMPLETED a new one is made for them.

    \b
    Example:
      jobbroker jobs retry-failed fw-11 --stage 1 --kind FAILED
    """
    payload = said({"stage": stage, "failureType": kind, "comment": comment})
    async with caller(where) as asked:
        body = await asked.call("jobs/retry-failed", payload, job_id=job_id)
    count = body["numberOfThings"]
    things = "thing is" if count == 1 else "things are"
    by = f" by {body['newJobId']}" if "newJobId" in body else ""
    print_done(body, f"{job_id}: {count} {things} tried again{by}", as_json=as_json)


@click.command("approvals", short_help="Show and set how many must approve each job.")
@click.option("--required", type=click.IntRange(0), help="So many for each new job, at least.")
@as_json
@reaching
@runs_async
async def approvals(where: Where, required: int | None, as_json: bool) -> None:
    """Show how many approvals each new job needs at least, after setting it if asked.

    \b
    Example:
      jobbroker approvals --required 1
    """
    async with caller(where) as asked:
        if required is not None:
            config = {"approvalConfig": {"requiredApprovals": required}}
            await asked.call("approval/update", config)
        body = await asked.call("approval/get", {})
    count = body["approvalConfig"]["requiredApprovals"]
    words = "approval is" if count == 1 else "approvals are"
    print_done(body, f"{count} {words} needed for each new job", as_json=as_json)


def print_stages(body: Body) -> None:
    """Print a job's approval and its stages, when jobs/get has some."""
    if approval := body.get("approval"):
        click.echo(f"approval: {approval['state']}, {approval['reason']}")
    if stages := body.get("stages"):
        for line in _words(stages):
            click.echo(line)
        click.echo()
        rows = [
            (
                one["stage"],
                one["state"],
                one["numberOfThings"],
                one["numberOfWaitingThings"],
                one["numberOfSucceededThings"],
                sum(one[f"numberOf{kind}Things"] for kind in ("Failed", "Rejected", "TimedOut")),
            )
            for one in stages
        ]
        print_table(("STAGE", "STATE", "THINGS", "WAITING", "SUCCEEDED", "FAILED"), rows)
        click.echo()


def _words(stages: list[Body]) -> Iterator[str]:
    stopped = [one["stoppedBecause"] for one in stages if "stoppedBecause" in one]
    yield from (f"stopped: {why}" for why in stopped)
    if not stopped:
        yield from (f"gate: {one['gate']}" for one in stages if "gate" in one)
