"""operators/create, list, delete: nobody hands out more than they hold, and the last owner stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers.context import SECRETS, Context, Outcome, not_found
from handlers.principals import give_up, issue_token, take_names
from schema import paging
from schema.device import seconds
from schema.errors import Code, Rejected
from schema.rights import Role, require_grant
from schema.sql import queries

if TYPE_CHECKING:
    import asyncpg

    from schema.commands import CreateOperator, DeleteOperator, ListOperators
    from schema.view_commands import WhoAmI

_SQL = queries("registry")


async def create_operator(context: Context, command: CreateOperator) -> Outcome:
    """Create an operator; the answer has their token, shown this once, unless issueToken is false.

    A redelivered create of the operator just made is accepted again, without the token: it is stored nowhere. Raises
    Rejected: Unauthorized for a role above what the caller may give, ResourceAlreadyExists.
    """
    name = command.operator_name
    require_grant(context.role, command.role)
    existing = await context.connection.fetchrow(_SQL["get_operator"], context.tenant_id, name)
    body: dict[str, object] = {"operatorName": name, "role": command.role}
    if existing is not None:
        if context.duplicate and existing["role"] == command.role:
            return Outcome(body)
        raise Rejected(
            Code.RESOURCE_ALREADY_EXISTS,
            f"operatorName: {name!r} exists, with the role {existing['role']}",
        )
    await take_names(context.connection, context.tenant_id, [name], "operator")
    await context.connection.execute(
        _SQL["insert_operator"], context.tenant_id, name, command.role, context.actor
    )
    if command.issue_token:
        token = await issue_token(context.connection, context.tenant_id, name)
        body |= {"token": token, **context.access_key(token)}
    return Outcome(
        body,
        subject=f"operator/{name}",
        details={"role": command.role, "token": command.issue_token},
        secrets=SECRETS,
    )


async def list_operators(context: Context, command: ListOperators) -> Outcome:
    """Operators by name, with role and who made them."""
    after = paging.decode("operators", command.next_token, (str,)) or ("",)
    rows = await context.connection.fetch(
        _SQL["list_operators"], context.tenant_id, *after, command.max_results + 1
    )
    shown = rows[: command.max_results]
    body: dict[str, object] = {"operators": [_summary(row) for row in shown]}
    if len(rows) > len(shown):
        body["nextToken"] = paging.encode("operators", shown[-1]["operator_name"])
    return Outcome(body)


async def delete_operator(context: Context, command: DeleteOperator) -> Outcome:
    """Remove an operator and their credentials. A redelivered delete of one that is gone is accepted again.

    Raises Rejected: ResourceNotFound, Unauthorized for a role above what the caller may take, InvalidRequest for the
    last owner.
    """
    name = command.operator_name
    owners = await context.connection.fetch(_SQL["lock_owners"], context.tenant_id)
    operator = await context.connection.fetchrow(_SQL["get_operator"], context.tenant_id, name)
    if operator is None:
        if context.duplicate:
            return Outcome({})
        raise not_found("operator", name)
    require_grant(context.role, Role(operator["role"]))
    if [owner["operator_name"] for owner in owners] == [name]:
        raise Rejected(
            Code.INVALID_REQUEST, f"operatorName: {name!r} is the last owner; make another first"
        )
    await give_up(context.connection, context.tenant_id, name, "operator")
    return Outcome({}, subject=f"operator/{name}", details={"role": operator["role"]})


async def who_am_i(context: Context, command: WhoAmI) -> Outcome:
    """Who asks: name, role and tenant, and the region and account in the tenant's ARNs."""
    del command
    return Outcome(
        {
            "operatorName": context.actor,
            "role": context.role,
            "tenant": context.tenant_id,
            "awsRegion": context.home.region,
            "awsAccount": context.home.account,
        }
    )


def _summary(row: asyncpg.Record) -> dict[str, object]:
    body: dict[str, object] = {
        "operatorName": row["operator_name"],
        "role": row["role"],
        "createdAt": seconds(row["created_at"]),
    }
    return body if row["created_by"] is None else {**body, "createdBy": row["created_by"]}
