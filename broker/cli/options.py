"""Options that commands share: whom to talk to, and in which words to answer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

import click

from broker.cli.callers import Where
from broker.cli.outcome import tells
from schema.topics import DEFAULT_TENANT

P = ParamSpec("P")
T = TypeVar("T")
as_json: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def reaching(command: Callable[Concatenate[Where, P], T]) -> Callable[..., T]:
    """Add the options that say whom to talk to, handed over as the first argument, a `Where`."""

    @click.option(
        "--as",
        "operator_url",
        metavar="URL",
        help="Act as an operator over MQTT: mqtt://ann:TOKEN@host:port.  [JOBBROKER_OPERATOR_URL]",
    )
    @click.option(
        "--ca-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Certificates to trust with --as mqtts://.",
    )
    @click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help="Whose fleet it is.")
    @click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="Use the `jobbroker up` that runs on this directory.",
    )
    @tells
    @functools.wraps(command)
    def reached(
        operator_url: str | None,
        ca_file: Path | None,
        tenant: str,
        data_dir: Path | None,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        where = place(operator_url, ca_file, tenant=tenant, data_dir=data_dir)
        return command(where, *args, **kwargs)

    return reached


def place(
    operator_url: str | None, ca_file: Path | None, *, tenant: str, data_dir: Path | None
) -> Where:
    """Whom to talk to, from options first and the environment second. Raises SettingsError."""
    from broker.settings import local_settings

    local = local_settings()
    # A directory that is named is meant, whatever the environment says.
    named = data_dir is not None
    return Where(
        operator_url=operator_url or (None if named else local.text_of("operator_url")),
        ca_file=ca_file,
        database_url=None if named else local.text_of("database_url"),
        tenant=tenant,
        data_dir=data_dir or local.data_dir,
    )
