"""Tags: kept in the row of what they are on, and gone with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from handlers.context import Context, Outcome, not_found
from schema.errors import Code, Rejected
from schema.limits import TAGS
from schema.sql import queries
from schema.tags import Resource, as_mapping, parse_resource

if TYPE_CHECKING:
    from schema.tag_commands import AddTags, ListTags, RemoveTags
    from schema.tags import Tags

_SQL = queries("tags")
_WORDS: Final = {"job": "job", "jobtemplate": "job template", "thinggroup": "thing group"}


async def add_tags(context: Context, command: AddTags) -> Outcome:
    """Tag a job, a template or a group. Raises Rejected: ResourceNotFound, LimitExceeded beyond 50 tags."""
    resource = parse_resource(command.resource_arn)
    tags = await _locked(context, resource) | as_mapping(command.tags)
    if len(tags) > TAGS:
        raise Rejected(
            Code.LIMIT_EXCEEDED, f"tags: there would be {len(tags)}, at most {TAGS} are allowed"
        )
    return await _set(context, resource, tags)


async def remove_tags(context: Context, command: RemoveTags) -> Outcome:
    """Take tags away by their keys. Raises Rejected (ResourceNotFound)."""
    resource = parse_resource(command.resource_arn)
    tags = await _locked(context, resource)
    return await _set(
        context,
        resource,
        {key: value for key, value in tags.items() if key not in command.tag_keys},
    )


async def list_tags(context: Context, command: ListTags) -> Outcome:
    """The tags by key. Raises Rejected (ResourceNotFound)."""
    resource = parse_resource(command.resource_arn)
    tags = await _read(context, resource, "get")
    return Outcome({"tags": [{"Key": key, "Value": tags[key]} for key in sorted(tags)]})


async def give(context: Context, resource: Resource, tags: Tags) -> None:
    """Tag what was made in this transaction."""
    if tags:
        await _set(context, resource, as_mapping(tags))


async def _locked(context: Context, resource: Resource) -> dict[str, str]:
    return await _read(context, resource, "lock")


async def _read(context: Context, resource: Resource, how: str) -> dict[str, str]:
    text = await context.connection.fetchval(
        _SQL[f"{how}_{resource.kind}_tags"], context.tenant_id, resource.name
    )
    if text is None:
        raise not_found(_WORDS[resource.kind], resource.name)
    found: dict[str, str] = json.loads(text)
    return found


async def _set(context: Context, resource: Resource, tags: dict[str, str]) -> Outcome:
    await context.connection.execute(
        _SQL[f"set_{resource.kind}_tags"], context.tenant_id, resource.name, json.dumps(tags)
    )
    subject = f"{resource.kind}/{resource.name}"
    return Outcome({}, subject=subject, details={"tags": tags})
