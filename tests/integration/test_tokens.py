"""Operators' tokens for HTTP: shown once, found by what they are, gone when revoked or expired."""

from __future__ import annotations

import pytest
from asyncpg import Connection

from handlers import tokens
from handlers.database import Pool
from schema.rights import Role
from tests import factories
from tests.integration.operator_desk import Desk


async def test_a_token_is_shown_once_and_tells_whose_it_is(pool: Pool, admin: Connection) -> None:
    """The answer has the token; the database has its digest alone, and the lists have neither."""
    desk = Desk(pool)
    await desk.accepted("operators/create", {"operatorName": "bob", "role": "viewer"})
    made = await desk.accepted(
        "tokens/create", {"operatorName": "bob", "label": "ci", "clientToken": "c1"}
    )
    found = await tokens.find_bearer(pool, made["token"])
    assert found == tokens.Bearer("default", "bob", "operator", made["tokenId"])
    again = await desk.accepted(
        "tokens/create", {"operatorName": "bob", "label": "ci", "clientToken": "c1"}
    )
    assert again["tokenId"] == made["tokenId"]
    assert "token" not in again
    listed = await desk.accepted("tokens/list", {"operatorName": "bob"})
    assert {(one["kind"], one.get("label")) for one in listed["tokens"]} == {
        ("mqtt", None),
        ("http", "ci"),
    }
    for table in ("credentials", "audit_log", "operator_requests"):
        rows = await admin.fetch(f"SELECT t::text FROM {table} t")
        assert not any(made["token"] in row["t"] for row in rows), table


async def test_last_use_is_noted_once_a_minute(pool: Pool, admin: Connection) -> None:
    """A use is noted when none was for a minute, and not at each request."""
    desk = Desk(pool)
    token = (await desk.accepted("operators/create", {"operatorName": "bob", "role": "viewer"}))[
        "token"
    ]
    noted = []
    for _ in range(2):
        assert await tokens.find_bearer(pool, token)
        noted.append(await admin.fetchval("SELECT last_used_at FROM credentials"))
    assert noted[0] == noted[1] is not None
    await admin.execute("UPDATE credentials SET last_used_at = now() - interval '61 seconds'")
    assert await tokens.find_bearer(pool, token)
    assert await admin.fetchval("SELECT last_used_at FROM credentials") > noted[0]


@pytest.mark.parametrize("end", ["revoked", "expired", "operator deleted"])
async def test_a_token_that_ended_is_nobodys(pool: Pool, admin: Connection, end: str) -> None:
    """Revoked, expired or its operator's end: the token is unknown from then on."""
    desk = Desk(pool)
    await desk.accepted("operators/create", {"operatorName": "bob", "role": "viewer"})
    made = await desk.accepted("tokens/create", {"operatorName": "bob", "expiresInDays": 1})
    if end == "revoked":
        await desk.accepted("tokens/revoke", {"tokenId": made["tokenId"]})
    elif end == "expired":
        await admin.execute("UPDATE credentials SET not_after = now() WHERE kind = 'key'")
    else:
        await desk.accepted("operators/delete", {"operatorName": "bob"})
    assert await tokens.find_bearer(pool, made["token"]) is None
    listed = await desk.accepted("tokens/list")
    assert not [one for one in listed["tokens"] if one["kind"] == "http"]


async def test_nobody_gives_tokens_above_their_own_role(pool: Pool) -> None:
    """An admin gives and takes a manager's tokens, not an owner's; who is not there is not found."""
    await factories.add_operator(pool, "boss", "owner")
    await factories.add_operator(pool, "bob", "manager")
    desk = Desk(pool, Role.ADMIN)
    assert (await desk.rejected("tokens/create", {"operatorName": "boss"}))[
        "code"
    ] == "Unauthorized"
    of_boss = await Desk(pool).accepted("tokens/create", {"operatorName": "boss"})
    refused = await desk.rejected("tokens/revoke", {"tokenId": of_boss["tokenId"]})
    assert refused["code"] == "Unauthorized"
    made = await desk.accepted("tokens/create", {"operatorName": "bob"})
    await desk.accepted("tokens/revoke", {"tokenId": made["tokenId"]})
    for verb, body in [
        ("tokens/revoke", {"tokenId": made["tokenId"]}),
        ("tokens/create", {"operatorName": "nobody"}),
    ]:
        assert (await desk.rejected(verb, body))["code"] == "ResourceNotFound"


async def test_tokens_are_listed_in_pages_and_bounded(pool: Pool) -> None:
    """Pages go on where the last one ended; beyond fifty an operator gets no more."""
    for name in ("ann", "bob"):
        await factories.add_operator(pool, name, "viewer")
    desk = Desk(pool)
    made = {
        (await desk.accepted("tokens/create", {"operatorName": name}))["tokenId"]
        for name in ("ann", "bob", "bob")
    }
    seen: list[str] = []
    more: dict[str, str] = {}
    while True:
        page = await desk.accepted("tokens/list", {"maxResults": 1, **more})
        seen += [one["tokenId"] for one in page["tokens"]]
        if "nextToken" not in page:
            break
        more = {"nextToken": page["nextToken"]}
    assert len(seen) == 3
    assert set(seen) == made
    for _ in range(49):
        await desk.accepted("tokens/create", {"operatorName": "ann"})
    refused = await desk.rejected("tokens/create", {"operatorName": "ann"})
    assert refused["code"] == "LimitExceeded"


async def test_the_audit_log_is_read_in_pages(pool: Pool) -> None:
    """Newest first, of all or of one subject; a manager may not."""
    desk = Desk(pool)
    for name in ("t1", "t2"):
        await desk.accepted("things/create", {"thingName": name})
    first = await desk.accepted("audit/list", {"maxResults": 1})
    assert first["lines"][0] | {"at": 0} == {
        "at": 0,
        "actor": "ann",
        "role": "owner",
        "action": "things/create",
        "subject": "thing/t2",
        "details": first["lines"][0]["details"],
    }
    rest = await desk.accepted("audit/list", {"nextToken": first["nextToken"]})
    assert [line["subject"] for line in rest["lines"]] == ["thing/t1"]
    one = await desk.accepted("audit/list", {"subject": "thing/t1"})
    assert [line["subject"] for line in one["lines"]] == ["thing/t1"]
    refused = await Desk(pool, Role.MANAGER).rejected("audit/list")
    assert refused["code"] == "Unauthorized"
