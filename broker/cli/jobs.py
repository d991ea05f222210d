"""`jobbroker jobs`: cancel, associate, delete, and what other modules add."""

from __future__ import annotations

from collections.abc import Sequence

import click

from broker.cli.callers import Body, Where, caller
from broker.cli.changing import update
from broker.cli.creating import create, preview
from broker.cli.deciding import approve, deny, retry_failed, start_next_stage
from broker.cli.execution import execution
from broker.cli.failing import failures
from broker.cli.holding import pause, resume
from broker.cli.kinds import TargetName, target_arn
from broker.cli.options import as_json, reaching
from broker.cli.outcome import print_done, runs_async
from broker.cli.showing import count_jobs, list_jobs, progress, show
from broker.cli.watching_job import watch_job


@click.group(short_help="Create jobs, watch them, cancel and delete them.")
def jobs() -> None:
    """Create jobs, watch them, cancel and delete them.

    \b
    Example:
      jobbroker jobs create --group pumps --document firmware.json --watch
    """


@jobs.command("cancel", short_help="Cancel a job, or one thing's execution of it.")
@click.argument("job_id")
@click.option("--thing", help="Only this thing's execution.")
@click.option("--force", is_flag=True, help="Executions in progress as well.")
@click.option("--reason", "reason_code", help="A code for it, as BAD_FIRMWARE.")
@click.option("--comment", help="Words for it.")
@as_json
@reaching
@runs_async
async def cancel(
    where: Where,
    job_id: str,
    thing: str | None,
    force: bool,
    reason_code: str | None,
    comment: str | None,
    as_json: bool,
) -> None:
    """Cancel what is queued of a job, with --force also what is in progress.

    \b
    Example:
      jobbroker jobs cancel fw-7 --force --reason BAD_FIRMWARE
      jobbroker jobs cancel fw-7 --thing pump-1
    """
    if thing is not None and (reason_code or comment):
        raise click.UsageError("--reason and --comment go with a whole job")
    async with caller(where) as asked:
        if thing is not None:
            verb = "jobs/executions/cancel"
            body = await asked.call(verb, {"force": force}, job_id=job_id, thing=thing)
        else:
            said = {"force": force, "reasonCode": reason_code, "comment": comment}
            payload = {name: value for name, value in said.items() if value is not None}
            body = await asked.call("jobs/cancel", payload, job_id=job_id)
    print_done(body, f"{job_id} canceled{f' for {thing}' if thing else ''}", as_json=as_json)


@jobs.command("associate", short_help="Add targets to a continuous job.")
@click.argument("job_id")
@click.option("--target", "targets", multiple=True, type=TargetName(), help="thing/NAME or an ARN.")
@click.option("--group", "groups", multiple=True, help="A group, with the groups inside it.")
@click.option("--comment", help="Words for it.")
@as_json
@reaching
@runs_async
async def associate(
    where: Where,
    job_id: str,
    targets: Sequence[str],
    groups: Sequence[str],
    comment: str | None,
    as_json: bool,
) -> None:
    """Add targets to a continuous job that is in progress.

    \b
    Example:
      jobbroker jobs associate fw-7 --group pumps-south
    """
    arns = [*targets, *(target_arn("thinggroup", group) for group in groups)]
    if not arns:
        raise click.UsageError("--target or --group is needed")
    payload: Body = {"targets": arns, **({"comment": comment} if comment else {})}
    async with caller(where) as asked:
        body = await asked.call("jobs/associate", payload, job_id=job_id)
    print_done(body, f"{job_id} has {', '.join(arns)}", as_json=as_json)


@jobs.command("delete", short_help="Delete a job with its executions.")
@click.argument("job_id")
@click.option("--force", is_flag=True, help="Also when it is not over.")
@click.option("--thing", help="Only one execution: this thing's, with --number.")
@click.option("--number", type=click.IntRange(1), help="Which of the thing's executions of it.")
@as_json
@reaching
@runs_async
async def delete(
    where: Where,
    job_id: str,
    force: bool,
    thing: str | None,
    number: int | None,
    as_json: bool,
) -> None:
    """Delete a job with its executions, or one execution; what is not over takes --force.

    \b
    Example:
      jobbroker jobs delete fw-7
      jobbroker jobs delete fw-7 --thing pump-1 --number 2
    """
    if (thing is None) != (number is None):
        raise click.UsageError("--thing and --number go together")
    async with caller(where) as asked:
        if thing is None:
            body = await asked.call("jobs/delete", {"force": force}, job_id=job_id)
        else:
            payload = {"executionNumber": number, "force": force}
            body = await asked.call("jobs/executions/delete", payload, job_id=job_id, thing=thing)
    words = (
        "is being deleted" if thing is None else f"has no execution {number} on {thing} any more"
    )
    print_done(body, f"{job_id} {words}", as_json=as_json)


for _command in (
    create,
    preview,
    list_jobs,
    show,
    count_jobs,
    progress,
    watch_job,
    execution,
    update,
    approve,
    deny,
    start_next_stage,
    retry_failed,
    failures,
    pause,
    resume,
):
    jobs.add_command(_command)
