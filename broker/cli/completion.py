"""`jobbroker completion`: the script that a shell needs for completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(short_help="Print the script for shell completion.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in SHELL.

    \b
    Example: for every new bash
      jobbroker completion bash >> ~/.bashrc
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    root = ctx.find_root()
    script = found(root.command, {}, root.info_name or "jobbroker", "_JOBBROKER_COMPLETE")
    click.echo(script.source())
