"""`jobbroker console`: the pages in a browser, as a process of their own."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.cli.outcome import Failure, tells
from broker.cli.servers import run_until_signal
from broker.local_settings import LocalSettings
from broker.priority import step_back
from broker.settings import local_settings

if TYPE_CHECKING:
    from broker.console.oidc import OidcOptions

_NEEDED = "nicegui"
_PARENT_SECONDS = 1.0


@click.command(short_help="Show the fleet in a browser.")
@click.option("--api-url", help="The API.  [default: JOBBROKER_CONSOLE_API_URL, or what runs here]")
@click.option("--host", help="The address to listen on.  [default: JOBBROKER_CONSOLE_HOST]")
@click.option("--port", type=click.IntRange(0, 65535), help="0: a free one.")
@click.option("--prefix", help="The path below which a reverse proxy shows it.")
@click.option("--read-only", is_flag=True, help="Send no command that changes anything.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Of the `jobbroker up` that runs on this directory.",
)
@click.option("--with-parent", is_flag=True, hidden=True, help="End with whoever started it.")
@tells
def console(
    api_url: str | None,
    host: str | None,
    port: int | None,
    prefix: str | None,
    read_only: bool,
    data_dir: Path | None,
    with_parent: bool,
) -> None:
    """Show the console until ctrl-C: a client of the HTTP API, in a process of its own.

    Prints one line when it can be opened: console http://127.0.0.1:PORT/. Operators sign in with
    their tokens. It needs the extra: pip install 'jobbroker[console]'.

    \b
    Example:
      jobbroker console --api-url http://127.0.0.1:8000 --port 8080
    """
    if importlib.util.find_spec(_NEEDED) is None:
        raise Failure("the console is not installed: pip install 'jobbroker[console]'")
    from broker.console.app import ConsoleOptions, serve_console

    local = local_settings()
    step_back(local.console_niceness)
    secret = local.console_secret
    options = ConsoleOptions(
        api_url=api_url or _api_url(local, data_dir),
        host=host or local.console_host,
        port=local.console_port if port is None else port,
        prefix=local.console_prefix if prefix is None else prefix,
        secret=None if secret is None else secret.get_secret_value(),
        read_only=read_only or local.console_read_only,
        oidc=_issuer(local),
    )

    def ready(address: str) -> None:
        click.echo(f"console {address}")

    async def run(stop: asyncio.Event) -> None:
        watching = asyncio.create_task(_end_with_parent(stop)) if with_parent else None
        try:
            await serve_console(options, on_ready=ready, stop=stop)
        finally:
            if watching is not None:
                watching.cancel()

    run_until_signal(run)


def _issuer(local: LocalSettings) -> OidcOptions | None:
    """Where one may sign in beside tokens of ours."""
    from broker.console.oidc import OidcOptions

    if local.console_oidc_issuer is None or local.console_oidc_client_id is None:
        return None
    secret = local.console_oidc_client_secret
    return OidcOptions(
        issuer=local.console_oidc_issuer,
        client_id=local.console_oidc_client_id,
        client_secret=None if secret is None else secret.get_secret_value(),
        scope=local.console_oidc_scope,
        shown=local.console_oidc_token,
    )


async def _end_with_parent(stop: asyncio.Event) -> None:
    """Set `stop` when the process that started us is gone, however it went."""
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(_PARENT_SECONDS)
    stop.set()


def _api_url(local: LocalSettings, data_dir: Path | None) -> str:
    """The API that the environment names, or that of the `up` that runs here. Raises Failure."""
    from broker.embedded.directory import running_up

    if data_dir is None and local.console_api_url is not None:
        return local.console_api_url
    told = running_up(data_dir or local.data_dir)
    if told is None or not told.get("http"):
        raise Failure("which API? Say --api-url http://HOST:PORT, or run `jobbroker up`")
    return str(told["http"])
