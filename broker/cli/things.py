"""`jobbroker things`: add, key, list, show, update, remove."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

import click

from broker.cli.access_keys import cells_of, columns_of, key_command
from broker.cli.callers import Body, Caller, DatabaseCaller, Where, caller, running_authority_dir
from broker.cli.kinds import Pair
from broker.cli.listing import pages
from broker.cli.options import as_json, reaching
from broker.cli.outcome import Failure, print_json, print_table, remark, runs_async

CERTIFICATE_DAYS: Final = 365


@click.group(short_help="Register devices and give them credentials.")
def things() -> None:
    """Register devices and give them credentials.

    \b
    Example:
      jobbroker things add pump-1 --group pumps
    """


@things.command("add", short_help="Register things, each with a token or a certificate.")
@click.argument("names", nargs=-1, required=True)
@click.option("--attribute", "attributes", multiple=True, type=Pair(), help="name=value.")
@click.option("--group", help="Put them into this group.")
@click.option("--cert", is_flag=True, help="Issue a key and certificate instead of a token.")
@click.option(
    "--csr",
    type=click.File("rb"),
    help="Sign this request (PEM) instead of making a key; for one thing.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where NAME.crt, NAME.key and ca.crt are written.  [default: .]",
)
@click.option("--days", type=click.IntRange(1), default=CERTIFICATE_DAYS, show_default=True)
@as_json
@reaching
@runs_async
async def add(
    where: Where,
    names: Sequence[str],
    attributes: Sequence[tuple[str, str]],
    group: str | None,
    cert: bool,
    csr: IO[bytes] | None,
    out: Path | None,
    days: int,
    as_json: bool,
) -> None:
    """Register things, each with a token that is printed this once, or with a certificate.

    A thing that exists is given a new certificate by --cert; its earlier ones stay good.

    \b
    Example:
      jobbroker things add pump-1 pump-2 --group pumps --attribute site=north
      jobbroker things add pump-3 --cert --out ./pump-3
    """
    if (csr or out) and not cert:
        raise click.UsageError("--csr and --out go with --cert")
    if csr and len(names) != 1:
        raise click.UsageError("--csr is for one thing")
    made = []
    async with caller(where) as asked:
        for name in names:
            payload: Body = {"thingName": name, "issueToken": not cert}
            if attributes:
                payload["attributes"] = dict(attributes)
            if cert:
                made.append(await _certified(asked, where, payload, csr=csr, out=out, days=days))
            else:
                made.append(await asked.call("things/create", payload))
        if group is not None:
            from broker.simulator.registration import join

            await join(asked, group, names)
    if as_json:
        print_json(made)
        return
    columns = ("THING", "CERTIFICATE", "KEY") if cert else ("THING", "TOKEN")
    fields = ("thingName", "certificate", "key") if cert else ("thingName", "token")
    more = columns_of(made)
    rows = [[*(one.get(field) for field in fields), *cells_of(one, more)] for one in made]
    print_table((*columns, *more), rows)
    if not cert and any("token" in one for one in made):
        remark("A token is shown this once: username NAME, password TOKEN.")
    if not cert and not all("token" in one for one in made):
        remark("Those without a token here are things already, and have a credential.")


async def _certified(
    asked: Caller,
    where: Where,
    payload: Body,
    *,
    csr: IO[bytes] | None,
    out: Path | None,
    days: int,
) -> Body:
    from broker.certificates import hand_out

    if not isinstance(asked, DatabaseCaller):
        raise Failure("certificates are issued where the authority's key is, not over MQTT")
    return await hand_out(
        asked,
        payload,
        authority_dir=running_authority_dir(where),
        out=out or Path(),
        request=csr.read() if csr else None,
        days=days,
    )


things.add_command(key_command("thing", "pump-1"))


@things.command("list", short_help="List things by name.")
@click.option("--prefix", help="Only names that begin so.")
@click.option("--attribute", type=Pair(), help="Only those with name=value.")
@click.option("--limit", type=click.IntRange(1), help="How many.  [default: all]")
@as_json
@reaching
@runs_async
async def list_things(
    where: Where,
    prefix: str | None,
    attribute: tuple[str, str] | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """List things by name.

    \b
    Example:
      jobbroker things list --prefix pump- --attribute site=north
    """
    name, value = attribute or (None, None)
    said = {"namePrefixFilter": prefix, "attributeName": name, "attributeValue": value}
    payload = {key: text for key, text in said.items() if text is not None}
    async with caller(where) as asked:
        listing = pages(asked, "things/list", payload, members="things", most=limit)
        found = [one async for one in listing]
    if as_json:
        print_json(found)
        return
    rows = [(one["thingName"], _pairs(one.get("attributes"))) for one in found]
    print_table(("THING", "ATTRIBUTES"), rows)


@things.command("search", short_help="List things that a query fits.")
@click.argument("query")
@click.option("--limit", type=click.IntRange(1), help="How many.  [default: all]")
@as_json
@reaching
@runs_async
async def search(where: Where, query: str, limit: int | None, as_json: bool) -> None:
    """List the things that a query fits, before a dynamic group is made of it.

    \b
    Example:
      jobbroker things search 'attributes.site:roof AND NOT thingName:pump-9*'
    """
    async with caller(where) as asked:
        listing = pages(
            asked, "things/search", {"queryString": query}, members="things", most=limit
        )
        found = [one["thingName"] async for one in listing]
    if as_json:
        print_json(found)
    else:
        click.echo("\n".join(found))


@things.command("show", short_help="Show a thing.")
@click.argument("name")
@as_json
@reaching
@runs_async
async def show(where: Where, name: str, as_json: bool) -> None:
    """Show a thing with all that is known of it.

    \b
    Example:
      jobbroker things show pump-1
    """
    async with caller(where) as asked:
        body = await asked.call("things/get", {"thingName": name})
    if as_json:
        print_json(body)
        return
    for key, value in body.items():
        click.echo(f"{key}: {_pairs(value) if isinstance(value, dict) else value}")


@things.command("update", short_help="Change a thing's attributes.")
@click.argument("name")
@click.option("--attribute", "attributes", multiple=True, type=Pair(), help="name=value.")
@click.option("--without", multiple=True, help="The name of an attribute to take away.")
@as_json
@reaching
@runs_async
async def update(
    where: Where,
    name: str,
    attributes: Sequence[tuple[str, str]],
    without: Sequence[str],
    as_json: bool,
) -> None:
    """Change a thing's attributes; those not named stay. Dynamic groups follow at once.

    \b
    Example:
      jobbroker things update pump-1 --attribute firmware=7.1 --without ordered
    """
    if not attributes and not without:
        raise click.UsageError("--attribute or --without is needed")
    payload = {"attributes": {**dict(attributes), **dict.fromkeys(without, "")}, "merge": True}
    async with caller(where) as asked:
        body = await asked.call("things/update", {"thingName": name, "attributePayload": payload})
    if as_json:
        print_json(body)
    else:
        click.echo(f"{name} is at version {body['version']}")


@things.command("remove", short_help="Remove things and what lets them in.")
@click.argument("names", nargs=-1, required=True)
@as_json
@reaching
@runs_async
async def remove(where: Where, names: Sequence[str], as_json: bool) -> None:
    """Remove things; their tokens and certificates are refused from then on.

    \b
    Example:
      jobbroker things remove pump-1
    """
    async with caller(where) as asked:
        for name in names:
            await asked.call("things/delete", {"thingName": name})
    if as_json:
        print_json({"removed": list(names)})
    else:
        click.echo(f"removed {', '.join(names)}")


@things.command("credentials", short_help="Show, give and take what lets a thing in.")
@click.argument("name")
@click.option("--issue", is_flag=True, help="A new token; the one it has stops working.")
@click.option(
    "--revoke",
    type=click.Choice(("all", "token", "certificate")),
    help="Take credentials away.",
)
@click.option("--serial", help="With --revoke: only the certificate of this serial.")
@as_json
@reaching
@runs_async
async def credentials(
    where: Where, name: str, issue: bool, revoke: str | None, serial: str | None, as_json: bool
) -> None:
    """Show a thing's credentials; with --issue or --revoke change them.

    \b
    Example:
      jobbroker things credentials pump-1
      jobbroker things credentials pump-1 --issue
    """
    if issue and revoke:
        raise click.UsageError("--issue and --revoke do not go together")
    if serial and not revoke:
        raise click.UsageError("--serial goes with --revoke")
    payload: Body = {"thingName": name}
    async with caller(where) as asked:
        if issue:
            body = await asked.call("credentials/issue", payload)
        elif revoke:
            payload |= {} if revoke == "all" else {"kind": revoke}
            payload |= {"serial": serial} if serial else {}
            body = await asked.call("credentials/revoke", payload)
        else:
            body = await asked.call("credentials/list", payload)
    if as_json:
        print_json(body)
    elif issue:
        more = columns_of([body])
        print_table(("THING", "TOKEN", *more), [(name, body["token"], *cells_of(body, more))])
    elif revoke:
        click.echo(f"revoked {body['revoked']}")
    else:
        rows = [
            (one["kind"], one.get("serial"), "revoked" if "revokedAt" in one else "live")
            for one in body["credentials"]
        ]
        print_table(("KIND", "SERIAL", "STATE"), rows)


def _pairs(attributes: object) -> str:
    pairs = attributes.items() if isinstance(attributes, dict) else ()
    return " ".join(f"{name}={value}" for name, value in pairs)


@things.command("executions", short_help="List what a thing has done and has to do.")
@click.argument("name")
@click.option("--job", "job_id", help="Only of this job.")
@click.option("--status", help="Only those in this status.")
@as_json
@reaching
@runs_async
async def executions(
    where: Where, name: str, job_id: str | None, status: str | None, as_json: bool
) -> None:
    """List a thing's executions of all jobs, also those that are over.

    \b
    Example:
      jobbroker things executions pump-1 --status FAILED
    """
    payload: Body = {"thingName": name}
    payload |= {key: value for key, value in (("jobId", job_id), ("status", status)) if value}
    async with caller(where) as asked:
        found = [
            {"jobId": one["jobId"], **one["jobExecutionSummary"]}
            async for one in pages(
                asked, "things/executions", payload, members="executionSummaries", most=None
            )
        ]
    if as_json:
        print_json(found)
        return
    fields = ("jobId", "executionNumber", "status", "retryAttempt")
    print_table(
        ("JOB", "NUMBER", "STATUS", "RETRIES"), [[one[field] for field in fields] for one in found]
    )
