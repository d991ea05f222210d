"""AWS's operations: each row of the table is held to botocore's model of it, and what requests mean to our commands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.loaders import Loader
from hypothesis import given
from hypothesis import strategies as st

from schema import decode
from schema.aws_device import as_http
from schema.aws_endpoints import endpoint_address
from schema.aws_errors import IOT, JOBS_DATA, error_of
from schema.aws_operation import AwsOperation
from schema.aws_operations import OPERATIONS, find
from schema.aws_requests import Command, commands_of, device_names, read
from schema.errors import Code, Rejected
from schema.rights import LEAST_ROLE, READS
from schema.topics import Operation

MODELS: dict[str, Any] = {
    service: Loader().load_service_model(service, "service-2") for service in (IOT, JOBS_DATA)
}
# What the lists of operations in AWS's guide to jobs and to the registry have and we do not: the commands feature.
JOBS_DATA_OTHERS = {"StartCommandExecution"}


def members(operation: AwsOperation, where: str | None) -> set[str]:
    """The input members that the model has in the path (uri), the query (querystring) or the body (None)."""
    model = MODELS[operation.service]
    shape = model["operations"][operation.name].get("input", {}).get("shape")
    found = {} if shape is None else model["shapes"][shape].get("members", {})
    return {
        one.get("locationName", name) for name, one in found.items() if one.get("location") == where
    }


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.service}:{one.name}")
def test_each_row_is_as_it_is_modelled(operation: AwsOperation) -> None:
    """Method and path; every member is taken or refused by name; what is done is a command, or a device's request."""
    http = MODELS[operation.service]["operations"][operation.name]["http"]
    assert (http["method"], http["requestUri"]) == (operation.method, operation.path)
    refused = set(operation.refused.split())
    asked = set(operation.query.split()), set(operation.body.split())
    assert members(operation, "querystring") - refused == asked[0]
    assert members(operation, None) - refused == asked[1]
    assert refused <= members(operation, "querystring") | members(operation, None)
    assert set(operation.required.split()) <= asked[1]
    if operation.service == JOBS_DATA:
        assert operation.verb in set(Operation)
    elif operation.verb:
        assert operation.verb in LEAST_ROLE
        assert (operation.method == "GET") == (operation.verb in READS)


def test_the_data_plane_is_whole() -> None:
    """All of iot-jobs-data but the commands feature."""
    offered = {one.name for one in OPERATIONS if one.service == JOBS_DATA}
    assert offered == MODELS[JOBS_DATA]["operations"].keys() - JOBS_DATA_OTHERS


def test_all_operations_on_what_we_have_are_offered() -> None:
    """Of the control plane: jobs, templates, tags, groups and event configurations whole; things but for principals."""
    offered = {one.name for one in OPERATIONS if one.service == IOT}
    ours = {
        name
        for name, one in MODELS[IOT]["operations"].items()
        if one["http"]["requestUri"].split("/")[1]
        in {
            "jobs",
            "job-templates",
            "managed-job-templates",
            "tags",
            "untag",
            "thing-groups",
            "dynamic-thing-groups",
            "event-configurations",
            "endpoint",
        }
        or (
            one["http"]["requestUri"].startswith("/things")
            and "principals" not in one["http"]["requestUri"]
        )
    }
    assert ours - offered == {"RegisterThing", "GetThingConnectivityData"}
    assert offered - ours == set()


@pytest.mark.parametrize("service", [IOT, JOBS_DATA])
def test_every_code_is_an_exception_that_is_modelled(service: str) -> None:
    """With the status that the model has; AccessDeniedException, on the data plane, is what IAM answers."""
    shapes = MODELS[service]["shapes"]
    for code in (*Code, "ServiceUnavailable", "SomethingElse"):
        error = error_of(service, code, "no")
        if error.code == "AccessDeniedException":
            assert (service, code, error.status) == (JOBS_DATA, Code.UNAUTHORIZED, 403)
        else:
            assert shapes[error.code]["error"]["httpStatusCode"] == error.status


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.service}:{one.name}")
def test_paths_find_their_operation(operation: AwsOperation) -> None:
    """With names that are escaped, too; another method and a longer path do not find it."""
    path = operation.path
    for name in ("jobId", "thingName", "thingGroupName", "jobTemplateId", "templateName"):
        path = path.replace("{" + name + "}", "a%3Ab")
    path = path.replace("{executionNumber}", "7").replace("$", "%24")
    found = find(operation.service, operation.method, path)
    assert found is not None
    assert found[0] is operation
    assert set(found[1].values()) <= {"a:b", "7"}
    assert find(operation.service, "OPTIONS", path) is None
    longer = find(operation.service, operation.method, path + "/more")
    assert longer is None or longer[0] is not operation


def asked_of(name: str, body: object = None, **query: str) -> list[Command]:
    """What commands a request means, with names x and y in its path."""
    (operation,) = [one for one in OPERATIONS if one.name == name and one.service == IOT]
    names = {
        one[1:-1]: "7" if one == "{executionNumber}" else "x"
        for one in operation.template
        if one.startswith("{")
    }
    payload = b"" if body is None else json.dumps(body).encode()
    return commands_of(operation, read(operation, names, query, payload))


def test_what_requests_mean() -> None:
    """Members of path, query and body come to where our commands have them, numbers and truths as such."""
    assert asked_of("DeleteJobExecution", force="true") == [
        ("jobs/executions/delete", {"executionNumber": 7, "force": True}, "x", "x")
    ]
    arn = "arn:aws:iot:r:a:"
    assert asked_of(
        "AddThingToThingGroup", {"thingArn": f"{arn}thing/t", "thingGroupArn": f"{arn}thinggroup/g"}
    ) == [("groups/add", {"thingName": "t", "thingGroupName": "g"}, "", "")]
    assert asked_of(
        "UpdateThingGroupsForThing",
        {"thingName": "t", "thingGroupsToAdd": ["a"], "thingGroupsToRemove": ["b", "c"]},
    ) == [
        (verb, {"thingGroupName": group, "thingName": "t"}, "", "")
        for verb, group in (("groups/add", "a"), ("groups/remove", "b"), ("groups/remove", "c"))
    ]
    assert asked_of("ListJobs", maxResults="5", **{"X-Amz-Date": "now"}) == [
        ("jobs/list", {"maxResults": 5}, "", "")
    ]


@pytest.mark.parametrize(
    ("name", "body", "query", "message"),
    [
        ("ListJobs", None, {"namespaceId": "n"}, "namespaceId: not offered"),
        ("ListJobs", None, {"stat": "x"}, "'stat': ListJobs has no such member"),
        ("ListJobs", {"status": "QUEUED"}, {}, "'status': ListJobs has no such member"),
        ("CreateThing", {"issueToken": True}, {}, "'issueToken': CreateThing has no such"),
        ("CreateDynamicThingGroup", {}, {}, "queryString: required"),
        ("UpdateThingGroupsForThing", {"thingName": "t"}, {}, "thingGroupsToAdd or"),
        (
            "UpdateThingGroupsForThing",
            {"thingName": "t", "thingGroupsToAdd": "g"},
            {},
            "thingGroupsToAdd: must be a list",
        ),
        ("AddThingToThingGroup", {"thingArn": 7}, {}, "thingArn: 7 is not arn"),
        (
            "AddThingToThingGroup",
            {"thingArn": "arn:aws:iot:r:a:thing/t", "thingName": "t"},
            {},
            "thingArn: given together",
        ),
    ],
)
def test_members_that_do_not_belong(
    name: str, body: object, query: dict[str, str], message: str
) -> None:
    """The refusal names the member."""
    with pytest.raises(Rejected, match=message):
        asked_of(name, body, **query)


VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.integers(0, 9),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.sampled_from([one for one in OPERATIONS if one.service == IOT and one.verb]), st.data())
def test_any_members_come_to_commands_or_refusals(
    operation: AwsOperation, data: st.DataObject
) -> None:
    """Whatever values the members have: what goes on is JSON that our commands decode, or refuse in their words."""
    body = {one: data.draw(VALUES) for one in operation.body.split() if data.draw(st.booleans())}
    query = {one: data.draw(st.text(max_size=5)) for one in operation.query.split()}
    names = {
        one[1:-1]: data.draw(st.sampled_from(["x", "a:b", "", "7", "é", "$next"]))
        for one in operation.template
        if one.startswith("{")
    }
    try:
        for verb, payload, _, _ in commands_of(
            operation, read(operation, names, query, json.dumps(body).encode())
        ):
            decode.decode(verb, decode.read_object(json.dumps(payload).encode()))
    except Rejected as refusal:
        code = refusal.code
    else:
        code = Code.INVALID_REQUEST
    assert code == Code.INVALID_REQUEST


def test_names_of_the_data_plane() -> None:
    """`$next` is a job there, and a name that is none is refused."""
    assert device_names({"thingName": "t", "jobId": "$next", "x": 1}) == ("t", "$next", {"x": 1})
    for wrong in ({"thingName": "a/b"}, {"thingName": "t", "jobId": "$other"}):
        with pytest.raises(Rejected):
            device_names(wrong)


DOCUMENTS = st.dictionaries(
    st.sampled_from(["a", "jobDocument", "execution", '"', "\\", "é"]),
    st.text(max_size=8) | st.floats(allow_nan=False, allow_infinity=False) | st.lists(st.none()),
    max_size=4,
)


@given(DOCUMENTS, DOCUMENTS, st.sampled_from([None, 1, " "]), st.booleans())
def test_documents_stay_as_they_were_uploaded(
    details: dict[str, object], document: dict[str, object], indent: int | str | None, nested: bool
) -> None:
    """To the letter, numbers beyond Python's included, and whatever else has their name."""
    text = json.dumps(document, indent=indent).replace("null", "1e999")
    held = f'"statusDetails":{json.dumps(details)},"jobDocument":{text}'
    payload = f'{{"execution":{{{held}}},"timestamp":1}}' if nested else f'{{"timestamp":1,{held}}}'
    body = as_http(payload.encode())
    assert "timestamp" not in body
    found = body["execution"] if nested else body
    assert found["jobDocument"] == text
    assert found["statusDetails"] == details


def test_endpoints_are_where_the_client_came_to() -> None:
    """The Host header without its port for MQTT; with it, or the data plane's own, for jobs."""
    assert endpoint_address(None, "h:80", None) == {"endpointAddress": "h"}
    assert endpoint_address("iot:Jobs", "[::1]:80", None) == {"endpointAddress": "[::1]:80"}
    assert endpoint_address("iot:Jobs", "h", 9) == {"endpointAddress": "h:9"}
    for kind, host in (("iot:CredentialProvider", "h"), (None, "h:x")):
        with pytest.raises(Rejected):
            endpoint_address(kind, host, None)
