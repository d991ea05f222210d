"""`jobbroker jobs list`, `show`, `counts` and `progress`: what there is, and how it stands."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from broker.cli.callers import Body, Where, caller
from broker.cli.deciding import print_stages
from broker.cli.listing import pages
from broker.cli.new_job import said
from broker.cli.options import as_json, reaching
from broker.cli.outcome import print_json, print_table, runs_async
from broker.cli.watching import counts, told


@click.command("list", short_help="List jobs, newest first.")
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


@click.command("show", short_help="Show a job with its document and executions.")
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


@click.command("counts", short_help="Count jobs by status.")
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


@click.command("progress", short_help="Show where each of a job's things is, a letter each.")
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
