"""The commands on tags (AWS: TagResource, UntagResource, ListTagsForResource)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schema.commands import Command, Page
from schema.limits import TAGS
from schema.tags import ResourceArn, TagKey, Tags


class AddTags(Command):
    """tags/add (AWS: TagResource): a key that is there has the new value."""

    resource_arn: ResourceArn
    tags: Tags


class RemoveTags(Command):
    """tags/remove (AWS: UntagResource): keys that are not there are passed over."""

    resource_arn: ResourceArn
    tag_keys: Annotated[tuple[TagKey, ...], Field(strict=False, max_length=TAGS)]


class ListTags(Page):
    """tags/list (AWS: ListTagsForResource); all are on one page."""

    resource_arn: ResourceArn
