"""The commands on groups, static and dynamic, and on their members: one model each."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schema.commands import AttributePayload, Command, Page, Part, UpdatedAttributes
from schema.fields import GroupName, NamePrefix, QueryString, Text, ThingName, Version
from schema.limits import MEMBERS_PER_COMMAND
from schema.tags import Tags


class GroupProperties(Part):
    """AWS: ThingGroupProperties."""

    thing_group_description: Text | None = None
    attribute_payload: AttributePayload = AttributePayload()


class CreateGroup(Command):
    """groups/create (AWS: CreateThingGroup; with queryString CreateDynamicThingGroup)."""

    thing_group_name: GroupName
    parent_group_name: GroupName | None = None
    thing_group_properties: GroupProperties = GroupProperties()
    query_string: QueryString | None = None
    index_name: Literal["AWS_Things"] | None = None
    query_version: Literal["2017-09-30"] | None = None
    tags: Tags = ()

    @model_validator(mode="after")
    def _on_top(self) -> Self:
        if self.query_string is not None and self.parent_group_name is not None:
            msg = "parentGroupName: a dynamic group has no parent"
            raise ValueError(msg)
        if self.query_string is None and (self.index_name or self.query_version):
            msg = "queryString: required with indexName and queryVersion"
            raise ValueError(msg)
        return self


class UpdatedProperties(Part):
    """AWS: ThingGroupProperties of an update."""

    thing_group_description: Text | None = None
    attribute_payload: UpdatedAttributes | None = None


class UpdateGroup(Command):
    """groups/update (AWS: UpdateThingGroup; of a dynamic group UpdateDynamicThingGroup)."""

    thing_group_name: GroupName
    thing_group_properties: UpdatedProperties | None = None
    query_string: QueryString | None = None
    index_name: Literal["AWS_Things"] | None = None
    query_version: Literal["2017-09-30"] | None = None
    expected_version: Version | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.thing_group_properties is None and self.query_string is None:
            msg = "thingGroupProperties or queryString is needed"
            raise ValueError(msg)
        return self


class GetGroup(Command):
    """groups/get (AWS: DescribeThingGroup)."""

    thing_group_name: GroupName


class ListGroups(Page):
    """groups/list (AWS: ListThingGroups)."""

    parent_group: GroupName | None = None
    name_prefix_filter: NamePrefix | None = None
    recursive: bool = True


class DeleteGroup(Command):
    """groups/delete (AWS: DeleteThingGroup)."""

    thing_group_name: GroupName
    expected_version: Version | None = None


class ChangeMembers(Command):
    """groups/add and groups/remove (AWS: AddThingToThingGroup, with thingNames for many at once)."""

    thing_group_name: GroupName
    thing_name: ThingName | None = None
    thing_names: (
        Annotated[
            tuple[ThingName, ...], Field(strict=False, min_length=1, max_length=MEMBERS_PER_COMMAND)
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if (self.thing_name is None) == (self.thing_names is None):
            msg = "exactly one of thingName and thingNames is needed"
            raise ValueError(msg)
        return self

    @property
    def names(self) -> list[str]:
        """The things, each once, in order of name."""
        one = () if self.thing_name is None else (self.thing_name,)
        return sorted({*one, *(self.thing_names or ())})


class ListMembers(Page):
    """groups/members (AWS: ListThingsInThingGroup)."""

    thing_group_name: GroupName
    recursive: bool = False
