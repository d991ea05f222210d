"""`jobbroker ttn deprovision`, `runs`, `run`, `cancel` and `resume`: taking things out of The Things Stack."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import click

from broker.cli.callers import Body, Caller, Where, caller
from broker.cli.new_job import said
from broker.cli.options import as_json, reaching
from broker.cli.outcome import (
    Exit,
    Failure,
    print_done,
    print_json,
    print_table,
    remark,
    runs_async,
)

_POLL_SECONDS: Final = 0.5
_LIVE: Final = ("QUEUED", "RUNNING")
_PAGE: Final = 250
organization = click.option(
    "--organization",
    metavar="UUID",
    help="Whose connection.  [default: the only one, or the tenant]",
)


@click.command("deprovision", short_help="Take things out of the server, as a run.")
@organization
@click.option("--application", metavar="ID", help="This application alone.")
@click.option("--device", metavar="ID", help="This device alone.")
@click.option("--force", is_flag=True, help="Forget the connection even when something is left.")
@click.option("--dry-run", is_flag=True, help="Look, and change nothing.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the end.")
@as_json
@reaching
@runs_async
async def deprovision(
    where: Where,
    organization: str | None,
    application: str | None,
    device: str | None,
    force: bool,
    dry_run: bool,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Take devices, their application and the organization out of The Things Stack.

    Waits for the end; exit code 5 when something is left.

    \b
    Example:
      jobbroker ttn deprovision --dry-run
      jobbroker ttn deprovision
      jobbroker ttn deprovision --device pump-1
    """
    payload = said(
        {
            "organization_id": organization,
            "application_id": application,
            "device": device,
            "force": force or None,
            "dry_run": dry_run or None,
        }
    )
    async with caller(where) as asked:
        body = await asked.call("ttn/deprovision", payload)
        if no_wait:
            print_done(body, f"run {body['job_id']} is queued", as_json=as_json)
            return
        job = await _ended(asked, str(body["job_id"]))
    _print_end(job, as_json=as_json)


async def _ended(asked: Caller, run_id: str) -> Body:
    """Wait for a run, telling on stderr how far it is; returns it as it ended."""
    told = ""
    while True:
        found = await asked.call("ttn/runs/get", {"limit": 1}, job_id=run_id)
        job: Body = found["job"]
        if job["status"] not in _LIVE:
            return job
        summary = job["summary"]
        words = (
            f"{run_id} {job['phase'].lower()}: {summary.get('devices_purged_ok', 0)} of"
            f" {summary.get('devices_found', 0)} devices"
        )
        if words != told:
            remark(words)
            told = words
        await asyncio.sleep(_POLL_SECONDS)


def _print_end(job: Body, *, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        click.echo("\n".join(_lines(job)))
    if job["status"] != "SUCCEEDED":
        raise Failure(
            f"run {job['id']} is {job['status']}: {job['error'] or 'something is left'}",
            Exit.UNSUCCESSFUL,
        )


def _lines(job: Body) -> list[str]:
    summary: dict[str, Any] = job["summary"]
    found, purged = summary.get("devices_found", 0), summary.get("devices_purged_ok", 0)
    lines = [
        f"run {job['id']}: {job['status']}",
        f"devices: {found} found, {purged} taken out, {len(summary.get('released_euis', []))} EUIs released",
    ]
    lines += [f"left: {name}: {why}" for name, why in summary.get("problems", {}).items()]
    lines += [f"{name}: {why}" for name, why in summary.get("reasons", {}).items()]
    return lines


@click.command("runs", short_help="List runs.")
@organization
@click.option("--status", metavar="STATUS,...", help="QUEUED, RUNNING, SUCCEEDED, PARTIAL, FAILED.")
@click.option("--limit", type=click.IntRange(1, _PAGE), default=50, show_default=True)
@as_json
@reaching
@runs_async
async def runs(
    where: Where, organization: str | None, status: str | None, limit: int, as_json: bool
) -> None:
    """List deprovisioning runs, newest first; IDLE is for how many seconds one has had no progress.

    \b
    Example:
      jobbroker ttn runs --status RUNNING,QUEUED
    """
    asked_for = said({"organization_id": organization, "status": status, "limit": limit})
    async with caller(where) as asked:
        body = await asked.call("ttn/runs/list", asked_for)
    if as_json:
        print_json(body["jobs"])
        return
    rows = [
        (
            one["id"],
            one["status"],
            one["action"],
            one["phase"] if one["status"] in _LIVE else "",
            one["created_at"][:19],
            str(one.get("idle_seconds", "")),
        )
        for one in body["jobs"]
    ]
    print_table(("RUN", "STATUS", "ACTION", "PHASE", "CREATED", "IDLE"), rows)


@click.command("run", short_help="Show one run, step by step.")
@click.argument("run_id", metavar="RUN")
@click.option("--errors", is_flag=True, help="Steps that went wrong alone.")
@as_json
@reaching
@runs_async
async def run(where: Where, run_id: str, errors: bool, as_json: bool) -> None:
    """Show a run and its steps in their order.

    \b
    Example:
      jobbroker ttn run 4f7c2b1e-2a1d-4c1c-9a53-0d2f5a3b9c11 --errors
    """
    steps: list[dict[str, Any]] = []
    payload: Body = {"limit": _PAGE}
    async with caller(where) as asked:
        while True:
            body = await asked.call("ttn/runs/get", payload, job_id=run_id)
            steps += [one for one in body["steps"] if not errors or one["status"] == "ERROR"]
            if "next_token" not in body:
                break
            payload["next_token"] = body["next_token"]
    if as_json:
        print_json({**body, "steps": steps})
        return
    click.echo("\n".join(_lines(body["job"])))
    print_table(("STEP", "TARGET", "STATUS", "HTTP", "WHY"), [_row(one) for one in steps])


def _row(step: dict[str, Any]) -> tuple[str, str, str, str, str]:
    why = step["meta"].get("reason") or step["meta"].get("error_name") or ""
    http = step["http_status"]
    return (
        step["step_name"],
        step["target_id"] or "",
        step["status"],
        "" if http is None else str(http),
        str(why),
    )


@click.command("cancel", short_help="End a run between two steps.")
@click.argument("run_id", metavar="RUN")
@as_json
@reaching
@runs_async
async def cancel(where: Where, run_id: str, as_json: bool) -> None:
    """End a run between two steps; what was taken out stays so.

    \b
    Example:
      jobbroker ttn cancel 4f7c2b1e-2a1d-4c1c-9a53-0d2f5a3b9c11
    """
    async with caller(where) as asked:
        body = await asked.call("ttn/runs/cancel", {}, job_id=run_id)
    print_done(body, f"run {run_id} is canceled", as_json=as_json)


@click.command("resume", short_help="Let a run go on.")
@click.argument("run_id", metavar="RUN")
@as_json
@reaching
@runs_async
async def resume(where: Where, run_id: str, as_json: bool) -> None:
    """Let a run that is PARTIAL or FAILED begin anew with all it knows, and one that waits go on at once.

    \b
    Example:
      jobbroker ttn resume 4f7c2b1e-2a1d-4c1c-9a53-0d2f5a3b9c11
    """
    async with caller(where) as asked:
        body = await asked.call("ttn/runs/resume", {}, job_id=run_id)
    print_done(body, f"run {run_id} goes on", as_json=as_json)


COMMANDS: Final = (deprovision, runs, run, cancel, resume)
