"""AWS's operations on things, groups, event configurations and endpoints; a table as `schema.aws_operations` has it."""

from __future__ import annotations

from typing import Final

from schema import aws_shapes as shapes
from schema.aws_operation import AwsOperation

THINGS: Final = (
    AwsOperation(
        "CreateThing",
        "POST",
        "/things/{thingName}",
        "things/create",
        shapes.pick("thingName thingArn thingId"),
        body="thingTypeName attributePayload",
        refused="billingGroupName",
    ),
    AwsOperation(
        "DescribeThing",
        "GET",
        "/things/{thingName}",
        "things/get",
        shapes.pick("defaultClientId thingName thingId thingArn thingTypeName attributes version"),
    ),
    AwsOperation(
        "ListThings",
        "GET",
        "/things",
        "things/list",
        shapes.pick("things nextToken"),
        query="nextToken maxResults attributeName attributeValue thingTypeName usePrefixAttributeValue",
    ),
    AwsOperation(
        "UpdateThing",
        "PATCH",
        "/things/{thingName}",
        "things/update",
        body="thingTypeName attributePayload expectedVersion removeThingType",
    ),
    AwsOperation(
        "DeleteThing",
        "DELETE",
        "/things/{thingName}",
        "things/delete",
        query="expectedVersion",
        gone_is_done=True,
    ),
)
_GROUP: Final = "/thing-groups/{thingGroupName}"
_DYNAMIC: Final = "/dynamic-thing-groups/{thingGroupName}"
_QUERY: Final = "indexName queryString queryVersion"
GROUPS: Final = (
    AwsOperation(
        "CreateThingGroup",
        "POST",
        _GROUP,
        "groups/create",
        shapes.pick("thingGroupName thingGroupArn thingGroupId"),
        body="parentGroupName thingGroupProperties tags",
    ),
    AwsOperation(
        "DescribeThingGroup",
        "GET",
        _GROUP,
        "groups/get",
        shapes.pick(
            "thingGroupName thingGroupId thingGroupArn version thingGroupProperties thingGroupMetadata"
            f" {_QUERY} status"
        ),
    ),
    AwsOperation(
        "UpdateThingGroup",
        "PATCH",
        _GROUP,
        "groups/update",
        shapes.pick("version"),
        body="thingGroupProperties expectedVersion",
    ),
    AwsOperation(
        "DeleteThingGroup",
        "DELETE",
        _GROUP,
        "groups/delete",
        query="expectedVersion",
        gone_is_done=True,
    ),
    AwsOperation(
        "ListThingGroups",
        "GET",
        "/thing-groups",
        "groups/list",
        shapes.groups,
        query="nextToken maxResults parentGroup namePrefixFilter recursive",
    ),
    AwsOperation(
        "AddThingToThingGroup",
        "PUT",
        "/thing-groups/addThingToThingGroup",
        "groups/add",
        body="thingGroupName thingGroupArn thingName thingArn overrideDynamicGroups",
    ),
    AwsOperation(
        "RemoveThingFromThingGroup",
        "PUT",
        "/thing-groups/removeThingFromThingGroup",
        "groups/remove",
        body="thingGroupName thingGroupArn thingName thingArn",
    ),
    AwsOperation(
        "UpdateThingGroupsForThing",
        "PUT",
        "/thing-groups/updateThingGroupsForThing",
        "groups/add",
        body="thingName thingGroupsToAdd thingGroupsToRemove overrideDynamicGroups",
        required="thingName",
    ),
    AwsOperation(
        "ListThingsInThingGroup",
        "GET",
        _GROUP + "/things",
        "groups/members",
        shapes.pick("things nextToken"),
        query="recursive nextToken maxResults",
    ),
    AwsOperation(
        "ListThingGroupsForThing",
        "GET",
        "/things/{thingName}/thing-groups",
        "things/get",
        shapes.groups_of_thing,
        query="nextToken maxResults",
    ),
    AwsOperation(
        "CreateDynamicThingGroup",
        "POST",
        _DYNAMIC,
        "groups/create",
        shapes.pick(f"thingGroupName thingGroupArn thingGroupId {_QUERY}"),
        body=f"thingGroupProperties tags {_QUERY}",
        required="queryString",
    ),
    AwsOperation(
        "UpdateDynamicThingGroup",
        "PATCH",
        _DYNAMIC,
        "groups/update",
        shapes.pick("version"),
        body=f"thingGroupProperties expectedVersion {_QUERY}",
    ),
    AwsOperation(
        "DeleteDynamicThingGroup",
        "DELETE",
        _DYNAMIC,
        "groups/delete",
        query="expectedVersion",
        gone_is_done=True,
    ),
)
SETTINGS: Final = (
    AwsOperation("DescribeEndpoint", "GET", "/endpoint", "", query="endpointType"),
    AwsOperation(
        "DescribeEventConfigurations",
        "GET",
        "/event-configurations",
        "event-configurations/get",
        shapes.pick("eventConfigurations creationDate lastModifiedDate"),
    ),
    AwsOperation(
        "UpdateEventConfigurations",
        "PATCH",
        "/event-configurations",
        "event-configurations/update",
        body="eventConfigurations",
    ),
)
