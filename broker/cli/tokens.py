"""`jobbroker tokens`: create, list, revoke."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from broker.cli.access_keys import cells_of, columns_of
from broker.cli.callers import Where, caller
from broker.cli.listing import pages
from broker.cli.options import as_json, reaching
from broker.cli.outcome import print_done, print_json, print_table, remark, runs_async


@click.group(short_help="Give operators tokens for HTTP, with an expiry.")
def tokens() -> None:
    """Give operators tokens for HTTP, beside the one that is their MQTT password.

    \b
    Example:
      jobbroker tokens create ann --label "nightly build" --days 30
      curl -H "Authorization: Bearer TOKEN" http://127.0.0.1:8000/api/v1/jobs
    """


@tokens.command("create", short_help="One more token for an operator.")
@click.argument("operator")
@click.option("--label", help="What it is for.")
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True)
@as_json
@reaching
@runs_async
async def create(where: Where, operator: str, label: str | None, days: int, as_json: bool) -> None:
    """Make one more token for an operator, which is printed this once and expires after so many days.

    \b
    Example:
      jobbroker tokens create ann --label "nightly build" --days 30
    """
    payload: dict[str, object] = {"operatorName": operator, "expiresInDays": days}
    if label is not None:
        payload["label"] = label
    async with caller(where) as asked:
        made = await asked.call("tokens/create", payload)
    if as_json:
        print_json(made)
        return
    more = columns_of([made])
    row = (made["tokenId"], operator, _day(made["expiresAt"]), made["token"], *cells_of(made, more))
    print_table(("ID", "OPERATOR", "EXPIRES", "TOKEN", *more), [row])
    remark("A token is shown this once: Authorization: Bearer TOKEN.")


@tokens.command("list", short_help="List tokens, with their last use.")
@click.option("--operator", help="Those of this one alone.")
@as_json
@reaching
@runs_async
async def list_tokens(where: Where, operator: str | None, as_json: bool) -> None:
    """List tokens that are good, by operator, with expiry and last use; never the tokens themselves.

    \b
    Example:
      jobbroker tokens list --operator ann
    """
    payload = {} if operator is None else {"operatorName": operator}
    async with caller(where) as asked:
        listing = pages(asked, "tokens/list", payload, members="tokens", most=None)
        found = [one async for one in listing]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["tokenId"],
            one["operatorName"],
            one["kind"],
            _day(one.get("expiresAt")),
            _day(one.get("lastUsedAt")),
            one.get("label"),
        )
        for one in found
    ]
    print_table(("ID", "OPERATOR", "FOR", "EXPIRES", "LAST USED", "LABEL"), rows)


@tokens.command("revoke", short_help="Take a token for HTTP away.")
@click.argument("token_id")
@as_json
@reaching
@runs_async
async def revoke(where: Where, token_id: str, as_json: bool) -> None:
    """Take a token for HTTP away, by its id: it is refused from then on.

    \b
    Example:
      jobbroker tokens revoke 7c9e6679-7425-40de-944b-e07fc1f90ae7
    """
    async with caller(where) as asked:
        await asked.call("tokens/revoke", {"tokenId": token_id})
    print_done({"revoked": [token_id]}, f"revoked {token_id}", as_json=as_json)


def _day(epoch: int | None) -> str | None:
    return None if epoch is None else f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%d %H:%M}"
