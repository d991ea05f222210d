"""How a command ends: its exit code, its sentence on stderr, and what it prints."""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from enum import IntEnum
from typing import Any, Final, ParamSpec, TypeVar

import click

from schema.errors import Code

P = ParamSpec("P")
T = TypeVar("T")


class Exit(IntEnum):
    """The exit codes; their numbers are a promise to scripts."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNSUCCESSFUL = 5
    TIMEOUT = 6


_BY_CODE: Final = {
    Code.INVALID_JSON: Exit.USAGE,
    Code.INVALID_REQUEST: Exit.USAGE,
    Code.INVALID_TOPIC: Exit.USAGE,
    Code.LIMIT_EXCEEDED: Exit.USAGE,
    Code.RESOURCE_NOT_FOUND: Exit.NOT_FOUND,
    Code.RESOURCE_ALREADY_EXISTS: Exit.CONFLICT,
    Code.INVALID_STATE_TRANSITION: Exit.CONFLICT,
    Code.TERMINAL_STATE_REACHED: Exit.CONFLICT,
    Code.VERSION_MISMATCH: Exit.CONFLICT,
}


class Failure(click.ClickException):
    """A command that ends with a sentence on stderr and an exit code."""

    def __init__(self, message: str, exit_code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.code_of_exit = exit_code

    @property
    def exit_code(self) -> int:  # type: ignore[override] # click declares a variable of the class
        """What click ends the program with."""
        return int(self.code_of_exit)


class Refused(Failure):
    """The broker refused a command: its code, its message, and the exit code that goes with it."""

    def __init__(self, code: str, message: str) -> None:
        known = code in Code.__members__.values()
        super().__init__(
            f"{message} ({code})", _BY_CODE.get(Code(code), Exit.FAILED) if known else Exit.FAILED
        )
        self.code = code


def runs_async(command: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make a command of a coroutine; what is expected to go wrong becomes one sentence."""

    @tells
    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return asyncio.run(command(*args, **kwargs))

    return run


def tells(command: Callable[P, T]) -> Callable[P, T]:
    """Make a command end with one sentence when something goes wrong that is expected to."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if (failure := expected(error)) is not None:
                raise failure from error
            raise

    return run


def expected(error: BaseException) -> Failure | None:
    """The failure that an error stands for, when it is one that operators meet; None for a defect."""
    if isinstance(error, BaseExceptionGroup):
        told = [expected(one) for one in error.exceptions]
        return told[0] if all(one is not None for one in told) else None
    if isinstance(error, Failure):
        return error
    for kinds, prefix, exit_code in _expected_kinds():
        if isinstance(error, kinds):
            return Failure(f"{prefix}{error}" if str(error) else "no answer in time", exit_code)
    return None


def _expected_kinds() -> list[tuple[tuple[type[Exception], ...], str, Exit]]:
    # Imported here, when something went wrong, so that --help does not wait for them.
    import asyncpg

    from broker.ca import AuthorityExistsError, AuthorityMissingError
    from broker.embedded.accounts import EmbeddedServerError
    from broker.embedded.directory import DirectoryTakenError
    from broker.local_settings import SettingsError
    from broker.mqtt.connection import ConnectError
    from broker.slots import SlotLostError
    from handlers.migrate import MigrationBlockedError, SchemaTooNewError, SchemaTooOldError

    return [
        ((SettingsError,), "", Exit.USAGE),
        ((AuthorityExistsError, DirectoryTakenError), "", Exit.CONFLICT),
        ((AuthorityMissingError,), "", Exit.NOT_FOUND),
        (
            (
                EmbeddedServerError,
                SchemaTooNewError,
                SchemaTooOldError,
                ConnectError,
                SlotLostError,
            ),
            "",
            Exit.FAILED,
        ),
        ((TimeoutError, MigrationBlockedError), "", Exit.TIMEOUT),
        ((asyncpg.PostgresError, asyncpg.InterfaceError), "PostgreSQL: ", Exit.FAILED),
        ((OSError,), "", Exit.FAILED),
    ]


def print_json(value: object) -> None:
    """Print one JSON value: a line when nobody looks, indented on a terminal."""
    indent = 2 if sys.stdout.isatty() else None
    click.echo(json.dumps(value, indent=indent, ensure_ascii=False))


def print_done(body: object, words: str, *, as_json: bool) -> None:
    """What was done: the answer as JSON, or a line of words."""
    if as_json:
        print_json(body)
    else:
        click.echo(words)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings, as wide as what is in them; no rows, no headings."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not texts:
        return
    widths = [max(len(cell) for cell in column) for column in zip(columns, *texts, strict=True)]
    for line in [list(columns), *texts]:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def remark(text: str) -> None:
    """Print a line for people on stderr, out of the way of what a script reads."""
    click.echo(text, err=True)
