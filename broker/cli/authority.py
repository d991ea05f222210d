"""`jobbroker ca`: the authority that issues certificates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from broker.ca import CertificateAuthority, authority_directory
from broker.cli.options import as_json
from broker.cli.outcome import print_json, tells
from broker.settings import local_settings
from schema.topics import DEFAULT_TENANT


@click.group(short_help="Make the authority that issues devices' certificates.")
def ca() -> None:
    """Make the authority that issues devices' certificates. `jobbroker up` has made its own.

    \b
    Example:
      jobbroker ca init --server-name mqtt.example.net
    """


_names = click.option(
    "--server-name", "names", multiple=True, help="How clients call the MQTT server."
)
_tenant = click.option(
    "--tenant", default=DEFAULT_TENANT, show_default=True, help="Whose authority it is."
)
_directory = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where it is kept.  [default: JOBBROKER_CA_DIR or DATA_DIR/ca]",
)


@ca.command("init", short_help="Make an authority and the MQTT server's certificate.")
@_names
@_tenant
@_directory
@as_json
@tells
def init(names: Sequence[str], tenant: str, directory: Path | None, as_json: bool) -> None:
    """Make an authority (ca.crt, ca.key) and the MQTT server's pair (server.crt, server.key).

    Exits with 4 when there is one: a second would orphan every certificate of the first.

    \b
    Example:
      jobbroker ca init --server-name mqtt.example.net --server-name 192.0.2.7
    """
    place = _place(directory, tenant)
    try:
        made = CertificateAuthority.create(place, now=datetime.now(UTC), server_names=names)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        until = made.certificate.not_valid_after_utc.isoformat(timespec="seconds")
        print_json({"directory": str(place), "caFile": str(place / "ca.crt"), "notAfter": until})
    else:
        click.echo(f"made {place / 'ca.crt'}; keep {place / 'ca.key'} secret and backed up")


@ca.command("renew", short_help="Renew the MQTT server's certificate.")
@_names
@_tenant
@_directory
@as_json
@tells
def renew(names: Sequence[str], tenant: str, directory: Path | None, as_json: bool) -> None:
    """Make the MQTT server a new key and certificate, with these names and those of this machine.

    Clients trust the authority and notice nothing. The broker hands the pair to Mosquitto within a
    minute; restart Mosquitto if it goes on showing the old one.

    \b
    Example:
      jobbroker ca renew --server-name mqtt.example.net
    """
    place = _place(directory, tenant)
    try:
        CertificateAuthority.open(place).renew_server(now=datetime.now(UTC), server_names=names)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        print_json({"certificate": str(place / "server.crt")})
    else:
        click.echo(f"renewed {place / 'server.crt'}")


def _place(directory: Path | None, tenant: str) -> Path:
    try:
        return authority_directory(directory or local_settings().authority_dir, tenant)
    except ValueError as error:
        raise click.UsageError(f"--tenant: {error}") from error
