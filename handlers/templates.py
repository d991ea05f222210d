"""Job templates: the tenant's own are kept here, AWS's managed ones are the program's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from handlers import job_views, tagging
from handlers.context import Context, Outcome, not_found
from schema import paging, templates
from schema.arns import parse_job
from schema.commands import JobSettings
from schema.decode import fingerprint
from schema.device import seconds
from schema.errors import Code, Rejected
from schema.limits import TEMPLATES
from schema.placeholders import check_open
from schema.sql import queries
from schema.tags import Resource
from schema.windows import SchedulingConfig

if TYPE_CHECKING:
    import asyncpg

    from schema.template_commands import (
        CreateTemplate,
        DeleteTemplate,
        GetManagedTemplate,
        GetTemplate,
        ListManagedTemplates,
        ListTemplates,
    )

_SQL: Final = queries("templates")
_JOBS: Final = queries("jobs")
_SETTINGS: Final = [
    one.alias for name, one in JobSettings.model_fields.items() if name != "client_token"
]


async def create_template(context: Context, command: CreateTemplate) -> Outcome:
    """Keep a template (AWS: CreateJobTemplate); the same one again is accepted again.

    Raises SourceNeeded, and Rejected: ResourceAlreadyExists when the id has other content, ResourceNotFound for a job
    that is not there, LimitExceeded, InvalidRequest naming a placeholder that is wrong.
    """
    template_id = command.job_template_id
    body = _names(context, template_id)
    digest = fingerprint("templates/create", (), command)
    existing = await _row(context, template_id)
    if existing is not None:
        if existing["request_sha256"] == digest:
            return Outcome(body)
        raise Rejected(
            Code.RESOURCE_ALREADY_EXISTS,
            f"jobTemplateId: {template_id!r} is taken by a template of other content",
        )
    count = await context.connection.fetchval(_SQL["count_templates"], context.tenant_id)
    if count >= TEMPLATES:
        raise Rejected(
            Code.LIMIT_EXCEEDED, f"there are {count} job templates, at most {TEMPLATES} may be"
        )
    command, document, source = await _document(context, command)
    check_open(document, signer=context.signer)
    await context.connection.execute(
        _SQL["insert_template"],
        context.tenant_id,
        template_id,
        document,
        source,
        command.description,
        command.settings_text,
        digest,
        context.actor,
        context.now,
    )
    await tagging.give(context, Resource("jobtemplate", template_id), command.tags)
    return Outcome(body, subject=f"template/{template_id}")


async def get_template(context: Context, command: GetTemplate) -> Outcome:
    """A template (AWS: DescribeJobTemplate). Raises Rejected (ResourceNotFound)."""
    row = await _row(context, command.job_template_id)
    if row is None:
        raise not_found("job template", command.job_template_id)
    source = row["document_source"]
    return Outcome(
        {
            **_summary(context, row),
            **({} if source is None else {"documentSource": source}),
            "document": row["document"],
            **json.loads(row["settings"]),
        }
    )


async def list_templates(context: Context, command: ListTemplates) -> Outcome:
    """Templates by id (AWS: ListJobTemplates)."""
    after = paging.decode("templates", command.next_token, (str,)) or ("",)
    rows = await context.connection.fetch(
        _SQL["list_templates"], context.tenant_id, *after, command.max_results + 1
    )
    shown = rows[: command.max_results]
    body: dict[str, object] = {"jobTemplates": [_summary(context, row) for row in shown]}
    if len(rows) > len(shown):
        body["nextToken"] = paging.encode("templates", shown[-1]["template_id"])
    return Outcome(body)


async def delete_template(context: Context, command: DeleteTemplate) -> Outcome:
    """Forget a template (AWS: DeleteJobTemplate); its jobs go on. Raises Rejected (ResourceNotFound)."""
    template_id = command.job_template_id
    gone = await context.connection.fetchval(
        _SQL["delete_template"], context.tenant_id, template_id
    )
    if gone is None:
        raise not_found("job template", template_id)
    return Outcome(_names(context, template_id), subject=f"template/{template_id}")


async def list_managed_templates(context: Context, command: ListManagedTemplates) -> Outcome:
    """AWS's templates by name, or the one of a name (AWS: ListManagedJobTemplates)."""
    after = paging.decode("managed-templates", command.next_token, (str,)) or ("",)
    found = templates.list_managed(context.home.region, command.template_name)
    rest = [one for one in found if str(one["templateName"]) > str(after[0])]
    shown = rest[: command.max_results]
    body: dict[str, object] = {"managedJobTemplates": shown}
    if len(rest) > len(shown):
        last = str(shown[-1]["templateName"])
        body["nextToken"] = paging.encode("managed-templates", last)
    return Outcome(body)


async def get_managed_template(context: Context, command: GetManagedTemplate) -> Outcome:
    """One of AWS's templates with its parameters (AWS: DescribeManagedJobTemplate).

    Raises Rejected (ResourceNotFound).
    """
    found = templates.find_managed(command.template_name, command.template_version)
    return Outcome(found.described(context.home.region))


async def _document(
    context: Context, command: CreateTemplate
) -> tuple[CreateTemplate, str, str | None]:
    """The command with what its job settles, the document, and the URL that it is from."""
    if command.document is not None:
        return command, command.document, None
    if command.document_source is not None:
        return command, context.source_at(command.document_source), command.document_source
    job_id = parse_job(command.job_arn or "")
    row = await context.connection.fetchrow(_JOBS["get_job"], context.tenant_id, job_id)
    if row is None:
        raise not_found("job", job_id)
    shown = job_views.described(context.home, row)
    settings = {name: shown[name] for name in _SETTINGS if name is not None and name in shown}
    taken = JobSettings.model_validate_json(json.dumps(settings))
    command = command.taken_from(taken)
    if row["scheduling_config"] is not None and not command.maintenance_windows:
        windows = SchedulingConfig.from_text(row["scheduling_config"]).maintenance_windows
        command = command.model_copy(update={"maintenance_windows": windows} if windows else {})
    return command, row["document"], row["document_source"]


async def _row(context: Context, template_id: str) -> asyncpg.Record | None:
    return await context.connection.fetchrow(_SQL["get_template"], context.tenant_id, template_id)


def _names(context: Context, template_id: str) -> dict[str, object]:
    return {
        "jobTemplateArn": templates.custom_arn(context.home, template_id),
        "jobTemplateId": template_id,
    }


def _summary(context: Context, row: asyncpg.Record) -> dict[str, object]:
    return {
        **_names(context, row["template_id"]),
        "description": row["description"],
        "createdAt": seconds(row["created_at"]),
    }
