"""A new job's document: given, read from its source or taken from a template, and checked in each case."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from handlers.context import not_found
from schema import placeholders
from schema.fields import compact_json
from schema.sql import queries
from schema.template_commands import TemplateSettings
from schema.templates import find_managed, parse_arn

if TYPE_CHECKING:
    import asyncpg

    from handlers.context import Context
    from schema.commands import CreateJob

_SQL: Final = queries("templates")


@dataclass(frozen=True, slots=True)
class JobDocument:
    """A job's document as its row holds it, before substitution.

    plain: devices are given the text as it is. parameters are what `${aws:iot:parameter:NAME}` stands for, those that
    a managed template fills with nothing as empty texts.
    """

    text: str
    plain: bool = True
    parameters: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    template_arn: str | None = None

    @property
    def parameters_text(self) -> str | None:
        """The parameters as JSON; None when there are none."""
        return compact_json(dict(self.parameters)) if self.parameters else None


async def find(context: Context, command: CreateJob) -> tuple[CreateJob, JobDocument]:
    """The command with what its template settles, and its document.

    Raises SourceNeeded, and Rejected: ResourceNotFound for a template that is not there, InvalidRequest for a document
    or parameters that are not right.
    """
    parameters = command.document_parameters or {}
    if command.job_template_arn is not None:
        return await _from_template(context, command, command.job_template_arn)
    if command.document is not None:
        return command, checked(context, command.document, parameters)
    url = command.document_source or ""
    return command, checked(context, context.source_at(url), parameters, source=url)


def checked(
    context: Context,
    text: str,
    parameters: Mapping[str, str] | None = None,
    *,
    source: str | None = None,
    template_arn: str | None = None,
) -> JobDocument:
    """A document that can be filled for every thing. Raises Rejected (InvalidRequest) naming the placeholder."""
    template = placeholders.check(text, parameters, signer=context.signer)
    return JobDocument(text, template.parts == (text,), parameters or {}, source, template_arn)


def parameters_of(job: asyncpg.Record) -> dict[str, str]:
    """The parameters that a job's document is filled with."""
    text = job["document_parameters"]
    return {} if text is None else json.loads(text)


def given_parameters(job: asyncpg.Record) -> dict[str, str] | None:
    """The parameters as they were given (AWS: documentParameters); None when there are none."""
    return {name: text for name, text in parameters_of(job).items() if text} or None


async def _from_template(
    context: Context, command: CreateJob, arn: str
) -> tuple[CreateJob, JobDocument]:
    named = parse_arn(arn)
    parameters = command.document_parameters or {}
    if named.is_managed:
        managed = find_managed(named.name, named.version)
        filled = managed.filled_with(parameters)
        return command, checked(context, managed.document, filled, template_arn=arn)
    row = await context.connection.fetchrow(_SQL["get_template"], context.tenant_id, named.name)
    if row is None:
        raise not_found("job template", named.name)
    settings = TemplateSettings.model_validate_json(row["settings"])
    document = checked(
        context, row["document"], parameters, source=row["document_source"], template_arn=arn
    )
    return settings.scheduled(command.taken_from(settings)), document
