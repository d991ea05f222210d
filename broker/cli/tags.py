"""`jobbroker tags`: words on jobs, job templates and groups."""

from __future__ import annotations

from collections.abc import Sequence

import click

from broker.cli.callers import Where, caller
from broker.cli.kinds import Pair
from broker.cli.options import as_json, reaching
from broker.cli.outcome import print_done, print_json, print_table, runs_async


@click.group(short_help="Tag jobs, templates and groups.")
def tags() -> None:
    """Tag jobs, job templates and groups, by their ARNs.

    \b
    Example:
      jobbroker tags add arn:aws:iot:us-east-1:000000000000:job/fw-7 team=pumps
    """


@tags.command("add", short_help="Set tags.")
@click.argument("arn")
@click.argument("pairs", metavar="NAME=VALUE...", nargs=-1, required=True, type=Pair())
@as_json
@reaching
@runs_async
async def add(where: Where, arn: str, pairs: Sequence[tuple[str, str]], as_json: bool) -> None:
    """Set tags; one that is there has the new value.

    \b
    Example:
      jobbroker tags add arn:aws:iot:us-east-1:000000000000:thinggroup/pumps team=pumps site=north
    """
    payload = {"resourceArn": arn, "tags": [{"Key": key, "Value": value} for key, value in pairs]}
    async with caller(where) as asked:
        body = await asked.call("tags/add", payload)
    print_done(body, f"{arn} tagged", as_json=as_json)


@tags.command("remove", short_help="Take tags away.")
@click.argument("arn")
@click.argument("keys", nargs=-1, required=True)
@as_json
@reaching
@runs_async
async def remove(where: Where, arn: str, keys: Sequence[str], as_json: bool) -> None:
    """Take tags away by their keys.

    \b
    Example:
      jobbroker tags remove arn:aws:iot:us-east-1:000000000000:job/fw-7 team
    """
    async with caller(where) as asked:
        body = await asked.call("tags/remove", {"resourceArn": arn, "tagKeys": [*keys]})
    print_done(body, f"{arn} has {', '.join(keys)} no more", as_json=as_json)


@tags.command("list", short_help="List tags.")
@click.argument("arn")
@as_json
@reaching
@runs_async
async def list_(where: Where, arn: str, as_json: bool) -> None:
    """List the tags of one resource.

    \b
    Example:
      jobbroker tags list arn:aws:iot:us-east-1:000000000000:job/fw-7
    """
    async with caller(where) as asked:
        body = await asked.call("tags/list", {"resourceArn": arn})
    if as_json:
        print_json(body["tags"])
    else:
        print_table(("KEY", "VALUE"), [(one["Key"], one["Value"]) for one in body["tags"]])
