"""From a request of AWS's dialect to the commands of ours that it means, member by member. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from schema import decode
from schema.arns import parse_target
from schema.aws_operation import AwsOperation
from schema.errors import Code, Rejected, shorten
from schema.limits import JOB_ID, THING_NAME, check_name
from schema.query_values import read_flag, read_integer

Body = dict[str, Any]
_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "maxResults": read_integer,
    "executionNumber": read_integer,
    "expectedVersion": read_integer,
    "force": read_flag,
    "recursive": read_flag,
    "beforeSubstitution": read_flag,
    "includeJobDocument": read_flag,
    "usePrefixAttributeValue": read_flag,
}
_SIGNING: Final = "X-Amz-"
# AWS: lets static groups win where a thing may be in ten; here there is no such limit.
_WITHOUT_EFFECT: Final = "overrideDynamicGroups"
_NEXT: Final = "$next"


class Command(NamedTuple):
    """A command of ours, as the operators' plane takes it."""

    verb: str
    payload: Body
    job_id: str = ""
    thing: str = ""


def read(
    operation: AwsOperation, names: Mapping[str, str], query: Mapping[str, str], body: bytes
) -> Body:
    """All members of a request: those of its path, its query and its body.

    Raises Rejected (InvalidRequest, InvalidJson) naming a member that the operation does not have, or does not have
    here.
    """
    asked: Body = {}
    for name, text in query.items():
        if not name.startswith(_SIGNING):
            _require_known(operation, name, operation.query)
            asked[name] = _READERS.get(name, str)(text)
    for name, value in decode.read_object(body).items():
        _require_known(operation, name, operation.body)
        asked[name] = value
    for name, text in names.items():
        asked[name] = _READERS.get(name, str)(text)
    for name in operation.required.split():
        if name not in asked:
            raise Rejected(Code.INVALID_REQUEST, f"{name}: required")
    asked.pop(_WITHOUT_EFFECT, None)
    return asked


def commands_of(operation: AwsOperation, asked: Body) -> list[Command]:
    """The commands that a request means, to be done in this order; each of them can be done twice without harm.

    Raises Rejected (InvalidRequest) naming the member, the value and the limit.
    """
    if operation.name == "UpdateThingGroupsForThing":
        return _changed_groups(asked)
    payload = {**asked, **operation.also}
    if operation.name in ("AddThingToThingGroup", "RemoveThingFromThingGroup"):
        payload = _named(payload)
    if operation.name == "ListThingGroupsForThing":
        payload = {"thingName": asked["thingName"]}
    if not operation.verb.startswith("jobs/") or operation.verb in ("jobs/create", "jobs/list"):
        return [Command(operation.verb, payload)]
    job_id = check_name("jobId", payload.pop("jobId"), JOB_ID)
    thing = ""
    if operation.verb.startswith("jobs/executions/"):
        thing = check_name("thingName", payload.pop("thingName"), THING_NAME)
    return [Command(operation.verb, payload, job_id, thing)]


def device_names(asked: Body) -> tuple[str, str, Body]:
    """Thing, job and the rest of a request of the data plane. The job is "" where there is none, and may be `$next`.

    Raises Rejected (InvalidRequest).
    """
    rest = dict(asked)
    thing = check_name("thingName", rest.pop("thingName"), THING_NAME)
    job_id = rest.pop("jobId", "")
    if job_id not in ("", _NEXT):
        check_name("jobId", job_id, JOB_ID)
    return thing, job_id, rest


def _require_known(operation: AwsOperation, name: str, known: str) -> None:
    if name in known.split():
        return
    if name in operation.refused.split():
        raise Rejected(Code.INVALID_REQUEST, f"{name}: not offered by this version")
    raise Rejected(
        Code.INVALID_REQUEST, f"{shorten(name)}: {operation.name} has no such member there"
    )


def _named(asked: Body) -> Body:
    """With names in the place of ARNs."""
    named = dict(asked)
    for kind, member in (("thinggroup", "thingGroup"), ("thing", "thing")):
        arn = named.pop(f"{member}Arn", None)
        if arn is None:
            continue
        if f"{member}Name" in named:
            raise Rejected(Code.INVALID_REQUEST, f"{member}Arn: given together with {member}Name")
        named[f"{member}Name"] = _of_arn(f"{member}Arn", arn, kind)
    return named


def _of_arn(field: str, arn: object, kind: str) -> str:
    try:
        target = parse_target(arn if isinstance(arn, str) else "")
    except ValueError:
        target = None
    if target is None or target.kind != kind:
        raise Rejected(
            Code.INVALID_REQUEST,
            f"{field}: {shorten(arn)} is not arn:aws:iot:REGION:ACCOUNT:{kind}/NAME",
        )
    return target.name


def _changed_groups(asked: Body) -> list[Command]:
    thing = check_name("thingName", asked["thingName"], THING_NAME)
    found = []
    for member, verb in (
        ("thingGroupsToAdd", "groups/add"),
        ("thingGroupsToRemove", "groups/remove"),
    ):
        listed = asked.get(member, [])
        if not isinstance(listed, list):
            raise Rejected(Code.INVALID_REQUEST, f"{member}: must be a list of names")
        for one in listed:
            group = check_name(member, one, THING_NAME)
            found.append(Command(verb, {"thingGroupName": group, "thingName": thing}))
    if not found:
        raise Rejected(Code.INVALID_REQUEST, "thingGroupsToAdd or thingGroupsToRemove is needed")
    return found
