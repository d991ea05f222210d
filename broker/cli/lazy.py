"""A group of commands that are imported when one is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping

import click
from click.shell_completion import CompletionItem


class LazyGroup(click.Group):
    """Commands by name, each with `module:attribute` and the line that the list shows for it."""

    def __init__(
        self,
        name: str | None = None,
        *,
        commands_at: Mapping[str, tuple[str, str]],
        callback: Callable[..., object] | None = None,
        params: list[click.Parameter] | None = None,
        help: str | None = None,  # noqa: A002 - click's own name for it
    ) -> None:
        super().__init__(name, callback=callback, params=params, help=help)
        self.commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which they were given: the first are used first."""
        del ctx
        return list(self.commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None when there is none of that name."""
        del ctx
        if cmd_name not in self.commands_at:
            return None
        module, _, attribute = self.commands_at[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{attribute} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list without importing anything."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.commands_at.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete from the list, without importing anything."""
        begun = [name for name in self.commands_at if name.startswith(incomplete)]
        if begun and not incomplete.startswith("-"):
            return [CompletionItem(name, help=self.commands_at[name][1]) for name in begun]
        return super().shell_complete(ctx, incomplete)
