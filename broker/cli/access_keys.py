"""What prints access keys: columns beside a new token, and lines for a shell that AWS's tools read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import click

from broker.cli.callers import DatabaseCaller, Where, caller, settings_at
from broker.cli.options import as_json, reaching
from broker.cli.outcome import Exit, Failure, print_json, runs_async

COLUMNS: Final = ("ACCESS KEY ID", "SECRET ACCESS KEY")
_FIELDS: Final = ("accessKeyId", "secretAccessKey")


def columns_of(made: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The headings, where any of what was made has an access key."""
    return COLUMNS if any("secretAccessKey" in one for one in made) else ()


def cells_of(made: Mapping[str, Any], columns: Sequence[str]) -> tuple[str | None, ...]:
    """What stands below them."""
    return tuple(made.get(field) for field in _FIELDS) if columns else ()


def key_command(kind: Literal["operator", "thing"], example: str) -> click.Command:
    """The command `key`, of operators or of things."""

    @click.command("key", short_help=f"Print the access key of {_a(kind)}'s token.")
    @click.argument("name")
    @as_json
    @reaching
    @runs_async
    async def key(where: Where, name: str, as_json: bool) -> None:
        shown = await _shown(where, kind, name)
        if as_json:
            print_json(shown)
            return
        click.echo(f"export AWS_ACCESS_KEY_ID={shown['accessKeyId']}")
        click.echo(f"export AWS_SECRET_ACCESS_KEY={shown['secretAccessKey']}")

    key.help = (
        f"Print the access key that {_a(kind)}'s token is, for boto3 and the AWS CLI.\n\n"
        "\b\nExample:\n"
        f'  eval "$(jobbroker {kind}s key {example})"'
    )
    return key


async def _shown(where: Where, kind: Literal["operator", "thing"], name: str) -> dict[str, str]:
    from broker.outside import access_keys_of
    from handlers.tokens import digest_for_key

    async with caller(where) as asked:
        if not isinstance(asked, DatabaseCaller):
            raise Failure("access keys are shown where JOBBROKER_SECRET_KEY is, not over MQTT")
        keys = access_keys_of(settings_at(where))
        if keys is None:
            raise Failure(
                "access keys need JOBBROKER_SECRET_KEY, the one that the broker has;"
                " `jobbroker secrets new-key` makes one",
                Exit.USAGE,
            )
        digest = await digest_for_key(
            asked.pool, where.tenant, kind=kind, name=name, who=asked.actor_name
        )
        if digest is None:
            raise Failure(f"no {kind} {name!r} with a token in {where.tenant!r}", Exit.NOT_FOUND)
        return keys.of_digest(digest)


def _a(kind: str) -> str:
    return "an operator" if kind == "operator" else "a thing"
