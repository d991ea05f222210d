"""`jobbroker templates`: create, list, show, delete."""

from __future__ import annotations

from typing import IO

import click

from broker.cli.callers import Where, caller
from broker.cli.kinds import MANAGED, job_arn
from broker.cli.listing import pages
from broker.cli.new_job import said, settings, text_of
from broker.cli.options import as_json, reaching
from broker.cli.outcome import print_json, print_table, runs_async


@click.group(short_help="Keep what jobs are made of; use AWS's own.")
def templates() -> None:
    """Keep documents and settings that jobs are made of; AWS's managed templates are there too.

    \b
    Example:
      jobbroker templates create firmware --description "Install firmware" \\
        --document-json '{"url":"https://firmware.example/${aws:iot:parameter:version}.bin"}'
      jobbroker jobs create --group pumps --template firmware --parameter version=7
    """


@templates.command("create", short_help="Keep a template.")
@click.argument("name")
@click.option("--description", required=True, help="What it is for.")
@click.option("--document", type=click.File("rb"), help="A file with a JSON object; - is stdin.")
@click.option("--document-json", metavar="JSON", help="The JSON object itself.")
@click.option("--document-source", metavar="URL", help="Where the broker reads it, now and once.")
@click.option("--job", help="Take document and settings of this job.")
@click.option("--timeout-minutes", type=int, help="How long a thing may take, once started.")
@click.option("--url-seconds", type=int, help="How long presigned URLs are good.")
@as_json
@reaching
@runs_async
async def create(
    where: Where,
    name: str,
    description: str,
    document: IO[bytes] | None,
    document_json: str | None,
    document_source: str | None,
    job: str | None,
    timeout_minutes: int | None,
    url_seconds: int | None,
    as_json: bool,
) -> None:
    """Keep a template; exits with 4 when the name is taken by another one.

    \b
    Example:
      jobbroker templates create firmware --description "Install firmware" --document fw.json
      jobbroker templates create again --description "As fw-7 was" --job fw-7
    """
    given = [document, document_json, document_source, job]
    if sum(one is not None for one in given) != 1:
        raise click.UsageError(
            "one of --document, --document-json, --document-source and --job is needed"
        )
    payload = {
        "jobTemplateId": name,
        "description": description,
        "document": text_of(document, document_json),
        "documentSource": document_source,
        "jobArn": job and job_arn(job),
        **settings(timeout_minutes=timeout_minutes, url_seconds=url_seconds),
    }
    async with caller(where) as asked:
        made = await asked.call("templates/create", said(payload))
    if as_json:
        print_json(made)
    else:
        click.echo(f"{name} made")


@templates.command("list", short_help="List templates by name.")
@click.option("--managed", is_flag=True, help="AWS's, which are always there.")
@as_json
@reaching
@runs_async
async def list_templates(where: Where, managed: bool, as_json: bool) -> None:
    """List templates by name.

    \b
    Example:
      jobbroker templates list --managed
    """
    verb = "managed-templates/list" if managed else "templates/list"
    members = "managedJobTemplates" if managed else "jobTemplates"
    async with caller(where) as asked:
        found = [one async for one in pages(asked, verb, {}, members=members, most=None)]
    if as_json:
        print_json(found)
        return
    name = "templateName" if managed else "jobTemplateId"
    print_table(("TEMPLATE", "DESCRIPTION"), [(one[name], one["description"]) for one in found])


@templates.command("show", short_help="Show a template with its document.")
@click.argument("name")
@as_json
@reaching
@runs_async
async def show(where: Where, name: str, as_json: bool) -> None:
    """Show a template with its document; of AWS's (AWS-...) with the parameters it takes.

    \b
    Example:
      jobbroker templates show AWS-Download-File
    """
    async with caller(where) as asked:
        if found := MANAGED.fullmatch(name):
            payload = said({"templateName": found["name"], "templateVersion": found["version"]})
            body = await asked.call("managed-templates/get", payload)
        else:
            body = await asked.call("templates/get", {"jobTemplateId": name})
    if as_json:
        print_json(body)
        return
    click.echo(f"{name}: {body['description']}")
    for member in ("documentSource", "timeoutConfig", "presignedUrlConfig"):
        if body.get(member):
            click.echo(f"{member}: {body[member]}")
    click.echo(f"document: {body['document']}")
    rows = [
        (one["key"], "" if one["optional"] else "yes", one["example"], one["description"])
        for one in body.get("documentParameters", [])
    ]
    if rows:
        click.echo()
        print_table(("PARAMETER", "REQUIRED", "EXAMPLE", "DESCRIPTION"), rows)


@templates.command("delete", short_help="Forget a template; its jobs go on.")
@click.argument("name")
@as_json
@reaching
@runs_async
async def delete(where: Where, name: str, as_json: bool) -> None:
    """Forget a template; jobs that were made of it go on.

    \b
    Example:
      jobbroker templates delete firmware
    """
    async with caller(where) as asked:
        body = await asked.call("templates/delete", {"jobTemplateId": name})
    if as_json:
        print_json(body)
    else:
        click.echo(f"{name} deleted")
