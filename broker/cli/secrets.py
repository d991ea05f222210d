"""`jobbroker secrets`: the keys that stored credentials are sealed with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.cli.options import as_json
from broker.cli.outcome import Exit, Failure, print_json, remark, runs_async, tells

if TYPE_CHECKING:
    from handlers.rotation import Rotated


@click.group(short_help="Make keys for stored credentials; renew them.")
def secrets() -> None:
    """Make keys that stored credentials are sealed with, and seal everything with a new one.

    \b
    Example: a new key in front of the old one, then everything under it, then the new one alone
      export JOBBROKER_SECRET_KEY="$(jobbroker secrets new-key),$JOBBROKER_SECRET_KEY"
      jobbroker secrets rotate
      export JOBBROKER_SECRET_KEY="${JOBBROKER_SECRET_KEY%%,*}"
    """


@secrets.command("new-key", short_help="Print a fresh key.")
@as_json
@tells
def fresh_key(as_json: bool) -> None:
    """Print a fresh key for JOBBROKER_SECRET_KEY: 32 random bytes.

    \b
    Example:
      export JOBBROKER_SECRET_KEY="$(jobbroker secrets new-key)"
    """
    from broker.secret_keys import key_id_of, new_key, parse_keys

    key = new_key()
    if as_json:
        print_json({"key": key, "keyId": key_id_of(parse_keys(key)[0]).hex()})
    else:
        click.echo(key)


@secrets.command("rotate", short_help="Seal everything with the first key.")
@click.option("--batch", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Use the `jobbroker up` that runs on this directory.",
)
@as_json
@runs_async
async def rotate(batch: int, data_dir: Path | None, as_json: bool) -> None:
    """Seal every stored credential, of all tenants, with the first key of JOBBROKER_SECRET_KEY.

    Values that have it already are passed over: broken off, run it again. What none of the keys
    opens is left as it is and named, and the command fails.

    \b
    Example:
      jobbroker secrets rotate
    """
    from broker.cli.callers import Where, database, settings_at
    from broker.outside import sealer_for
    from broker.settings import local_settings
    from handlers.rotation import rotate as rotate_all
    from schema.topics import DEFAULT_TENANT

    local = local_settings()
    # A directory that is named is meant, also where the environment names a database.
    url = None if data_dir is not None else local.text_of("database_url")
    where = Where(None, None, url, DEFAULT_TENANT, data_dir or local.data_dir)
    async with database(where) as pool:
        done = await rotate_all(
            pool, sealer_for(settings_at(where)), batch=batch, on_batch=_progress
        )
    _report(done, as_json=as_json)


def _progress(done: Rotated) -> None:
    remark(f"{done.resealed} sealed anew")


def _report(done: Rotated, *, as_json: bool) -> None:
    if as_json:
        failed = [{"place": str(one.place), "problem": one.problem} for one in done.unopened]
        print_json({"resealed": done.resealed, "current": done.current, "failed": failed})
    else:
        failed_count = len(done.unopened)
        click.echo(
            f"{done.resealed} sealed anew, {done.current} had the key, {failed_count} failed"
        )
        for one in done.unopened:
            click.echo(f"failed: {one.place}: {one.problem}", err=True)
    if done.unopened:
        raise Failure(f"{len(done.unopened)} values were not opened by any key", Exit.FAILED)
