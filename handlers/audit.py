"""The audit log: who did what, to what, when; written in the transaction that does it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from handlers.context import Outcome
from schema import paging
from schema.device import seconds
from schema.sql import queries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from handlers.context import Context
    from handlers.database import Connection
    from schema.token_commands import ListAudit

_SQL = queries("plane")
_NEWEST: Final = 2**63 - 1  # above every audit_id


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log, newest has the highest audit_id."""

    audit_id: int
    at: datetime
    actor: str
    role: str
    action: str
    subject: str
    details: dict[str, object]


async def record(
    connection: Connection,
    tenant_id: str,
    *,
    who: tuple[str, str],
    action: str,
    subject: str,
    details: Mapping[str, object],
) -> None:
    """Write one line; who is the operator's name and role, details must hold nothing secret."""
    text = json.dumps(details, ensure_ascii=False)
    await connection.execute(_SQL["insert_audit"], tenant_id, *who, action, subject, text)


async def latest(
    connection: Connection,
    tenant_id: str,
    *,
    subject: str | None = None,
    before: int | None = None,
    most: int = 100,
) -> list[Entry]:
    """Lines of one subject (`job/ID`, `thing/NAME`, ...) or of all, newest first."""
    page = (tenant_id, _NEWEST if before is None else before, most)
    if subject is None:
        rows = await connection.fetch(_SQL["list_audit"], *page)
    else:
        rows = await connection.fetch(_SQL["list_audit_of_subject"], *page, subject)
    return [Entry(**{**dict(row), "details": json.loads(row["details"])}) for row in rows]


async def list_audit(context: Context, command: ListAudit) -> Outcome:
    """Lines of the log, newest first, of one subject if asked."""
    before = paging.decode("audit", command.next_token, (int,))
    lines = await latest(
        context.connection,
        context.tenant_id,
        subject=command.subject,
        before=int(before[0]) if before else None,
        most=command.max_results + 1,
    )
    shown = lines[: command.max_results]
    body: dict[str, object] = {"lines": [_line(one) for one in shown]}
    if len(lines) > len(shown):
        body["nextToken"] = paging.encode("audit", shown[-1].audit_id)
    return Outcome(body)


def _line(entry: Entry) -> dict[str, object]:
    return {
        "at": seconds(entry.at),
        "actor": entry.actor,
        "role": entry.role,
        "action": entry.action,
        "subject": entry.subject,
        "details": entry.details,
    }
