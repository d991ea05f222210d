"""`jobbroker ttn`: an organization's connection to The Things Stack, and what is made there."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, Final

import click

from broker.cli import stack_runs
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
from broker.cli.stack_devices import devices

_POLL_SECONDS: Final = 0.5
organization = click.option(
    "--organization",
    metavar="UUID",
    help="Whose connection.  [default: the only one, or the tenant]",
)


@click.group(short_help="Set up The Things Stack, and its devices.")
def ttn() -> None:
    """Set up The Things Stack: credentials, an application, a webhook, devices.

    \b
    Example:
      jobbroker ttn credentials set --region eu1 --api-key-file key.txt
      jobbroker ttn provision --webhook-url https://fleet.example.net/up --wait
      jobbroker ttn devices import fleet.csv --frequency-plan EU_863_870_TTN
    """


ttn.add_command(devices)
for one in stack_runs.COMMANDS:
    ttn.add_command(one)


@ttn.command("status", short_help="Say where provisioning stands.")
@organization
@as_json
@reaching
@runs_async
async def status(where: Where, organization: str | None, as_json: bool) -> None:
    """Say where provisioning stands, and what helps when it has failed.

    \b
    Example:
      jobbroker ttn status
    """
    async with caller(where) as asked:
        body = await asked.call("ttn/status", said({"organization_id": organization}))
    _show(body, as_json=as_json)


@ttn.command("connections", short_help="List the connections.")
@as_json
@reaching
@runs_async
async def connections(where: Where, as_json: bool) -> None:
    """List the connections to The Things Stack, one for each organization.

    \b
    Example:
      jobbroker ttn connections
    """
    found: list[Body] = []
    async with caller(where) as asked:
        after: Body = {}
        while True:
            body = await asked.call("ttn/connections", after)
            found += body["connections"]
            if "next_token" not in body:
                break
            after = {"next_token": body["next_token"]}
    if as_json:
        print_json({"connections": found})
        return
    columns = ("organization_id", "organization_name", "provisioning_status", "ttn_application_id")
    rows = [[one.get(name, "") for name in columns] for one in found]
    print_table(("ORGANIZATION", "NAME", "STATUS", "APPLICATION"), rows)


@ttn.group("credentials", short_help="Bring keys in, and read them.")
def credentials() -> None:
    """Bring a key of The Things Stack in, and read what is stored.

    \b
    Example:
      jobbroker ttn credentials set --region eu1 --api-key-file key.txt
    """


@credentials.command("get", short_help="Show the credentials; it is put on record.")
@organization
@as_json
@reaching
@runs_async
async def get_credentials(where: Where, organization: str | None, as_json: bool) -> None:
    """Show the credentials in clear. Each reading is in the audit log.

    \b
    Example:
      jobbroker ttn credentials get --json
    """
    async with caller(where) as asked:
        body = await asked.call("ttn/credentials/get", said({"organization_id": organization}))
    _show(body, as_json=as_json)


@credentials.command("set", short_help="Bring a key in, and say where the server is.")
@organization
@click.option("--region", help="A cluster of TTN Sandbox: eu1, nam1, au1.")
@click.option("--stack-tenant", help="With --region: a tenant of The Things Stack Cloud.")
@click.option("--identity-host", help="The identity server of an installation of one's own.")
@click.option("--regional-host", help="Its other servers, where they are elsewhere.")
@click.option("--organization-name", help="What is made is called by it.")
@click.option("--application-id", help="An application that exists.")
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file with the API key.  [default: asked for, or read from stdin]",
)
@click.option("--keep-key", is_flag=True, help="Leave the key that is stored.")
@as_json
@reaching
@runs_async
async def set_credentials(
    where: Where,
    organization: str | None,
    region: str | None,
    stack_tenant: str | None,
    identity_host: str | None,
    regional_host: str | None,
    organization_name: str | None,
    application_id: str | None,
    api_key_file: Path | None,
    keep_key: bool,
    as_json: bool,
) -> None:
    """Bring an API key in, of a user at the server, and say where the server is.

    The key is never an argument, where others could see it.

    \b
    Example:
      jobbroker ttn credentials set --region eu1 --api-key-file key.txt
    """
    payload = said(
        {
            "organization_id": organization,
            "api_key": None if keep_key else _key(api_key_file),
            "region": region,
            "tenant": stack_tenant,
            "identity_host": identity_host,
            "regional_host": regional_host,
            "organization_name": organization_name,
            "application_id": application_id,
        }
    )
    async with caller(where) as asked:
        body = await asked.call("ttn/credentials/set", payload)
    _show(body, as_json=as_json)


def _key(file: Path | None) -> str:
    if file is not None:
        return file.read_text("utf-8").strip()
    if sys.stdin.isatty():
        return str(click.prompt("API key", hide_input=True, err=True)).strip()
    return sys.stdin.read().strip()


@ttn.command("provision", short_help="Make what is missing at the server.")
@organization
@click.option("--owner", type=click.Choice(["user", "organization"]), help="Whom it belongs to.")
@click.option("--organization-name", help="What is made is called by it.")
@click.option("--application-id", help="The application's id.  [default: one is chosen]")
@click.option("--stack-organization", help="The server's organization.  [default: one is chosen]")
@click.option("--webhook-url", help="Where uplinks are sent; without it there is no webhook.")
@click.option("--gateway-key", is_flag=True, help="Make a key to link gateways, too.")
@click.option("--wait", is_flag=True, help="Until it ends; exit code 5 when it has failed.")
@as_json
@reaching
@runs_async
async def provision(
    where: Where,
    organization: str | None,
    owner: str | None,
    organization_name: str | None,
    application_id: str | None,
    stack_organization: str | None,
    webhook_url: str | None,
    gateway_key: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Make what is missing at the server, or go on with what is half-made.

    \b
    Example:
      jobbroker ttn provision --webhook-url https://fleet.example.net/up --wait
    """
    about = said({"organization_id": organization})
    payload = said(
        {
            "owner": owner,
            "organization_name": organization_name,
            "application_id": application_id,
            "ttn_organization_id": stack_organization,
            "webhook_url": webhook_url,
            "gateway_key": gateway_key or None,
        }
    )
    async with caller(where) as asked:
        body = await asked.call("ttn/provision", {**about, **payload})
        if wait:
            body = await _ended(asked, about)
    _show(body, as_json=as_json)
    if wait and body["provisioning_status"] != "ready":
        raise Failure(str(body.get("provisioning_error")), Exit.UNSUCCESSFUL)


async def _ended(asked: Caller, about: Body) -> Body:
    told = ""
    while True:
        body = await asked.call("ttn/status", about)
        if body["provisioning_status"] != "provisioning":
            return body
        words = f"{body.get('provisioning_step', 'waiting')}"
        if (error := body.get("provisioning_error")) is not None:
            words += f": {error}; it is tried again"
        if words != told:
            remark(words)
            told = words
        await asyncio.sleep(_POLL_SECONDS)


@ttn.command("start-fresh", short_help="Forget what was made, to begin anew.")
@organization
@as_json
@reaching
@runs_async
async def start_fresh(where: Where, organization: str | None, as_json: bool) -> None:
    """Forget the credentials that were made; the key that was brought in stays.

    \b
    Example:
      jobbroker ttn start-fresh && jobbroker ttn provision --wait
    """
    async with caller(where) as asked:
        body = await asked.call("ttn/start-fresh", said({"organization_id": organization}))
    print_done(body, "forgotten: `jobbroker ttn provision` begins anew", as_json=as_json)


@ttn.command("deep-clean", short_help="Take all away at the server, as a run.")
@organization
@click.option("--force", is_flag=True, help="Forget the connection even when not all is gone.")
@click.option("--dry-run", is_flag=True, help="Only look.")
@as_json
@reaching
@runs_async
async def deep_clean(
    where: Where, organization: str | None, force: bool, dry_run: bool, as_json: bool
) -> None:
    """Take all away at the server: devices, application, organization; the brought key stays.

    \b
    Example:
      jobbroker ttn deep-clean --dry-run
    """
    payload = said({"organization_id": organization, "force": force, "dry_run": dry_run})
    async with caller(where) as asked:
        body = await asked.call("ttn/deep-clean", payload)
    print_done(body, f"run {body['job_id']} has begun", as_json=as_json)


def _show(body: Body, *, as_json: bool) -> None:
    if as_json:
        print_json(body)
        return
    for name, value in body.items():
        if name != "timestamp":
            click.echo(f"{name}: {_words(value)}")


def _words(value: Any) -> str:  # noqa: ANN401 - whatever an answer holds
    if isinstance(value, dict):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
