"""`jobbroker jobs`: create, list, show, watch, cancel, associate, delete, and what other modules add."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import IO, Any

import click

from broker.cli.brakes import braking
from broker.cli.callers import Body, Where, caller
from broker.cli.changing import update
from broker.cli.deciding import approve, deny, print_stages, retry_failed, start_next_stage
from broker.cli.execution import execution
from broker.cli.failing import failures
from broker.cli.gating import gating
from broker.cli.holding import pause, resume
from broker.cli.job_file import read_job_file
from broker.cli.kinds import Duration, Pair, TargetName, target_arn
from broker.cli.listing import pages
from broker.cli.new_job import new_job, said
from broker.cli.options import as_json, reaching
from broker.cli.outcome import Exit, print_done, print_json, print_table, runs_async
from broker.cli.previewing import print_preview
from broker.cli.watching import counts, exit_of, told, watch

_OF_AWS = ("per-minute", "rollout", "abort", "retry", "config", "stage", "approvals")
_timeout = click.option(
    "--timeout", type=Duration(), help="Give up after this long, as 30s or 5m; exit 6."
)


@click.group(short_help="Create jobs, watch them, cancel and delete them.")
def jobs() -> None:
    """Create jobs, watch them, cancel and delete them.

    \b
    Example:
      jobbroker jobs create --group pumps --document firmware.json --watch
    """


@jobs.command("create", short_help="Send a document to things and groups.")
@click.option(
    "--file", type=click.File("rb"), help="A YAML or JSON file with all of it; - is stdin."
)
@click.option("--target", "targets", multiple=True, type=TargetName(), help="thing/NAME or an ARN.")
@click.option("--group", "groups", multiple=True, help="A group, with the groups inside it.")
@click.option("--all", "everything", is_flag=True, help="Every thing; with --type.")
@click.option("--document", type=click.File("rb"), help="A file with a JSON object; - is stdin.")
@click.option("--document-json", metavar="JSON", help="The JSON object itself.")
@click.option("--document-source", metavar="URL", help="Where the broker reads it, now and once.")
@click.option("--template", help="A template's name, one of AWS's (AWS-Reboot), or an ARN.")
@click.option(
    "--parameter", "parameters", multiple=True, type=Pair(), help="For the document: name=value."
)
@click.option("--url-seconds", type=int, help="How long presigned URLs are good.  [default: 3600]")
@click.option("--type", "document_type", help="Make the document of a type and parameters.")
@click.option("--param", "params", multiple=True, type=Pair(), help="With --type: name=value.")
@click.option("--job-id", help="An id of your own.  [default: a UUID]")
@click.option("--description", help="What it is for.")
@click.option("--timeout-minutes", type=int, help="How long a thing may take, once started.")
@click.option("--expires-in-hours", type=float, help="With --type: how long it may stay queued.")
@click.option("--continuous", is_flag=True, help="Also for things that come to its targets later.")
@click.option("--watch", "watched", is_flag=True, help="Watch it, as `jobs watch` does.")
@braking
@gating
@_timeout
@as_json
@reaching
@runs_async
async def create(
    where: Where,
    /,
    brakes: Body,
    gates: Body,
    continuous: bool,
    watched: bool,
    timeout: float | None,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - click's options, told apart in new_job
) -> None:
    """Send a job document to things and groups.

    A document of your own, or a template's, goes to things and groups; --type and --param make one like
    {"type": ..., "params": {...}} for one thing, one group or --all. Exits with 4 when --job-id is
    taken by a job of other content.

    \b
    Example:
      jobbroker jobs create --target thing/pump-1 --document-json '{"operation":"reboot"}'
      jobbroker jobs create --group pumps --document firmware.json --job-id fw-7 --watch
      jobbroker jobs create --all --type reboot --param delay=5
      jobbroker jobs create --group old-pumps --document firmware.json --continuous
      jobbroker jobs create --group pumps --template AWS-Reboot --parameter runAsUser=root
      jobbroker jobs create --group pumps --document firmware.json --per-minute 50 \\
          --abort 'FAILED 20% after 10' --retry FAILED=2
      jobbroker jobs create --group pumps --document firmware.json --rollout 100/min \\
          --abort 'FAILED>10% after 20' --stage 5%,25%,100% --gate 95% --soak 30m
      jobbroker jobs create --file job.yaml
    """
    payload = _payload({**brakes, **gates}, options, continuous=continuous)
    async with caller(where) as asked:
        made = await asked.call("jobs/create", payload)
        if not watched:
            _print_made(made, as_json=as_json)
            return
        job = await watch(asked, str(made["jobId"]), timeout=timeout)
    _end(job, as_json=as_json)


def _payload(brakes: Body, options: Body, *, continuous: bool) -> Body:
    """What options say of a job; with a file, above what that says of the same."""
    file: IO[bytes] | None = options.pop("file")
    base = None if file is None else read_job_file(file)
    payload = new_job(**options, base=base)
    of_type = "document_type" in payload
    if brakes and of_type:
        raise click.UsageError(f"--{', --'.join(_OF_AWS)} do not go with --type")
    payload = {**payload, **brakes} if base else {**brakes, **payload}
    if continuous:
        if of_type:
            raise click.UsageError("--continuous does not go with --type")
        payload["targetSelection"] = "CONTINUOUS"
    return payload


def _print_made(made: Body, *, as_json: bool) -> None:
    if as_json:
        print_json(made)
    else:
        count = made["execution_count"]
        things = "execution" if count == 1 else "executions"
        click.echo(f"{made['jobId']} {made['status']}: {count} {things}")


@jobs.command("preview", short_help="Show what `create` would come to.")
@braking
@gating
@as_json
@reaching
@runs_async
async def preview(
    where: Where,
    /,
    brakes: Body,
    gates: Body,
    continuous: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - those of `create`
) -> None:
    """Show how many things a job is for, when they are told, and the first one's document.

    Takes the options of `jobs create` and refuses what that would refuse. Nothing is created.

    \b
    Example:
      jobbroker jobs preview --group pumps --document firmware.json --per-minute 50
    """
    payload = _payload({**brakes, **gates}, options, continuous=continuous)
    async with caller(where) as asked:
        found = await asked.call("jobs/preview", payload)
    if as_json:
        print_json(found)
    else:
        print_preview(found)


# All of them that say what the job is.
preview.params = [one for one in create.params if one.name not in {"watched", "timeout"}]


@jobs.command("list", short_help="List jobs, newest first.")
@click.option("--status", help="SCHEDULED, IN_PROGRESS, COMPLETED, CANCELED, ...")
@click.option("--search", help="A part of the id or the description, or who created it.")
@click.option("--thing", "thingName", help="Jobs that name this thing.")
@click.option("--group", "thingGroupName", help="Jobs that name this group.")
@click.option("--tag", metavar="KEY[=VALUE]", help="Jobs with this tag.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many.")
@as_json
@reaching
@runs_async
async def list_jobs(
    where: Where, /, limit: int, tag: str | None, *, as_json: bool, **asked_for: str | None
) -> None:
    """List jobs, newest first.

    \b
    Example:
      jobbroker jobs list --status IN_PROGRESS --tag team=pumps
    """
    if tag:
        key, equals, value = tag.partition("=")
        asked_for |= {"tagKey": key, "tagValue": value if equals else None}
    asked_for = said(asked_for)
    async with caller(where) as asked:
        listing = pages(asked, "jobs/list", asked_for, members="jobs", most=limit)
        found = [one async for one in listing]
    if as_json:
        print_json(found)
        return
    rows = []
    for one in found:
        seen = counts(one)
        done = f"{seen['Succeeded']}/{sum(seen.values())}"
        bad = seen["Failed"] + seen["Rejected"] + seen["TimedOut"]
        at = datetime.fromtimestamp(one["createdAt"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        rows.append((one["jobId"], one["status"], done, bad or "", at, one.get("description")))
    print_table(("JOB", "STATUS", "SUCCEEDED", "FAILED", "CREATED (UTC)", "DESCRIPTION"), rows)


@jobs.command("show", short_help="Show a job with its document and executions.")
@click.argument("job_id")
@click.option("--status", help="Only executions of this status.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Executions.")
@as_json
@reaching
@runs_async
async def show(where: Where, job_id: str, status: str | None, limit: int, as_json: bool) -> None:
    """Show a job with its document, its counts and its executions.

    \b
    Example:
      jobbroker jobs show fw-7 --status FAILED
    """
    asked_for = {"status": status} if status else {}
    async with caller(where) as asked:
        body = await asked.call("jobs/get", {"includeExecutions": False}, job_id=job_id)
        listing = pages(
            asked, "jobs/get", asked_for, members="executions", job_id=job_id, most=limit
        )
        found = [one async for one in listing]
    if as_json:
        print_json({**body, "executions": found})
        return
    job = body["job"]
    click.echo(told(job))
    for name in ("description", "comment", "reasonCode", "createdBy", "jobTemplateArn"):
        if job.get(name):
            click.echo(f"{name}: {job[name]}")
    click.echo(f"targets: {', '.join(job.get('targets', []))}")
    click.echo(f"document: {body['document']}\n")
    print_stages(body)
    rows = [
        (
            one["thingName"],
            one["status"],
            one["versionNumber"],
            json.dumps(one["statusDetails"]) if "statusDetails" in one else "",
        )
        for one in found
    ]
    print_table(("THING", "STATUS", "VERSION", "DETAILS"), rows)


@jobs.command("counts", short_help="Count jobs by status.")
@as_json
@reaching
@runs_async
async def count_jobs(where: Where, as_json: bool) -> None:
    """Count jobs by status; no status is counted further than 10,000.

    \b
    Example:
      jobbroker jobs counts
    """
    async with caller(where) as asked:
        body = await asked.call("jobs/counts", {})
    if as_json:
        print_json(body)
    else:
        rows = [(status, count) for status, count in body["counts"].items()]
        print_table(("STATUS", "JOBS"), rows)


@jobs.command("progress", short_help="Show where each of a job's things is, a letter each.")
@click.argument("job_id")
@as_json
@reaching
@runs_async
async def progress(where: Where, job_id: str, as_json: bool) -> None:
    """Show where each of a job's things is, by name, a letter for each.

    Q queued, P in progress, S succeeded, F failed, T timed out, R rejected, M removed, C canceled.

    \b
    Example:
      jobbroker jobs progress fw-7
    """
    found: list[Body] = []
    async with caller(where) as asked:
        while not found or "nextToken" in found[-1]:
            after = {"nextToken": found[-1]["nextToken"]} if found else {}
            found.append(await asked.call("jobs/progress", after, job_id=job_id))
    letters = "".join(one["statuses"] for one in found)
    if as_json:
        print_json({"statuses": letters, "letters": found[0]["letters"]})
    else:
        click.echo("\n".join(letters[at : at + 100] for at in range(0, len(letters), 100)))


@jobs.command("watch", short_help="Watch a job until it is over.")
@click.argument("job_id")
@_timeout
@as_json
@reaching
@runs_async
async def watch_job(where: Where, job_id: str, timeout: float | None, as_json: bool) -> None:
    """Watch a job until it is over.

    Exits with 0 when all its executions succeeded, 5 when not or when it was canceled, 6 when
    --timeout was shorter.

    \b
    Example:
      jobbroker jobs watch fw-7 --timeout 10m && echo done
    """
    async with caller(where) as asked:
        job = await watch(asked, job_id, timeout=timeout)
    _end(job, as_json=as_json)


def _end(job: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        click.echo(told(job))
    if (code := exit_of(job)) is not Exit.OK:
        raise click.exceptions.Exit(code)


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


jobs.add_command(execution)
jobs.add_command(update)
jobs.add_command(approve)
jobs.add_command(deny)
jobs.add_command(start_next_stage)
jobs.add_command(retry_failed)
jobs.add_command(failures)
jobs.add_command(pause)
jobs.add_command(resume)
