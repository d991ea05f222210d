"""`jobbroker ttn devices`: into The Things Stack's registries and out of them, one or a fleet from a file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO
from uuid import uuid4

import click

from broker.cli.callers import Body, Caller, Where, caller
from broker.cli.new_job import said
from broker.cli.options import as_json, reaching
from broker.cli.outcome import Exit, Failure, print_json, print_table, remark, runs_async

_CHUNK: Final = 250
_POLL_SECONDS: Final = 0.5
_TELL_SECONDS: Final = 2.0
_PAGE: Final = 250
organization = click.option(
    "--organization",
    metavar="UUID",
    help="Whose connection.  [default: the only one, or the tenant]",
)
_no_wait = click.option("--no-wait", is_flag=True, help="Do not wait for the end.")


@click.group(short_help="Register devices, and remove them.")
def devices() -> None:
    """Register devices in all four registries of The Things Stack, and remove them.

    \b
    Example:
      jobbroker ttn devices import fleet.csv --frequency-plan EU_863_870_TTN
    """


@devices.command("import", short_help="Register the devices of a file.")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@organization
@click.option("--frequency-plan", help="For devices whose line has no frequency_plan_id.")
@click.option("--join-eui", help="For devices whose line has no join_eui.")
@click.option("--lorawan-version", help="For devices whose line has none.  [default: MAC_V1_0_3]")
@click.option("--lorawan-phy-version", help="The same.  [default: PHY_V1_0_3_REV_A]")
@_no_wait
@as_json
@reaching
@runs_async
async def import_devices(
    where: Where,
    file: TextIO,
    organization: str | None,
    frequency_plan: str | None,
    join_eui: str | None,
    lorawan_version: str | None,
    lorawan_phy_version: str | None,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Register the devices of a CSV or JSON file, with a result for each line.

    A line that is wrong is told and left out; all others are registered. Broken off, import the
    file again: what is registered already stays as it is. Exit code 5 when a line failed.

    \b
    Example:
      jobbroker ttn devices import fleet.csv --frequency-plan EU_863_870_TTN
    """
    from broker.cli.fleet_file import FleetFileError, read_fleet

    defaults = said(
        {
            "frequency_plan_id": frequency_plan,
            "join_eui": join_eui,
            "lorawan_version": lorawan_version,
            "lorawan_phy_version": lorawan_phy_version,
        }
    )
    try:
        lines = read_fleet(file.read(), defaults)
    except (FleetFileError, UnicodeDecodeError) as error:
        raise Failure(f"{file.name}: {error}", Exit.USAGE) from None
    good = [one for one in lines if not one.problem]
    results = [_result(one.number, one.device_id, one.problem) for one in lines if one.problem]
    numbers = {one.device_id: one.number for one in good}
    sent = [
        {"devices": [one.device for one in good[at : at + _CHUNK]]}
        for at in range(0, len(good), _CHUNK)
    ]
    await _in_batch(
        where, "register", sent, organization, numbers, results, no_wait=no_wait, as_json=as_json
    )


@devices.command("remove", short_help="Take devices out of all registries.")
@click.argument("device_ids", metavar="DEVICE_ID...", nargs=-1, required=True)
@organization
@_no_wait
@as_json
@reaching
@runs_async
async def remove_devices(
    where: Where,
    device_ids: Sequence[str],
    organization: str | None,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Take devices out of all four registries, each verified to be gone.

    \b
    Example:
      jobbroker ttn devices remove pump-1 pump-2
    """
    numbers = {name: number for number, name in enumerate(device_ids, 1)}
    names = list(numbers)
    sent: list[Body] = [
        {"device_ids": names[at : at + _CHUNK]} for at in range(0, len(names), _CHUNK)
    ]
    await _in_batch(
        where, "remove", sent, organization, numbers, [], no_wait=no_wait, as_json=as_json
    )


@devices.command("batch", short_help="Say how far a batch is.")
@click.argument("batch_id", metavar="UUID")
@click.option("--wait", is_flag=True, help="Until it ends.")
@as_json
@reaching
@runs_async
async def show_batch(where: Where, batch_id: str, wait: bool, as_json: bool) -> None:
    """Say how far a batch is, with the lines that failed.

    \b
    Example:
      jobbroker ttn devices batch 7c9e6679-7425-40de-944b-e07fc1f90ae7
    """
    async with caller(where) as asked:
        body = await (_ended(asked, batch_id) if wait else _batch(asked, batch_id))
        lines = await _lines(asked, batch_id, "ERROR")
    _report(
        body,
        [_result(one["line"], one["device_id"], one["error"]) for one in lines],
        as_json=as_json,
    )


@devices.command("list", short_help="Show the devices on record.")
@organization
@as_json
@reaching
@runs_async
async def list_devices(where: Where, organization: str | None, as_json: bool) -> None:
    """Show the devices on our record: their state, and in which registries they are.

    \b
    Example:
      jobbroker ttn devices list
    """
    found: list[Body] = []
    async with caller(where) as asked:
        payload = said({"organization_id": organization, "limit": _PAGE})
        token: str | None = ""
        while token is not None:
            more = {"next_token": token} if token else {}
            body = await asked.call("ttn/devices/list", {**payload, **more})
            found += body["devices"]
            token = body.get("next_token")
    if as_json:
        print_json(found)
    else:
        rows = [
            (one["device_id"], one["dev_eui"], one["state"], ",".join(one["registered_in"]))
            for one in found
        ]
        print_table(("DEVICE", "DEV EUI", "STATE", "REGISTRIES"), rows)


async def _in_batch(
    where: Where,
    verb: str,
    payloads: Sequence[Body],
    organization: str | None,
    numbers: Mapping[str, int],
    results: list[Body],
    *,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Send commands as one batch, and tell what became of each line. Raises Failure (exit code 5) when one failed."""
    batch_id = str(uuid4())
    about = said({"organization_id": organization, "batch_id": batch_id})
    body: Body = {
        "batch_id": batch_id,
        "status": "FAILED",
        "lines": 0,
        "lines_ok": 0,
        "lines_failed": 0,
    }
    async with caller(where) as asked:
        for payload in payloads:
            await asked.call(f"ttn/devices/{verb}", {**about, **payload})
        if payloads:
            body = await (_batch(asked, batch_id) if no_wait else _ended(asked, batch_id))
            failed = await _lines(asked, batch_id, "ERROR")
            results += [
                _result(numbers[one["device_id"]], one["device_id"], one["error"]) for one in failed
            ]
    _report(body, sorted(results, key=lambda one: one["line"]), as_json=as_json)


async def _batch(asked: Caller, batch_id: str) -> Body:
    return await asked.call("ttn/devices/batch", {"batch_id": batch_id, "limit": 1})


async def _ended(asked: Caller, batch_id: str) -> Body:
    loop = asyncio.get_running_loop()
    next_word = loop.time() + _TELL_SECONDS
    while True:
        body = await _batch(asked, batch_id)
        if body["status"] not in ("QUEUED", "RUNNING"):
            return body
        if loop.time() >= next_word:
            done = body["lines_ok"] + body["lines_failed"]
            remark(
                f"{done} of {body['lines']} done, {body['lines_failed']} failed; batch {batch_id}"
            )
            next_word = loop.time() + _TELL_SECONDS
        await asyncio.sleep(_POLL_SECONDS)


async def _lines(asked: Caller, batch_id: str, status: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token: str | None = ""
    while token is not None:
        more = {"next_token": token} if token else {}
        payload = {"batch_id": batch_id, "status": status, "limit": _PAGE}
        body = await asked.call("ttn/devices/batch", {**payload, **more})
        found += body["results"]
        token = body.get("next_token")
    return found


def _result(number: int, device_id: str, error: str) -> Body:
    return {"line": number, "device_id": device_id, "error": error}


def _report(body: Body, failed: Sequence[Body], *, as_json: bool) -> None:
    shown = {
        name: value
        for name, value in body.items()
        if name not in ("results", "next_token", "timestamp")
    }
    if as_json:
        print_json({**shown, "failed": list(failed)})
    else:
        for one in failed:
            click.echo(f"line {one['line']}: {one['device_id']}: {one['error']}", err=True)
        left = body["lines"] - body["lines_ok"] - body["lines_failed"]
        waits = f", {left} to do" if left else ""
        click.echo(
            f"{body['lines_ok']} done, {len(failed)} failed{waits}; batch {body['batch_id']}"
        )
    if failed:
        raise Failure(f"{len(failed)} devices failed", Exit.UNSUCCESSFUL)
