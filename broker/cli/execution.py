"""`jobbroker jobs execution`: one thing's executions of a job, with what became of each and when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import click

from broker.cli.callers import Body, Caller, Where, caller
from broker.cli.listing import pages
from broker.cli.options import as_json, reaching
from broker.cli.outcome import print_json, print_table, runs_async


@click.command("execution", short_help="Show what became of a job on one thing, and when.")
@click.argument("job_id")
@click.argument("thing")
@click.option("--number", type=click.IntRange(1), help="Only this execution.  [default: all]")
@as_json
@reaching
@runs_async
async def execution(
    where: Where, job_id: str, thing: str, number: int | None, as_json: bool
) -> None:
    """Show a job's executions on one thing: when each was queued, told, started, reported and ended.

    \b
    Example:
      jobbroker jobs execution fw-7 pump-1
    """
    found: list[Body] = []
    async with caller(where) as asked:
        for one in [number] if number else await _numbers(asked, job_id, thing):
            numbered = {} if one is None else {"executionNumber": one}
            body = await asked.call("jobs/executions/get", numbered, job_id=job_id, thing=thing)
            found.append(body["execution"])
    if as_json:
        print_json(found)
        return
    for shown in found:
        click.echo(_headed(shown))
        print_table(("AT (UTC)", "WHAT", "VERSION", "DETAILS"), _rows(shown["timeline"]))


async def _numbers(asked: Caller, job_id: str, thing: str) -> list[int | None]:
    """The numbers of all executions; where there is none, what is asked for says so."""
    listing = pages(
        asked,
        "things/executions",
        {"thingName": thing, "jobId": job_id},
        members="executionSummaries",
        most=None,
    )
    found = [one["jobExecutionSummary"]["executionNumber"] async for one in listing]
    return found or [None]


def _headed(one: Body) -> str:
    told = "" if "notifySentAt" in one else "; its thing was not told yet"
    over = one.get("approximateSecondsBeforeTimedOut")
    left = "" if over is None else f"; times out in {over} s"
    return f"{one['jobId']} on {one['thingName']}, {one['executionNumber']}: {one['status']}{told}{left}"


def _rows(timeline: list[Body]) -> Iterator[tuple[object, ...]]:
    for entry in timeline:
        at = datetime.fromtimestamp(entry["at"], UTC)
        details = entry.get("statusDetails")
        shown = "" if details is None else json.dumps(details, ensure_ascii=False)
        cut = " ..." if entry.get("isCut") else ""
        milliseconds = f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"
        yield milliseconds, entry["what"], entry.get("versionNumber", ""), f"{shown}{cut}"
