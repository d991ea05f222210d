"""`jobbroker groups`: create, add, update, list, show, remove."""

from __future__ import annotations

from collections.abc import Sequence

import click

from broker.cli.callers import Body, Where, caller
from broker.cli.listing import pages
from broker.cli.options import as_json, reaching
from broker.cli.outcome import Refused, print_json, print_table, runs_async
from schema.errors import Code
from schema.limits import MEMBERS_PER_COMMAND


@click.group(short_help="Put things into groups, to target them together.")
def groups() -> None:
    """Put things into groups, to target them together.

    \b
    Example:
      jobbroker groups add pumps pump-1 pump-2
    """


@groups.command("add", short_help="Make a group, and put things into it.")
@click.argument("name")
@click.argument("things", nargs=-1)
@click.option("--parent", help="The group it is inside of.")
@click.option("--description", help="What it is.")
@as_json
@reaching
@runs_async
async def add(
    where: Where,
    name: str,
    things: Sequence[str],
    parent: str | None,
    description: str | None,
    as_json: bool,
) -> None:
    """Make a group, and put things into it; with THINGS the group may exist already.

    \b
    Example:
      jobbroker groups add north --parent pumps
      jobbroker groups add north pump-1 pump-2
    """
    payload: Body = {"thingGroupName": name}
    if parent is not None:
        payload["parentGroupName"] = parent
    if description is not None:
        payload["thingGroupProperties"] = {"thingGroupDescription": description}
    async with caller(where) as asked:
        made: Body = {"thingGroupName": name}
        try:
            made |= await asked.call("groups/create", payload)
        except Refused as refused:
            if refused.code != Code.RESOURCE_ALREADY_EXISTS or not things:
                raise
        for some in _chunks(things):
            await asked.call("groups/add", {"thingGroupName": name, "thingNames": some})
    if as_json:
        print_json({**made, "added": list(things)})
    else:
        click.echo(f"{name}: {len(things)} things added" if things else f"{name} made")


@groups.command("create", short_help="Make a group, of a query if it is to be dynamic.")
@click.argument("name")
@click.option("--query", help="Whoever this is true of is in the group: attributes.model:x*")
@click.option("--parent", help="The group it is inside of.")
@click.option("--description", help="What it is.")
@as_json
@reaching
@runs_async
async def create(
    where: Where,
    name: str,
    query: str | None,
    parent: str | None,
    description: str | None,
    as_json: bool,
) -> None:
    """Make a group; with --query its things are those that the query is true of, at any time.

    \b
    Example:
      jobbroker groups create old-pumps --query 'attributes.model:px* AND attributes.firmware<7'
    """
    said = {"parentGroupName": parent, "queryString": query}
    payload: Body = {
        "thingGroupName": name,
        **{key: text for key, text in said.items() if text is not None},
    }
    if description is not None:
        payload["thingGroupProperties"] = {"thingGroupDescription": description}
    async with caller(where) as asked:
        made = await asked.call("groups/create", payload)
    if as_json:
        print_json(made)
    else:
        click.echo(f"{name} made")


@groups.command("update", short_help="Change a group's query or description.")
@click.argument("name")
@click.option("--query", help="Of a dynamic group: who is in it from now on.")
@click.option("--description", help="What it is.")
@as_json
@reaching
@runs_async
async def update(
    where: Where, name: str, query: str | None, description: str | None, as_json: bool
) -> None:
    """Change a group's description, of a dynamic one its query.

    \b
    Example:
      jobbroker groups update old-pumps --query 'attributes.firmware<7.1'
    """
    if query is None and description is None:
        raise click.UsageError("--query or --description is needed")
    payload: Body = {"thingGroupName": name, **({"queryString": query} if query else {})}
    if description is not None:
        payload["thingGroupProperties"] = {"thingGroupDescription": description}
    async with caller(where) as asked:
        body = await asked.call("groups/update", payload)
    if as_json:
        print_json(body)
    else:
        click.echo(f"{name} is at version {body['version']}")


@groups.command("list", short_help="List groups by name.")
@click.option("--parent", help="Only those inside this group.")
@as_json
@reaching
@runs_async
async def list_groups(where: Where, parent: str | None, as_json: bool) -> None:
    """List groups by name.

    \b
    Example:
      jobbroker groups list --parent pumps
    """
    payload = {"parentGroup": parent} if parent else {}
    async with caller(where) as asked:
        listing = pages(asked, "groups/list", payload, members="thingGroups", most=None)
        found = [one async for one in listing]
    if as_json:
        print_json(found)
    else:
        rows = [(one["groupName"], one.get("queryString")) for one in found]
        print_table(("GROUP", "QUERY"), rows)


@groups.command("show", short_help="Show the things in a group.")
@click.argument("name")
@click.option("--recursive", is_flag=True, help="Also of the groups inside it.")
@as_json
@reaching
@runs_async
async def show(where: Where, name: str, recursive: bool, as_json: bool) -> None:
    """Show the things in a group.

    \b
    Example:
      jobbroker groups show pumps --recursive
    """
    payload = {"thingGroupName": name, "recursive": recursive}
    async with caller(where) as asked:
        listing = pages(asked, "groups/members", payload, members="things", most=None)
        found = [one async for one in listing]
    if as_json:
        print_json(found)
    else:
        print_table(("THING",), [(one,) for one in found])


@groups.command("remove", short_help="Take things out of a group, or remove the group.")
@click.argument("name")
@click.argument("things", nargs=-1)
@as_json
@reaching
@runs_async
async def remove(where: Where, name: str, things: Sequence[str], as_json: bool) -> None:
    """Take THINGS out of a group; without any, remove the group itself.

    \b
    Example:
      jobbroker groups remove pumps pump-2
      jobbroker groups remove pumps
    """
    async with caller(where) as asked:
        if not things:
            await asked.call("groups/delete", {"thingGroupName": name})
        for some in _chunks(things):
            await asked.call("groups/remove", {"thingGroupName": name, "thingNames": some})
    if as_json:
        print_json({"removed": list(things) or [name]})
    else:
        click.echo(f"removed {', '.join(things)} from {name}" if things else f"removed {name}")


def _chunks(things: Sequence[str]) -> list[list[str]]:
    most = MEMBERS_PER_COMMAND
    return [list(things[start : start + most]) for start in range(0, len(things), most)]
