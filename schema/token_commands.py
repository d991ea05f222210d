"""The commands on operators' tokens for HTTP, and on the audit log: one model each."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from schema.commands import Command, Page
from schema.fields import OperatorName, Text
from schema.limits import AUDIT_SUBJECT_CHARS, TOKEN_DAYS, UUID, is_plain_text


def _subject(value: str) -> str:
    if not is_plain_text(value):
        msg = "has control characters"
        raise ValueError(msg)
    return value


TokenId = Annotated[str, Field(pattern=UUID)]
Subject = Annotated[
    str, Field(min_length=1, max_length=AUDIT_SUBJECT_CHARS), AfterValidator(_subject)
]


class CreateToken(Command):
    """tokens/create: one more token for an operator, for HTTP alone, good for so many days."""

    operator_name: OperatorName
    label: Text | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=TOKEN_DAYS)] = 90


class ListTokens(Page):
    """tokens/list: of all operators, or of one."""

    operator_name: OperatorName | None = None


class RevokeToken(Command):
    """tokens/revoke."""

    token_id: TokenId


class ListAudit(Page):
    """audit/list: who did what, newest first; of one subject (`job/ID`, `thing/NAME`, ...) if asked."""

    subject: Subject | None = None
