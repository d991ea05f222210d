"""`jobbroker operators`: add, key, list, show, remove."""

from __future__ import annotations

import click

from broker.cli.access_keys import cells_of, columns_of, key_command
from broker.cli.callers import Where, caller
from broker.cli.listing import pages
from broker.cli.options import as_json, reaching
from broker.cli.outcome import Exit, Failure, print_json, print_table, remark, runs_async

_ROLES = ("owner", "admin", "manager", "viewer")


@click.group(short_help="Say who may create jobs and manage things.")
def operators() -> None:
    """Say who may create jobs and manage things.

    \b
    Example:
      jobbroker operators add ann --role manager
    """


@operators.command("add", short_help="Register an operator, with a token.")
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), default="manager", show_default=True)
@as_json
@reaching
@runs_async
async def add(where: Where, name: str, role: str, as_json: bool) -> None:
    """Register an operator, with a token that is printed this once.

    A viewer reads; a manager also creates and cancels jobs; an admin also manages things, groups
    and operators; an owner also other admins.

    \b
    Example:
      jobbroker operators add ann --role manager
    """
    async with caller(where) as asked:
        made = await asked.call("operators/create", {"operatorName": name, "role": role})
    if as_json:
        print_json(made)
        return
    more = columns_of([made])
    row = (name, role, made.get("token"), *cells_of(made, more))
    print_table(("OPERATOR", "ROLE", "TOKEN", *more), [row])
    remark("A token is shown this once: username NAME, password TOKEN.")


operators.add_command(key_command("operator", "ann"))


@operators.command("list", short_help="List operators by name.")
@as_json
@reaching
@runs_async
async def list_operators(where: Where, as_json: bool) -> None:
    """List operators by name.

    \b
    Example:
      jobbroker operators list
    """
    async with caller(where) as asked:
        listing = pages(asked, "operators/list", {}, members="operators", most=None)
        found = [one async for one in listing]
    if as_json:
        print_json(found)
    else:
        rows = [(one["operatorName"], one["role"]) for one in found]
        print_table(("OPERATOR", "ROLE"), rows)


@operators.command("show", short_help="Show an operator.")
@click.argument("name")
@as_json
@reaching
@runs_async
async def show(where: Where, name: str, as_json: bool) -> None:
    """Show an operator.

    \b
    Example:
      jobbroker operators show ann
    """
    async with caller(where) as asked:
        listing = pages(asked, "operators/list", {}, members="operators", most=None)
        found = [one async for one in listing if one["operatorName"] == name]
    if not found:
        raise Failure(f"no operator {name!r} in {where.tenant!r}", Exit.NOT_FOUND)
    if as_json:
        print_json(found[0])
    else:
        for key, value in found[0].items():
            click.echo(f"{key}: {value}")


@operators.command("whoami", short_help="Show who you are here.")
@as_json
@reaching
@runs_async
async def whoami(where: Where, as_json: bool) -> None:
    """Show the operator that commands are given as, with role and tenant.

    \b
    Example:
      jobbroker operators whoami
    """
    async with caller(where) as asked:
        body = await asked.call("operators/whoami", {})
    if as_json:
        print_json(body)
    else:
        click.echo(f"{body['operatorName']} ({body['role']}) in {body['tenant']}")


@operators.command("remove", short_help="Remove an operator and its token.")
@click.argument("name")
@as_json
@reaching
@runs_async
async def remove(where: Where, name: str, as_json: bool) -> None:
    """Remove an operator; its connections are closed.

    \b
    Example:
      jobbroker operators remove ann
    """
    async with caller(where) as asked:
        await asked.call("operators/delete", {"operatorName": name})
    if as_json:
        print_json({"removed": [name]})
    else:
        click.echo(f"removed {name}")
