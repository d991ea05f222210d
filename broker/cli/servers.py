"""Commands that run things: up, serve, migrate, check, health, settings."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from broker.cli.outcome import (
    Exit,
    Failure,
    print_json,
    print_table,
    runs_async,
    tells,
)
from broker.local_settings import LocalSettings
from broker.settings import Settings, describe, load_settings, local_settings

if TYPE_CHECKING:
    from broker.embedded.up import Up
    from handlers.database import Connection

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_data_dir = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Of the `jobbroker up` that runs on this directory.",
)
_port = click.IntRange(1, 65535)


@click.command(short_help="Run everything here.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where all data is kept.  [default: JOBBROKER_DATA_DIR or ~/.local/share/jobbroker]",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Of the listeners with TLS.")
@click.option(
    "--server-name",
    "server_names",
    multiple=True,
    help="A name of this machine, for the MQTT server's certificate.",
)
@click.option("--mqtt-port", type=_port, help="Port for names with tokens, without TLS.")
@click.option("--mqtts-port", type=_port, help="Port for client certificates.")
@click.option("--operators-port", type=_port, help="Port for names with tokens, by TLS.")
@click.option("--postgres-port", type=_port, help="Port of PostgreSQL.")
@click.option("--http-port", type=_port, help="Port for HTTP.  [default: 8000, if it is free]")
@click.option(
    "--console-port", type=_port, help="Port of the console.  [default: 8080, if it is free]"
)
@click.option("--console/--no-console", default=True, help="Start it, where it is installed.")
@as_json
@tells
def up(
    data_dir: Path | None,
    host: str,
    server_names: tuple[str, ...],
    mqtt_port: int | None,
    mqtts_port: int | None,
    operators_port: int | None,
    postgres_port: int | None,
    http_port: int | None,
    console_port: int | None,
    console: bool,
    as_json: bool,
) -> None:
    """Run PostgreSQL, Mosquitto and the broker here, until ctrl-C.

    Prints one line when it serves: ready mqtt://127.0.0.1:PORT mqtts://127.0.0.1:PORT
    http://127.0.0.1:PORT. All listens on 127.0.0.1 alone, unless --host lets others reach the
    listeners with TLS, and JOBBROKER_HTTP_HOST that of HTTP. Ports are free ones, 8000 for HTTP if
    it is, and stay the same as long as nobody else takes them. JOBBROKER_DATABASE_URL or
    JOBBROKER_MQTT_URL name a running server to use instead of starting one. Other commands find
    what runs here by the data directory. With jobbroker[console] installed a second line says
    where the console is.

    \b
    Example:
      jobbroker up --data-dir ./fleet
      jobbroker up --host 0.0.0.0 --server-name pi.local --mqtts-port 8883
      jq -r .mqtt ./fleet/up.json
    """
    from broker.embedded.servers import UpOptions
    from broker.embedded.up import up as run

    local = local_settings()
    options = UpOptions(
        data_dir=data_dir or local.data_dir,
        host=host,
        server_names=server_names,
        topics=local.mqtt_topics,
        database_url=local.text_of("database_url"),
        migration_url=local.text_of("migration_url"),
        mqtt_url=local.text_of("mqtt_url"),
        mqtt_port=mqtt_port,
        mqtts_port=mqtts_port,
        operators_port=operators_port,
        postgres_port=postgres_port,
        http_port=http_port,
        console_port=console_port,
        console=console,
    )

    ready = partial(_say_ready, as_json=as_json)
    run_until_signal(lambda stop: run(options, on_ready=ready, stop=stop))


def _say_ready(told: Up, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(told))
        return
    click.echo(told.ready_line)
    if told.console is not None:
        click.echo(f"console {told.console}")


@click.command(short_help="Run the broker against running servers.")
@tells
def serve() -> None:
    """Run the broker against a running PostgreSQL and Mosquitto, until SIGTERM.

    It keeps nothing itself: any number may run beside each other, and any may be killed. Settings
    come from JOBBROKER_* (see `jobbroker settings`).

    \b
    Example:
      JOBBROKER_DATABASE_URL=postgresql://jobbroker:secret@db/jobbroker \\
      JOBBROKER_MQTT_URL=mqtt://%40jobbroker:secret@mosquitto:1884 jobbroker serve
    """
    from broker.serving import serve_with_access

    def ready() -> None:
        click.echo("ready")

    run_until_signal(lambda stop: serve_with_access(load_settings(), on_ready=ready, stop=stop))


def run_until_signal(
    main: Callable[[asyncio.Event], Coroutine[Any, Any, None]], *, log_level: str | None = None
) -> None:
    """Run a service on uvloop; SIGINT and SIGTERM set its stop event, and it ends in its own time.

    log_level takes the place of the setting's.
    """
    import uvloop

    from broker.logs import set_up_logs

    async def run() -> None:
        local = local_settings()
        set_up_logs(local.log_format, log_level or local.log_level)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for which in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(which, stop.set)
        await main(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@click.command(short_help="Bring the database to this program's structure.")
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit 1 if it is not.")
@as_json
@runs_async
async def migrate(only_check: bool, as_json: bool) -> None:
    """Apply the migrations that the database lacks; two at once are harmless.

    Uses JOBBROKER_MIGRATION_URL, the owner's login, or else JOBBROKER_DATABASE_URL. When both are
    set and name different logins, the serving one is made if it is missing, and may then act as
    jobbroker_serve and nothing more.

    \b
    Example:
      JOBBROKER_MIGRATION_URL=postgresql://postgres:secret@db/jobbroker jobbroker migrate
    """
    from broker.embedded.postgres import connected
    from handlers.migrate import migrate as apply
    from handlers.migrate import require_current

    local = local_settings()
    applied: list[str] = []
    async with connected(local.owner_url) as connection:
        if only_check:
            await require_current(connection)
        else:
            applied = await apply(connection)
            await _serving_login(connection, local)
    if as_json:
        print_json({"applied": applied, "current": True})
    else:
        click.echo("\n".join([*(f"applied {name}" for name in applied), "the database is current"]))


async def _serving_login(connection: Connection, local: LocalSettings) -> None:
    from urllib.parse import unquote, urlsplit

    from handlers.logins import ensure_serving_login

    serving, owner = urlsplit(local.text_of("database_url") or ""), urlsplit(local.owner_url)
    if serving.username and serving.username != owner.username:
        password = None if serving.password is None else unquote(serving.password)
        await ensure_serving_login(connection, unquote(serving.username), password)


@click.command(short_help="Examine settings, database and MQTT server.")
@_data_dir
@as_json
@runs_async
async def check(data_dir: Path | None, as_json: bool) -> None:
    """Examine what the broker depends on; each line says ok, warn or fail, and what to do.

    Exits with 1 when anything failed. Examines a running `jobbroker up` when no
    JOBBROKER_DATABASE_URL is set.

    \b
    Example:
      jobbroker check --json | jq '.[] | select(.state != "ok")'
    """
    from broker.doctor import examine

    settings, operator_url, http_url = served_settings(data_dir)
    findings = [
        one async for one in examine(settings, operator_url=operator_url, http_url=http_url)
    ]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        rows = [(one.state, one.what, one.said) for one in findings]
        print_table(("STATE", "WHAT", "FOUND"), rows)
        for one in findings:
            if one.remedy:
                click.echo(f"\n{one.what}: {one.remedy}")
    if any(one.state == "fail" for one in findings):
        raise click.exceptions.Exit(Exit.FAILED)


def served_settings(data_dir: Path | None) -> tuple[Settings, str | None, str | None]:
    """The settings of the environment, or of the `up` that runs; an operator to ask as, and HTTP's URL, if known.

    Raises SettingsError, and Failure when no `up` runs on a directory that was named.
    """
    from broker.embedded.directory import running_up

    local = local_settings()
    told = None
    if data_dir is not None or local.database_url is None or local.mqtt_url is None:
        told = running_up(data_dir or local.data_dir)
    if told is None:
        if data_dir is not None:
            raise Failure(f"no `jobbroker up` runs in {data_dir}")
        found = load_settings()
        return found, local.text_of("operator_url"), found.http_url
    instead = {
        "database_url": told["database"],
        "mqtt_url": told["broker_mqtt"],
        "mqtt_topics": told["mqtt_topics"],
        "data_dir": told["data_dir"],
        "access_dir": told["access_dir"],
    }
    return load_settings(**instead), told["operator"], told["http"]


@click.command(short_help="Say quickly whether the servers answer.")
@_data_dir
@runs_async
async def health(data_dir: Path | None) -> None:
    """Exit with 0 when PostgreSQL has our structure and the MQTT server lets the broker in, else 1.

    For a container's health check.

    \b
    Example:
      jobbroker health && echo fine
    """
    from broker.doctor import answers

    problem = await answers(served_settings(data_dir)[0])
    if problem is not None:
        raise Failure(problem)
    click.echo("ok")


@click.command(short_help="List all JOBBROKER_* variables.")
@as_json
def settings(as_json: bool) -> None:
    """List all variables that are read, with their defaults.

    \b
    Example:
      jobbroker settings --json | jq -r '.[].name'
    """
    rows = describe()
    if as_json:
        print_json([dict(zip(("name", "default", "about"), row, strict=True)) for row in rows])
        return
    for name, default, about in rows:
        click.echo(f"{name}{f'  [{default}]' if default else ''}")
        click.echo(click.wrap_text(about, 96, initial_indent="    ", subsequent_indent="    "))
