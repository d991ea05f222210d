"""`jobbroker jobs create` and `preview`: what their options say, sent."""

from __future__ import annotations

from typing import IO, Any

import click

from broker.cli.brakes import braking
from broker.cli.callers import Body, Where, caller
from broker.cli.gating import gating
from broker.cli.job_file import read_job_file
from broker.cli.kinds import Pair, TargetName
from broker.cli.new_job import new_job
from broker.cli.options import as_json, reaching
from broker.cli.outcome import print_json, runs_async
from broker.cli.previewing import print_preview
from broker.cli.watching import watch
from broker.cli.watching_job import finish, with_timeout

_OF_AWS = ("per-minute", "rollout", "abort", "retry", "config", "stage", "approvals")


@click.command("create", short_help="Send a document to things and groups.")
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
@with_timeout
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
    finish(job, as_json=as_json)


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


@click.command("preview", short_help="Show what `create` would come to.")
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
